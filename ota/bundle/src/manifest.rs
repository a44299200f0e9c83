//! The manifest: what a bundle is for and what its payloads add up to.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Board, Chunking, Digest, Error, Version, limits};

/// First bytes of a bundle.
pub(crate) const MAGIC: &[u8; 8] = b"CAIRNBU1";
/// Bytes before the manifest's JSON: magic and length.
pub(crate) const PREFIX: usize = 12;

/// Which part of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadKind {
    /// FAT image with kernel, initramfs, device trees and command line.
    Boot,
    /// EROFS with its dm-verity tree behind it.
    Root,
}

impl PayloadKind {
    /// Both, in the order of a bundle.
    pub const ALL: [Self; 2] = [Self::Boot, Self::Root];
}

impl fmt::Display for PayloadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot",
            Self::Root => "root",
        })
    }
}

/// Where dm-verity finds its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verity {
    /// Root hash (SHA-256) as dm-verity takes it; the boot payload's command line names the same.
    pub root_hash: Digest,
    /// Where the tree begins in the payload, in bytes; what is before it is the file system.
    pub hash_offset: u64,
}

/// One payload: what is written to one partition, from its first byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Which partition.
    pub kind: PayloadKind,
    /// Bytes to write; what follows on the partition does not matter.
    pub length: u64,
    /// BLAKE3 of these bytes. Who checks a finished slot hashes `length` bytes of it.
    pub blake3: Digest,
    /// Of a root that is verified while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verity: Option<Verity>,
}

/// The index that follows the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexSection {
    /// Bytes.
    pub length: u64,
    /// Its hash.
    pub blake3: Digest,
}

/// What a bundle is for. Believed because its hash is in signed metadata ([`crate::Listing::manifest`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the bundle; 1.
    pub format: u32,
    /// The board it boots on.
    pub board: Board,
    /// The version of the system.
    pub version: Version,
    /// When the image was built, in seconds since 1970: a floor for the clock of whoever runs it.
    pub built: u64,
    /// Newest schema of the hub's data that it makes; a hub whose data are newer cannot go (back) to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<u32>,
    /// How the payloads were cut.
    pub chunking: Chunking,
    /// The index that follows.
    pub index: IndexSection,
    /// Boot, then root.
    pub payloads: [Payload; 2],
}

impl Manifest {
    /// Reads the first bytes of a bundle, up to the end of the manifest, and checks them against the signed hash.
    ///
    /// # Errors
    /// [`Error::Mismatch`] before anything is parsed, where the hash is another one; [`Error::Malformed`] or
    /// [`Error::TooLarge`] where what was signed is not usable.
    pub fn parse(bytes: &[u8], signed: &Digest) -> Result<Self, Error> {
        const WHAT: &str = "the manifest";
        Error::bounded(WHAT, bytes.len() as u64, limits::MAX_MANIFEST)?;
        if Digest::of(bytes) != *signed {
            return Err(Error::Mismatch { what: WHAT });
        }
        let (prefix, json) =
            bytes.split_first_chunk::<PREFIX>().ok_or_else(|| Error::malformed(WHAT, "it is too short"))?;
        if !prefix.starts_with(MAGIC) {
            return Err(Error::malformed(WHAT, "it does not begin as one"));
        }
        if prefix.last_chunk::<4>().is_none_or(|length| u32::from_le_bytes(*length) as usize != json.len()) {
            return Err(Error::malformed(WHAT, "its length is another one"));
        }
        let manifest: Self = serde_json::from_slice(json)?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The first bytes of a bundle: magic, length and JSON.
    ///
    /// # Errors
    /// As [`Manifest::parse`], so that nothing is made that no device would take.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        self.check()?;
        let json = serde_json::to_vec(self)?;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
        Error::bounded("the manifest", (json.len() + PREFIX) as u64, limits::MAX_MANIFEST)?;
        Ok([MAGIC.as_slice(), &length.to_le_bytes(), &json].concat())
    }

    /// The payload of `kind`.
    #[must_use]
    pub const fn payload(&self, kind: PayloadKind) -> &Payload {
        let [boot, root] = &self.payloads;
        match kind {
            PayloadKind::Boot => boot,
            PayloadKind::Root => root,
        }
    }

    fn check(&self) -> Result<(), Error> {
        const WHAT: &str = "the manifest";
        if self.format != 1 {
            return Err(Error::malformed(WHAT, "this format is not known here"));
        }
        self.chunking.check()?;
        Error::bounded("the index", self.index.length, limits::MAX_INDEX)?;
        for (payload, kind) in self.payloads.iter().zip(PayloadKind::ALL) {
            if payload.kind != kind {
                return Err(Error::malformed(WHAT, "its payloads are not boot and root"));
            }
            if payload.length == 0 {
                return Err(Error::malformed(WHAT, "a payload is empty"));
            }
            Error::bounded("a payload", payload.length, limits::MAX_PAYLOAD)?;
            if payload.verity.is_some_and(|verity| verity.hash_offset >= payload.length) {
                return Err(Error::malformed(WHAT, "the hash tree begins behind the payload"));
            }
        }
        Ok(())
    }
}
