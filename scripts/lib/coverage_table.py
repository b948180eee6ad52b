#!/usr/bin/env python3
"""A table of covered lines from lcov on standard input, inline tests left out.

  coverage_table.py ROOT FOLDER LEAST [--lines]

llvm-cov counts the lines of `mod tests` as code, and they are always covered. Exit 3 below
LEAST per cent; --lines prints the lines that nothing reached instead.
"""

import os
import sys

sys.dont_write_bytecode = True

from tidy_source import RustFile  # noqa: E402


def read_lcov(stream):
    """{path: {line: how often}}"""
    files, path = {}, None
    for record in stream:
        if record.startswith("SF:"):
            path = record[3:].strip()
        elif record.startswith("DA:"):
            line, count = record[3:].split(",")[:2]
            counts = files.setdefault(path, {})
            counts[int(line)] = max(counts.get(int(line), 0), int(count))
    return files


def main(root, folder, least, *options):
    rows, covered, total = [], 0, 0
    for path, counts in sorted(read_lcov(sys.stdin).items()):
        name = os.path.relpath(path, root)
        if not name.startswith(folder):
            continue  # the standard library's sources may not even be here
        with open(path, encoding="utf-8") as file:
            source = RustFile(name, file.read())
        if source.is_test:
            continue
        code = {line: n for line, n in counts.items() if line not in source.test_lines}
        reached = sum(1 for n in code.values() if n)
        rows.append((name, len(code), reached))
        covered, total = covered + reached, total + len(code)
        if options:
            for line in sorted(line for line, n in code.items() if not n):
                print(f"{name}:{line}: {source.lines[line - 1]}")
    if not total:
        sys.exit(f"coverage: no file under {folder} was run")
    for name, lines, reached in rows:
        if not options:
            print(f"{name:<44} {reached:5} of {lines:5}  {100 * reached / max(lines, 1):6.1f} %")
    share = 100 * covered / total
    print(f"coverage: {share:.1f} % of the {total} lines of {folder}, at least {least} % wanted")
    return 0 if share >= float(least) else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
