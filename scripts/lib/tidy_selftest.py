"""Shows that each rule of scripts/tidy bites: a sample that must fail, and one that must pass."""

import tidy_rules

LIST = "scripts/unsafe-allow-list"
LONG = "fn f() {\n" + "    g();\n" * 80 + "}\n"
NOTE = "fn f() {\n    // SAFETY: always.\n    unsafe { g() }\n}\n"

# (rule, files that must fail, files that must pass)
SAMPLES = (
    ("file-length", {"a/src/x.rs": "// x\n" * 601},
     {"a/src/x.rs": "// x\n" * 590 + "#[cfg(test)]\nmod tests {\n" + "    // x\n" * 90 + "}\n"}),
    ("file-length", {"scripts/long": "#!/bin/sh\n" * 700}, {"scripts/short": "#!/bin/sh\n"}),
    ("function-length", {"a/src/x.rs": LONG},
     {"a/src/x.rs": "#[cfg(test)]\nmod tests {\n" + LONG + "}\n"}),
    ("function-length", {"a/src/x.rs": "fn f(a: [u8; 4]) -> A {\n" + "    g();\n" * 80 + "}\n"},
     {"a/src/lib.rs": "#[cfg(test)]\nmod kit;\n", "a/src/kit.rs": LONG}),
    ("columns", {"a/src/x.rs": "// " + "x" * 98 + "\n"},
     {"a/src/x.rs": "// https://" + "x" * 98 + "\n"}),
    ("columns", {"scripts/x": "#!/bin/sh\n# " + "x" * 100}, {"x.md": "x" * 300}),
    ("unsafe-files", {"a/src/x.rs": NOTE},
     {"a/src/x.rs": "// unsafe\nconst A: &str = \"unsafe\"; fn f() -> char { 'u' }\n"}),
    ("unsafe-files", {LIST: "a/*.rs why\n", "a/x.rs": "// SAFETY: s\npub unsafe fn f() {}\n"},
     {LIST: "a/*.rs why\n", "a/x.rs": NOTE}),
    ("unsafe-files", {LIST: "# note\na/x.rs why\n", "a/x.rs": "fn f() {}\n"}, {LIST: "# note\n"}),
    ("safety-note", {"a/x.rs": "// SAFETY: other.\nfn f() {\n    unsafe { g() }\n}\n"},
     {"a/x.rs": "fn f() {\n    // SAFETY: here.\n    let x =\n        unsafe { g() };\n}\n"}),
    ("safety-note", {"a/x.rs": "struct A;\nunsafe impl Send for A {}\n"},
     {"a/x.rs": "struct A;\n// SAFETY: plain data.\nunsafe impl Send for A {}\n"}),
    ("direction", {"drivers/src/x.rs": "use corewire::net;\n"},
     {"drivers/src/x.rs": "use corewire_drivers::mem;\n"}),
    ("direction", {"engine/Cargo.toml": "corewire-bench.workspace = true\n"},
     {"engine/Cargo.toml": "corewire-drivers.workspace = true\n"}),
    ("module-order", {"engine/src/packet/a.rs": "use crate::{link, udp::input};\n"},
     {"engine/src/udp/a.rs": "use crate::{link, packet::udp};\n"}),
    ("module-order", {"engine/src/packet/a.rs": "use crate::{packet::{a, b}, flow::c};\n"},
     {"engine/src/link/a.rs": "use crate::{packet::{link, udp}, flow::HashKey};\n"}),
    ("module-order", {"engine/src/lib.rs": "/// A.\npub mod link;\n/// B.\npub mod packet;\n"},
     {"engine/src/lib.rs": "/// A.\npub mod packet;\n/// B.\npub mod link;\n"}),
    ("module-order", {"engine/src/ip/a.rs": "use crate::control::slow_path;\n"},
     {"engine/src/ip/a.rs": "use crate::control::snapshot::Snapshot;\n"}),
    ("sans-io", {"engine/src/ip/a.rs": "fn f() { libc::getpid(); }\n"},
     {"engine/src/runtime/a.rs": "fn f() { libc::getpid(); }\n"}),
    ("sans-io", {"engine/src/control/snapshot.rs": "use std::thread;\n"},
     {"engine/src/ip/a.rs":
      "use std::time::Duration;\n#[cfg(test)]\nmod tests {\n    use std::thread;\n}\n"}),
    ("sans-io", {"engine/src/udp/a.rs": "static SEEN: AtomicU64 = AtomicU64::new(0);\n"},
     {"engine/src/udp/a.rs": "static NAMES: [&str; 1] = [\"a\"];\n"}),
    ("sans-io", {"engine/src/tcp/a.rs": "fn f() { Rng::from_os(); }\n"},
     {"engine/src/tcp/a.rs": "fn f(rng: &mut Rng) { rng.next_u64(); }\n"}),
    ("one-clock", {"drivers/src/mem/a.rs": "fn f() { std::time::Instant::now(); }\n"},
     {"drivers/src/env/clock.rs": "fn f() { std::time::Instant::now(); }\n"}),
    ("stub", {"a/x.rs": "fn f() { todo!() }\n"}, {"a/x.rs": "fn todo() {}\n"}),
    ("stub", {"a/x.rs": "// FIXME later\n"}, {"a/x.rs": "const A: &str = \"FIXME\";\n"}),
    ("stub", {"a/x.rs": "#[test]\n#[ignore]\nfn f() {}\n"}, {"a/x.rs": "#[test]\nfn f() {}\n"}),
    ("machine-path", {"x.md": "see /home/me/x\n"}, {"x.md": "see docs/home/x and ~/src/x\n"}),
    ("reason", {"a/x.rs": "#[allow(dead_code)]\nfn f() {}\n"},
     {"a/x.rs": "#[allow(dead_code, reason = \"why\")]\nfn f() {}\n"}),
    ("dead-path", {"README.md": "[x](docs/GONE.md)\n"},
     {"README.md": "[x](docs/X.md#one-two)\n", "docs/X.md": "# One, two\n"}),
    ("dead-path", {"README.md": "[x](#gone)\n"}, {"README.md": "# Here\n[x](#here)\n"}),
    ("dead-path", {"docs/A.md": "run `scripts/gone --now`\n"},
     {"docs/A.md": "see `drivers/src/{a,b}` and `drivers/src/*.rs`.\n",
      "drivers/src/a.rs": "", "drivers/src/b.rs": "// drivers/src/a\n"}),
    ("dead-path", {"a/x.rs": "//! See docs/GONE.md.\n"}, {"a/x.rs": "//! docs.rs/x\n"}),
    ("unnamed-script", {"scripts/new": "#!/bin/sh\n", "docs/HACKING.md": "scripts/newer\n"},
     {"scripts/new": "#!/bin/sh\n", "docs/HACKING.md": "`scripts/new`\n", "scripts/newer": ""}),
)
# (ratchet, size of a file, whether the ratchet must object)
RATCHETS = (("", 700, True), ("650", 700, True), ("700", 700, False), ("710", 700, True),
            ("700", 500, True))


