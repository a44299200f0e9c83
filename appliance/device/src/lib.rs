//! The board: what it is ([`facts`]), how it is ([`board`], [`concern`]), and the few things that are done to it: the
//! status LED, the network's configuration, factory reset, the clock, the secrets on the boot partition.
//!
//! Decisions are plain functions; each module ends in a thin edge that reads or writes files below a root that tests
//! choose. The supervisor and the binary's `device` commands depend on this crate; it depends on none of ours, and
//! nothing in it speaks to strangers but the name answers of the access point ([`network::dns`]).

#![forbid(unsafe_code)]

pub mod board;
pub mod boot_file;
pub mod card;
pub mod clock;
pub mod concern;
pub mod console;
pub mod durable;
pub mod facts;
pub mod led;
pub mod network;
pub mod reset;

use std::{fs, io::Read, path::Path};

/// Longest pseudo-file of the kernel that is read, bytes.
const MAX_PSEUDO_FILE: u64 = 64 * 1024;

/// The text of a small file, as far as it can be read.
pub(crate) fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path).ok()?.take(MAX_PSEUDO_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}
