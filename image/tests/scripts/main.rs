//! The card's own scripts, as they stand on the card, with their paths in a folder and beside programs that only write down what they are asked.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod stick;
mod trial;

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

fn on_the_card(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("rootfs").join(path)).unwrap()
}

/// Puts a program of a few lines of shell somewhere.
fn program(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