def rules_that_fail(rules, files):
    """Names of the rules that object to a tree."""
    executables = [p for p, text in files.items() if text.startswith("#!")]
    tree = tidy_rules.Tree(files, executables)
    return {found.rule for rule in rules for found in rule(tree)}


def run(rules, read_ratchet, apply_ratchet):
    """Tries every sample; prints what went wrong; an exit code."""
    wrong = []
    for rule, bad, good in SAMPLES:
        if rule not in rules_that_fail(rules, bad):
            wrong.append(f"{rule} accepts {bad}")
        if rule in rules_that_fail(rules, good):
            wrong.append(f"{rule} refuses {good}")
    for listed, size, objects in RATCHETS:
        entry = f"file-length a/src/x.rs {listed}\n" if listed else ""
        tree = tidy_rules.Tree({"a/src/x.rs": "// x\n" * size})
        found = list(apply_ratchet(tidy_rules.file_length(tree), read_ratchet(entry)))
        if bool(found) != objects:
            wrong.append(f"the ratchet at {listed or 'nothing'} with {size} lines: {found}")
    for line in wrong:
        print(line)
    print(f"tidy --self-test: {len(SAMPLES)} rule samples, {len(RATCHETS)} ratchets,"
          f" {len(wrong)} wrong")
    return 1 if wrong else 0
