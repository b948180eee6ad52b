//! The fuzz targets' corpora, replayed: every input as it is, every prefix of it, and every input
//! with each of its bits flipped.

/// What every parser must do with every input.
pub mod targets;

use std::fs;
use std::path::Path;

use targets::ALL;

#[test]
fn every_corpus_is_replayed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in ALL {
        let folder = root.join(name);
        let inputs = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut count = 0;
        for input in inputs {
            let mut bytes = fs::read(input.unwrap().path()).unwrap();
            target(&bytes);
            for len in 0..bytes.len() {
                target(&bytes[..len]);
            }
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                target(&bytes);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            count += 1;
        }
        assert!(count >= 5, "{name} has a corpus");
    }
}

/// A corpus that no target reads would be replayed by nobody.
#[test]
fn every_corpus_belongs_to_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let mut targets: Vec<String> = ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.sort();
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
}
