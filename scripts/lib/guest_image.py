#!/usr/bin/env python3
"""Packs an initramfs for scripts/zero-copy-vm: modules in load order, programs with libraries.

  guest_image.py OUT --modules DIR --need MODULE… --init FILE [--file FROM:TO…] [--program FROM:TO…]

DIR is the unpacked lib/modules/VERSION of a kernel package. Nothing is run as another user and
nothing is mounted: the archive (cpio, format newc) is written byte by byte.
"""

import argparse
import lzma
import os
import re
import stat
import subprocess
import sys


class Archive:
    """A cpio archive in memory; see Documentation/driver-api/early-userspace/buffer-format.rst."""

    def __init__(self):
        self.parts, self.names = [], set()

    def add(self, name, data=b"", mode=stat.S_IFREG | 0o755, device=(0, 0)):
        """One entry, its folders before it. A name that is there already is left as it is."""
        if name in self.names:
            return
        self.names.add(name)
        folder = os.path.dirname(name)
        if folder:
            self.add(folder, mode=stat.S_IFDIR | 0o755)
        encoded = name.encode() + b"\0"
        inode = len(self.names)
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self.parts += [pad(head), pad(data)]

    def link(self, name, target):
        """A symbolic link."""
        self.add(name, target.encode(), mode=stat.S_IFLNK | 0o777)

    def bytes(self):
        """The whole archive."""
        self.add("TRAILER!!!", mode=0)
        return b"".join(self.parts)


def pad(data):
    """Entries begin at multiples of four."""
    return data + b"\0" * (-len(data) % 4)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def find_modules(folder):
    """{name with underscores: path} of all modules under a kernel's folder."""
    found = {}
    for base, _, names in os.walk(folder):
        for name in names:
            match = re.match(r"(.+)\.ko(?:\.xz)?$", name)
            if match:
                found[match.group(1).replace("-", "_")] = os.path.join(base, name)
    return found


def load_module(path):
    """A module's bytes. The guest's insmod takes no compressed ones."""
    return lzma.decompress(read(path)) if path.endswith(".xz") else read(path)


def load_order(need, available, builtin):
    """[(name, bytes)] of the modules needed, what they depend on first."""
    order = []

    def visit(name):
        if name in builtin or name in (done for done, _ in order):
            return
        if name not in available:
            sys.exit(f"guest_image: this kernel has no module {name}")
        data = load_module(available[name])
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in filter(None, (depends.group(1) if depends else b"").decode().split(",")):
            visit(other.replace("-", "_"))
        order.append((name, data))

    for name in need:
        visit(name.replace("-", "_"))
    return order


def builtin_modules(folder):
    """Names of what is part of the kernel itself."""
    listed = os.path.join(folder, "modules.builtin")
    with open(listed, encoding="utf-8") as file:
        return {os.path.basename(line.strip())[: -len(".ko")].replace("-", "_") for line in file}


def libraries(program):
    """Paths of the shared libraries that a program needs, its loader among them."""
    ran = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if ran.returncode:
        return []  # statically linked
    if b"not found" in ran.stdout:
        sys.exit(f"guest_image: a library of {program} is missing:\n{ran.stdout.decode()}")
    return re.findall(r"(/\S+) \(0x", ran.stdout.decode())


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("out")
    options.add_argument("--modules", required=True)
    options.add_argument("--need", nargs="+", default=[])
    options.add_argument("--init", required=True)
    options.add_argument("--file", action="append", default=[])
    options.add_argument("--program", action="append", default=[])
    given = options.parse_args()

    archive = Archive()
    archive.add("init", read(given.init))
    for folder in ("proc", "sys", "dev", "tmp", "run", "etc"):
        archive.add(folder, mode=stat.S_IFDIR | 0o755)
    # Until devtmpfs is mounted the kernel wants a console: character device 5, 1.
    archive.add("dev/console", mode=stat.S_IFCHR | 0o600, device=(5, 1))
    order = load_order(given.need, find_modules(given.modules), builtin_modules(given.modules))
    for name, data in order:
        archive.add(f"modules/{name}.ko", data)
    archive.add("modules/order", "".join(f"{name}\n" for name, _ in order).encode())
    for pair in given.file:
        source, target = pair.split(":")
        archive.add(target, read(source))
    for pair in given.program:
        source, target = pair.split(":")
        archive.add(target, read(source))
        for library in libraries(source):
            archive.add(library.lstrip("/"), read(library))
    with open(given.out, "wb") as out:
        out.write(archive.bytes())


if __name__ == "__main__":
    main()
