//! Replays what fuzzing found worth keeping (`fuzz/corpus` of a crate), with the check of the fuzz target. Included by the crates' tests.

use std::{fs, path::Path};

/// Checks every file that is kept for a target of the crate in this folder.
pub(crate) fn replay(manifest: &str, target: &str, check: fn(&[u8])) {
    let folder = Path::new(manifest).join("fuzz/corpus").join(target);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        println!("{}", file.display());
        check(&fs::read(file).unwrap());
    }
}
