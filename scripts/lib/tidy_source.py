"""Reads Rust just well enough for rules about style: what is code, what is comment, what is test.

Not a parser: it tells comments, strings and code apart and matches braces. That is what the
rules in tidy_rules.py need, and it stays true when the language grows.
"""

import re

TOKEN = re.compile(
    r"""(?P<line>//[^\n]*)
      | (?P<block>/\*)
      | (?P<raw>\bb?c?r(?P<hashes>\#*)")
      | (?P<string>b?"(?:\\.|[^"\\])*")
      | (?P<char>b?'(?:\\(?:u\{[^}]*\}|x..|.)|[^'\\\n])')""",
    re.X | re.S,
)


def spaces(text):
    """The same text with everything but line ends turned into spaces."""
    return re.sub(r"[^\n]", " ", text)


def split_rust(text):
    """(code, comments): two texts of the same shape; what is not code, or no comment, is space.

    String and character literals are space in both.
    """
    code, comments, at = [], [], 0
    while True:
        token = TOKEN.search(text, at)
        if not token:
            code.append(text[at:])
            comments.append(spaces(text[at:]))
            return "".join(code), "".join(comments)
        start, end = token.span()
        if token.group("block"):
            end = end_of_block_comment(text, end)
        elif token.group("raw"):
            close = text.find('"' + token.group("hashes"), end)
            end = len(text) if close < 0 else close + 1 + len(token.group("hashes"))
        is_comment = token.group("line") or token.group("block")
        code.append(text[at:start] + spaces(text[start:end]))
        comments.append(spaces(text[at:start]))
        comments.append(text[start:end] if is_comment else spaces(text[start:end]))
        at = end


def end_of_block_comment(text, at):
    """Where the block comment that was opened before `at` ends; they nest."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(text, at):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def matching_brace(code, open_at):
    """Offset of the brace that closes the one at `open_at`, or the end of the text."""
    depth = 0
    for brace in re.compile(r"[{}]").finditer(code, open_at):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.start()
    return len(code)


# `cfg(test)` and `cfg(all(test, …))`, but neither `not(test)` nor `any(test, …)`.
TEST_MOD = re.compile(
    r"#\[cfg\((?:test|all\(\s*test\b[^\]]*)\)\]\s*(?:#\[[^\]]*\]\s*)*"
    r"(?:pub(?:\([^)]*\))?\s+)?mod\s+(?P<name>\w+)\s*(?P<open>[{;])"
)


class RustFile:
    """One Rust file: its code and comments apart, and which of its lines are tests."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.code, self.comments = split_rust(text)
        self.lines = text.splitlines()
        self.code_lines = self.code.splitlines()
        self.comment_lines = self.comments.splitlines()
        self.is_test = bool(
            re.search(r"(^|/)(tests|benches|fuzz_targets)/|(^|/)tests\.rs$|_tests\.rs$", path)
        )
        self.test_mods = []
        self.test_lines = set()
        for found in TEST_MOD.finditer(self.code):
            if found.group("open") == ";":
                self.test_mods.append(found.group("name"))
                continue
            end = matching_brace(self.code, found.end() - 1)
            self.test_lines.update(range(self.line_of(found.start()), self.line_of(end) + 1))

    def line_of(self, offset):
        """The line, from 1, on which an offset stands."""
        return self.code.count("\n", 0, offset) + 1

    def length_before_tests(self):
        """Lines that are no inline tests."""
        return len(self.lines) - len(self.test_lines)

    def functions(self):
        """(name, first line, last line) of each function with a body that is no test."""
        for found in re.finditer(r"\bfn\s+(\w+)", self.code):
            first = self.line_of(found.start())
            if self.is_test or first in self.test_lines:
                continue
            body = re.compile(r"[{;]").search(signature_masked(self.code, found.end()))
            if body and body.group() == "{":
                end = matching_brace(self.code, found.end() + body.start())
                yield found.group(1), first, self.line_of(end)

    def matches(self, pattern, tests=False):
        """(line, match) for each match of `pattern` in code, tests left out unless asked for."""
        for found in re.finditer(pattern, self.code, re.M):
            line = self.line_of(found.start())
            if tests or not (self.is_test or line in self.test_lines):
                yield line, found


def signature_masked(code, at):
    """A few kilobytes of code from `at`, with what stands in parentheses and brackets blanked.

    So that the first `{` or `;` is the body's or the end of a declaration: `[u8; 4]` in a
    signature is neither.
    """
    out, depth = [], 0
    for char in code[at : at + 4000]:
        if char in ")]":
            depth -= 1
        out.append(" " if depth > 0 and char != "\n" else char)
        if char in "([":
            depth += 1
        if depth == 0 and char in "{;":
            break
    return "".join(out)


def mark_test_modules(files):
    """Marks files as tests whose parent declares them as `#[cfg(test)] mod name;`."""
    for path, file in list(files.items()):
        folder, name = path.rsplit("/", 1) if "/" in path else ("", path)
        stem = name[: -len(".rs")]
        base = folder if stem in ("lib", "main", "mod") else f"{folder}/{stem}"
        for module in file.test_mods:
            for child in (f"{base}/{module}.rs", f"{base}/{module}/mod.rs"):
                if child in files:
                    files[child].is_test = True
