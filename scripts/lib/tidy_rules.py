"""The rules of scripts/tidy. Each takes a Tree and yields Problems.

The house they guard is docs/ARCHITECTURE.md; what each rule is for stands in its docstring.
"""

import fnmatch
import re
from collections import namedtuple

from tidy_source import RustFile, mark_test_modules

# 600 lines are what a reader holds in the head in one sitting, 70 what a screen shows at once.
FILE_LINES = 600
FUNCTION_LINES = 70
COLUMNS = 100

# engine/src in the order in which a packet meets its modules. A module uses those before it.
ENGINE_ORDER = (
    "packet link ip flow udp tcp socket worker control sim runtime zero_copy net"
    " net_mio net_tokio inline"
).split()
# Who may look further, and why.
ENGINE_EXCEPTIONS = {
    ("link", "flow::HashKey"): "the neighbour table is keyed as the flow table is",
    ("ip", "flow::HashKey"): "so are the limits on ICMP answers",
    ("ip", "flow::Tuple"): "an ICMP error quotes the tuple that it is about",
    ("udp", "socket::SocketId"): "a datagram ends in a socket's slot",
    ("udp", "socket::ContextId"): "a socket belongs to a context",
    ("udp", "socket::table"): "the slots themselves",
    ("worker", "control::snapshot"): "a turn goes by one snapshot",
    ("worker", "control::command"): "and begins with what it was told",
    ("socket", "control::snapshot"): "routes tell a socket its own address",
}
# These read what changes rarely only through the snapshot that the worker swapped in.
SNAPSHOT_ONLY = ("packet", "link", "ip", "flow", "udp", "tcp")
SANS_IO = SNAPSHOT_ONLY + ("socket", "worker")
SANS_IO_FILES = ("engine/src/control/snapshot", "engine/src/control/command")

WORLD = (
    (r"\blibc\s*::", "a system call"),
    (r"\brustix\s*::", "a system call"),
    (r"\bInstant::now\b|\bSystemTime\b|\bstd::time::(?:\{[^}]*)?Instant\b", "a clock"),
    (r"\bClock\b", "a clock (`now` is an argument)"),
    (r"\bRng::from_\w+|\bgetrandom\b|\brand_chacha\b|\bRandomState\b", "making a generator"),
    (r"\b(?:std::)?thread::\w+|\bstd::thread\b|\bthread_local!", "a thread"),
    (r"\bstd::(?:fs|net::(?:Tcp|Udp)\w+|process|env)\b", "the operating system"),
    (r"\be?print(?:ln)?!", "output"),
    (r"\bstatic\s+(?:mut\s+)?\w+\s*:[^=;]*(?:Atomic|Mutex|RwLock|Lock\b|Cell)", "a global"),
    (r"\bstatic\s+mut\b", "a global"),
)
# The only files that read a clock or draw a seed; the rest of the world gets them as arguments.
CLOCK_FILES = ("drivers/src/env/clock.rs", "drivers/src/env/tsc.rs", "drivers/src/env/rng.rs")
CLOCKS = r"\bInstant::now\b|\bSystemTime::now\b|\bclock_gettime\b|\b_rdtsc\b|\bgetrandom::\w+"

Problem = namedtuple("Problem", "rule path line message size")


def problem(rule, path, line, message, size=None):
    """One finding. `size` is set for what the ratchet may excuse."""
    return Problem(rule, path, line, message, size)


class Tree:
    """The files of a checkout: path → text. Rules look at nothing else."""

    def __init__(self, files, executables=()):
        self.files = files
        self.executables = set(executables)
        self.rust = {p: RustFile(p, t) for p, t in files.items() if p.endswith(".rs")}
        mark_test_modules(self.rust)
        self.folders = {p[:i] for p in files for i in range(len(p)) if p[i] == "/"}

    def scripts(self):
        """Shell and Python: what has a name under scripts/ or ends in .sh or .py."""
        for path, text in self.files.items():
            if text.startswith("#!") or path.endswith((".py", ".sh")):
                yield path, text

    def exists(self, path):
        """Whether a path, a glob, or a Rust module's path without its `.rs`, is there."""
        path = path.rstrip("/")
        if path in self.files or path in self.folders or path + ".rs" in self.files:
            return True
        return "*" in path and any(fnmatch.fnmatch(p, path) for p in self.files)


