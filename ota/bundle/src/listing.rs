//! What signed metadata say about a bundle and its deltas, and which way to take.

use serde::{Deserialize, Serialize};

use crate::{Board, Digest, Error, Version, limits};

/// What signed metadata say about a bundle; stands in the target's `custom` object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The board it boots on.
    pub board: Board,
    /// The version of the system.
    pub version: Version,
    /// Bytes of the whole bundle.
    pub length: u64,
    /// Bytes of the manifest with what stands before it: the first ones of the bundle.
    pub manifest_length: u64,
    /// BLAKE3 of these.
    pub manifest: Digest,
    /// Bytes of the index, which follows.
    pub index_length: u64,
    /// Deltas to this bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deltas: Vec<DeltaListing>,
}

/// What signed metadata say about a delta.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaListing {
    /// The version that it starts from.
    pub from: Version,
    /// BLAKE3 of that version's manifest: a version of the same number, built anew, is another one.
    pub from_manifest: Digest,
    /// Name of the target, a file of the repository.
    pub target: String,
    /// Bytes of the whole delta.
    pub length: u64,
    /// Bytes of its head: the first ones.
    pub head_length: u64,
    /// BLAKE3 of these.
    pub head: Digest,
}

/// One way to the new version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// The chunks that are missing, from the bundle.
    Chunks,
    /// A delta, by its place in [`Listing::deltas`].
    Delta(usize),
}

/// A way with its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The way.
    pub path: Path,
    /// Bytes still to fetch.
    pub bytes: u64,
}

impl Listing {
    /// Bytes of manifest and index: what is fetched first.
    #[must_use]
    pub const fn head_length(&self) -> u64 {
        self.manifest_length.saturating_add(self.index_length)
    }

    /// Whether a device may use it at all.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Malformed`].
    pub fn check(&self) -> Result<(), Error> {
        Error::bounded("the manifest", self.manifest_length, limits::MAX_MANIFEST)?;
        Error::bounded("the index", self.index_length, limits::MAX_INDEX)?;
        Error::bounded(
            "the bundle",
            self.length,
            self.head_length().saturating_add(2 * limits::MAX_PAYLOAD),
        )?;
        Error::bounded("the number of deltas", self.deltas.len() as u64, limits::MAX_DELTAS as u64)?;
        if self.head_length() > self.length {
            return Err(Error::malformed("the listing", "the head is longer than the bundle"));
        }
        for delta in &self.deltas {
            Error::bounded("the delta's head", delta.head_length, limits::MAX_DELTA_HEAD)?;
            if delta.head_length > delta.length {
                return Err(Error::malformed("the listing", "a delta's head is longer than the delta"));
            }
        }
        Ok(())
    }

    /// The cheapest way. `chunks` is what [`crate::Plan::fetch_bytes`] says for the bundle alone, with the head already
    /// fetched; `active` is the hash of the active slot's manifest, where it is known.
    ///
    /// Fetching chunks never costs more than the bundle, and a delta is taken only where the whole of it costs less than
    /// that, so that no way costs more than the bundle.
    #[must_use]
    pub fn cheapest(&self, chunks: u64, active: Option<&Digest>) -> Offer {
        let deltas = self.deltas.iter().enumerate().filter(|(_, delta)| Some(&delta.from_manifest) == active);
        let best = deltas.min_by_key(|(_, delta)| delta.length);
        match best {
            Some((number, delta)) if delta.length < chunks => {
                Offer { path: Path::Delta(number), bytes: delta.length }
            }
            _ => Offer { path: Path::Chunks, bytes: chunks },
        }
    }
}
