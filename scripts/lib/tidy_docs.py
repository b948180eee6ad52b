"""The rules of scripts/tidy about documents: what they name exists."""

import re

from tidy_rules import problem

# A path is checked when it begins in one of these.
ROOMS = r"(?:drivers|engine|bench|scripts|docs|fuzz|\.ci)"
PATH = re.compile(rf"(?<![\w./<-]){ROOMS}/[\w./*{{}},-]*[\w*}}/]")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]:\s*(\S+)", re.M)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.M)


def expand(path):
    """`a/{b,c}.rs` → a/b.rs, a/c.rs."""
    found = re.search(r"\{([^{}]*)\}", path)
    if not found:
        return [path]
    before, after = path[: found.start()], path[found.end() :]
    return [p for part in found.group(1).split(",") for p in expand(before + part + after)]


def anchors(text):
    """The anchors that GitHub makes of a document's headings."""
    out = set()
    for heading in HEADING.findall(re.sub(r"```.*?```", "", text, flags=re.S)):
        plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        out.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return out


def resolve(folder, target):
    """A relative link, from the root of the checkout."""
    parts = [p for p in folder.split("/") if p]
    for part in target.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def links(tree):
    """Every relative link in a document leads somewhere, its anchor too."""
    for path, text in documents(tree):
        folder = path.rsplit("/", 1)[0] if "/" in path else ""
        for found in LINK.finditer(text):
            link = found.group(1) or found.group(2)
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            target = resolve(folder, target) if target else path
            line = text.count("\n", 0, found.start()) + 1
            if target and not tree.exists(target):
                yield problem("dead-path", path, line, f"link to `{link}`, which does not exist")
            elif anchor and target.endswith(".md") and anchor not in anchors(tree.files[target]):
                yield problem("dead-path", path, line, f"no heading for `{link}`")


def paths(tree):
    """Every path named in a document, a script or a comment is there."""
    # Links are followed by the rule above.
    texts = {p: LINK.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), t) for p, t in documents(tree)}
    texts.update((p, f.comments) for p, f in tree.rust.items())
    texts.update((p, t) for p, t in tree.scripts() if not p.startswith("scripts/lib/tidy_"))
    for path, text in texts.items():
        room = path.split("/")[0] + "/"
        for found in PATH.finditer(text):
            named = found.group().rstrip(".")
            line = text.count("\n", 0, found.start()) + 1
            for each in expand(named):
                if not (tree.exists(each) or tree.exists(room + each)):
                    yield problem("dead-path", path, line, f"`{each}` does not exist")


def documents(tree):
    """(path, text) of the Markdown files. The changelog tells of what was: left out."""
    return [
        (p, t) for p, t in tree.files.items() if p.endswith(".md") and p != "CHANGELOG.md"
    ]


def scripts_named(tree):
    """Every command under scripts/ is explained in docs/HACKING.md."""
    hacking = tree.files.get("docs/HACKING.md", "")
    for path in sorted(tree.executables):
        if path.startswith("scripts/") and not re.search(re.escape(path) + r"(?![\w-])", hacking):
            yield problem("unnamed-script", path, 1, "not in docs/HACKING.md")