def file_length(tree):
    """A file has one job and fits in the head."""
    sizes = [(p, f.length_before_tests()) for p, f in tree.rust.items()]
    sizes += [(p, t.count("\n")) for p, t in tree.scripts()]
    for path, size in sizes:
        if size > FILE_LINES:
            message = f"{size} lines before its tests; at most {FILE_LINES}"
            yield problem("file-length", path, 1, message, size)


def function_length(tree):
    """A function fits on a screen."""
    for path, file in tree.rust.items():
        for name, first, last in file.functions():
            size = last - first + 1
            if size > FUNCTION_LINES:
                message = f"fn {name} has {size} lines; at most {FUNCTION_LINES}"
                yield problem("function-length", f"{path}::{name}", first, message, size)


def columns(tree):
    """No line is wider than 100 columns, unless it holds a URL, which cannot be broken."""
    texts = {p: f.text for p, f in tree.rust.items()}
    texts.update(tree.scripts())
    for path, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if len(line) > COLUMNS and "://" not in line:
                yield problem("columns", path, number, f"{len(line)} columns; at most {COLUMNS}")


def allow_list(tree):
    """(line, pattern) of the files that may contain `unsafe`."""
    text = tree.files.get("scripts/unsafe-allow-list", "")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line.split()[0]


def unsafe_files(tree):
    """`unsafe` stands only in listed files, and every listed file needs it."""
    patterns = list(allow_list(tree))
    used = set()
    for path, file in tree.rust.items():
        hits = list(file.matches(r"\bunsafe\b", tests=True))
        if not hits:
            continue
        listed = [p for _, p in patterns if fnmatch.fnmatch(path, p)]
        used.update(listed)
        if not listed:
            message = "`unsafe` outside of scripts/unsafe-allow-list"
            yield problem("unsafe-files", path, hits[0][0], message)
        for line, _ in file.matches(r"\bpub\s+unsafe\s+(?:extern\s+)?fn\b", tests=True):
            yield problem("unsafe-files", path, line, "a public unsafe fn; make a safe interface")
    for number, pattern in patterns:
        if pattern not in used:
            message = f"no file under `{pattern}` contains `unsafe`; remove the line"
            yield problem("unsafe-files", "scripts/unsafe-allow-list", number, message)


def safety_notes(tree):
    """Each unsafe block and impl says which invariant makes it right, just above it."""
    for path, file in tree.rust.items():
        for line, _ in file.matches(r"\bunsafe\s*\{|\bunsafe\s+impl\b", tests=True):
            if not has_note(file, line):
                message = "no `// SAFETY:` note just above"
                yield problem("safety-note", path, line, message)


def has_note(file, line):
    """Whether the comment above the statement that holds `line` contains `SAFETY:`."""
    at = line - 1
    if "SAFETY:" in file.comment_lines[at]:
        return True
    at -= 1
    while at >= 0:
        code, comment = file.code_lines[at].strip(), file.comment_lines[at]
        if "SAFETY:" in comment:
            return True
        ends_a_statement = code.endswith((";", "}", "{")) and not code.startswith("#[")
        if ends_a_statement or (not code and not comment.strip()):
            return False
        at -= 1
    return False


def room_direction(tree):
    """drivers ← engine ← bench: nothing points back."""
    rooms = (
        ("drivers/", r"\b(?:corewire|corewire_bench|corewire_cli|corewire_posix)\s*::"),
        ("engine/", r"\bcorewire_bench\s*::"),
    )
    for room, forbidden in rooms:
        for path, file in tree.rust.items():
            if path.startswith(room):
                for line, found in file.matches(forbidden, tests=True):
                    message = f"{room} uses {found.group()}"
                    yield problem("direction", path, line, message)
    manifests = (
        ("drivers/Cargo.toml", r"^corewire(?:-bench|-cli|-posix)?\s*[.=]"),
        ("engine/Cargo.toml", r"^corewire-bench\s*[.=]"),
    )
    for path, forbidden in manifests:
        for number, line in enumerate(tree.files.get(path, "").splitlines(), 1):
            if re.match(forbidden, line):
                yield problem("direction", path, number, f"depends backwards: {line.strip()}")


def engine_module(path):
    """The top module of engine/src that a file belongs to, or None."""
    found = re.match(r"engine/src/(\w+)", path)
    return found.group(1) if found and found.group(1) in ENGINE_ORDER else None


