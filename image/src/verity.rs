//! The verified root: EROFS, with dm-verity's tree of SHA-256 hashes behind it in the same partition.
//!
//! The kernel's parameters (root hash, salt, number of blocks) go on the slot's command line, so the tree needs no header of its own.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{
    bmap::hex,
    run::{output, tool},
};

/// Bytes of a block of data and of a block of hashes.
pub const BLOCK: u64 = 4096;

/// What the kernel must be told to open a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// Hexadecimal SHA-256 of the tree's top.
    pub root_hash: String,
    /// Hexadecimal.
    pub salt: String,
    /// Blocks of data; the tree begins right behind them.
    pub blocks: u64,
}

impl Verity {
    /// As it stands on the kernel's command line and is read by the initramfs.
    #[must_use]
    pub fn parameter(&self) -> String {
        format!("cairn.verity={}:{}:{}", self.root_hash, self.salt, self.blocks)
    }
}

/// Makes the root's image from a folder and appends the tree.
///
/// # Errors
/// When a tool fails or the result is larger than `room`, bytes.
pub fn make(image: &Path, folder: &Path, room: u64, version: &str) -> Result<Verity> {
    // Identifiers follow from the version, for the same inputs to give the same bytes.
    let seed = hex(&Sha256::digest(format!("cairn root {version}")));
    let part = |from: usize, to: usize| seed.get(from..to).unwrap_or_default();
    let uuid = format!("{}-{}-4{}-8{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32));
    output(
        tool("mkfs.erofs")
            .args([
                "--quiet",
                "-zlz4hc",
                "-C65536",
                "-x-1",
                "--all-root",
                &format!("-T{}", crate::run::EPOCH),
                &format!("-U{uuid}"),
            ])
            .arg(image)
            .arg(folder),
    )?;
    let file = fs::OpenOptions::new().write(true).open(image)?;
    let blocks = file.metadata()?.len().div_ceil(BLOCK);
    file.set_len(blocks * BLOCK)?;
    drop(file);
    let salt = part(32, 64).to_owned();
    let told = output(veritysetup("format", &salt, blocks).arg(image).arg(image))?;
    let root_hash = told
        .lines()
        .find_map(|line| line.strip_prefix("Root hash:"))
        .map(|hash| hash.trim().to_owned())
        .filter(|hash| hash.len() == 64)
        .with_context(|| format!("veritysetup told no root hash:\n{told}"))?;
    let length = fs::metadata(image)?.len();
    ensure!(length <= room, "the root takes {length} bytes, the slot has room for {room}");
    Ok(Verity { root_hash, salt, blocks })
}

/// Debian's tool on an image with `blocks` blocks of data in front of its tree; the image's path, twice, is left to add.
pub(crate) fn veritysetup(action: &str, salt: &str, blocks: u64) -> Command {
    let mut command = tool("veritysetup");
    command
        .args([action, "--no-superblock", "--hash=sha256"])
        .args(["data", "hash"].map(|part| format!("--{part}-block-size={BLOCK}")))
        .args([format!("--salt={salt}"), format!("--hash-offset={}", blocks * BLOCK)])
        .arg(format!("--data-blocks={blocks}"));
    command
}
