//! Why a bundle or a delta is refused.

use std::io;

use crate::PayloadKind;

/// Why a bundle or a delta is refused, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not of this format, or broken.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// Which part.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The manifest is no JSON of the expected shape.
    #[error("the manifest cannot be read: {0}")]
    Manifest(#[from] serde_json::Error),
    /// Larger than a device accepts.
    #[error("{what} is {found}, more than the {limit} allowed")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it says that it is.
        found: u64,
        /// The limit, from [`crate::limits`].
        limit: u64,
    },
    /// Not what the signed metadata, or what they vouch for, says.
    #[error("{what} is not what was signed")]
    Mismatch {
        /// Which part.
        what: &'static str,
    },
    /// A block did not come out as the index says.
    #[error("the block of {kind} at {offset} is not what was signed")]
    Block {
        /// The payload.
        kind: PayloadKind,
        /// The block's place in it, in bytes.
        offset: u64,
    },
    /// The active or the target slot could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What was read.
        what: &'static str,
        /// What the system reported.
        #[source]
        source: io::Error,
    },
    /// A compressor or an output failed while making a bundle.
    #[error("cannot write {what}")]
    Write {
        /// What was being made.
        what: &'static str,
        /// What the system reported.
        #[source]
        source: io::Error,
    },
    /// More bytes were given than asked for.
    #[error("more bytes arrived than were asked for")]
    Unasked,
}

impl Error {
    pub(crate) const fn malformed(what: &'static str, why: &'static str) -> Self {
        Self::Malformed { what, why }
    }

    /// `found` unless it is above `limit`.
    pub(crate) fn bounded(what: &'static str, found: u64, limit: u64) -> Result<u64, Self> {
        if found > limit { Err(Self::TooLarge { what, found, limit }) } else { Ok(found) }
    }
}