def crate_uses(file):
    """(line, "a::b") for each `crate::a::b` in code; groups in braces are opened."""
    for line, found in file.matches(r"\bcrate\s*::\s*([\w:\s]*(?:\{[^;]*\})?)"):
        for path in open_groups(re.sub(r"\s+", "", found.group(1))):
            yield line, "::".join(path.split("::")[:2])


def open_groups(path):
    """`a::{b,c::{d,e}}` → a::b, a::c::d, a::c::e."""
    before, brace, inside = path.partition("{")
    if not brace:
        return [path] if path else []
    parts, depth, start = [], 0, 0
    for at, char in enumerate(inside):
        if char in ",}" and depth == 0:
            parts.append(inside[start:at])
            start = at + 1
            if char == "}":
                break
        depth += {"{": 1, "}": -1}.get(char, 0)
    return [before + rest for part in parts for rest in open_groups(part)]


def module_order(tree):
    """Inside the engine a module uses those that a packet meets before it."""
    for path, file in tree.rust.items():
        module = engine_module(path)
        if not module:
            continue
        for line, target in crate_uses(file):
            top = target.split("::")[0]
            if target.startswith("control::snapshot") and module in SNAPSHOT_ONLY:
                continue
            backward = top in ENGINE_ORDER and ENGINE_ORDER.index(top) > ENGINE_ORDER.index(module)
            if backward and (module, target) not in ENGINE_EXCEPTIONS:
                message = f"{module} uses crate::{target}, which comes after it"
                yield problem("module-order", path, line, message)
    contents = tree.rust.get("engine/src/lib.rs")
    last = 0
    for line, found in contents.matches(r"^(?:pub )?mod (\w+);") if contents else ():
        place = ENGINE_ORDER.index(found.group(1)) if found.group(1) in ENGINE_ORDER else last
        if place < last:
            message = f"{found.group(1)} stands behind a module that comes after it"
            yield problem("module-order", "engine/src/lib.rs", line, message)
        last = max(place, last)


def sans_io(tree):
    """What handles packets never calls the world: no system call, clock, thread, global."""
    for path, file in tree.rust.items():
        pure = engine_module(path) in SANS_IO or path.startswith(SANS_IO_FILES)
        if not pure:
            continue
        for pattern, what in WORLD:
            for line, found in file.matches(pattern):
                message = f"{what} in a sans-IO module: `{found.group().strip()}`"
                yield problem("sans-io", path, line, message)


def one_clock(tree):
    """Time and chance enter in drivers/src/env and nowhere else."""
    for path, file in tree.rust.items():
        if path.startswith(("drivers/src/", "engine/src/")) and path not in CLOCK_FILES:
            for line, found in file.matches(CLOCKS):
                message = f"`{found.group()}`: ask drivers/src/env for time and chance"
                yield problem("one-clock", path, line, message)


def stubs(tree):
    """Nothing is left for later in the code; what is not here is said in README."""
    words = r"\btodo!|\bunimplemented!|#\[ignore\b"
    for path, file in tree.rust.items():
        for line, found in file.matches(words, tests=True):
            yield problem("stub", path, line, f"`{found.group()}`")
    texts = {p: f.comments for p, f in tree.rust.items()}
    texts.update((p, t) for p, t in tree.scripts() if not p.startswith("scripts/lib/tidy_"))
    for path, text in texts.items():
        for found in re.finditer(r"\b(?:FIXME|TODO|XXX)\b(?!-)", text):
            line = text.count("\n", 0, found.start()) + 1
            yield problem("stub", path, line, f"`{found.group()}`")


def machine_paths(tree):
    """No path of anybody's machine, which means nothing to the next reader."""
    own = re.compile(r"(?<![\w.\-/}$~])/(?:work|home|root|Users|tmp/h)/[\w.]")
    for path, text in tree.files.items():
        if path.startswith("scripts/lib/tidy_"):
            continue
        for found in own.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            yield problem("machine-path", path, line, f"`{found.group()}…`")


def reasons(tree):
    """An exception to a lint says why."""
    for path, file in tree.rust.items():
        for line, found in file.matches(r"#!?\[\s*(?:allow|expect)\s*\(", tests=True):
            end = file.code.find("]", found.end())
            if not re.search(r"\breason\s*=", file.code[found.end() : end]):
                yield problem("reason", path, line, "an allow without `reason = \"…\"`")
