//! The update bundle of one board and version: what a slot holds, cut into chunks that are compressed, hashed and
//! listed, so that a device fetches only what its active slot does not hold already. No network, no clock.
//!
//! Stands on hashes and compression alone; `trust` says which manifest to believe, `slots` writes what comes out
//! of [`Assembler`], `publish` makes bundles with [`write`]. The format is described in `docs/UPDATES.md`.
//!
//! The way of an update through this crate:
//! 1. signed metadata holds a [`Listing`]: the hash of the manifest, and which deltas exist;
//! 2. [`Head::parse`] reads manifest and index, checked against it;
//! 3. [`LocalChunks::scan`] hashes the active slot, [`InPlace::scan`] what the target slot holds already;
//! 4. [`Plan`] says where every chunk comes from and which byte ranges to fetch;
//! 5. [`Assembler`] takes the fetched bytes and gives back verified blocks in the order of the slot.

#![forbid(unsafe_code)]

mod assemble;
mod chunking;
mod delta;
mod digest;
mod error;
mod head;
mod index;
pub mod limits;
mod listing;
mod manifest;
mod patch;
mod plan;
mod source;
mod version;
pub mod write;

pub use assemble::{Assembler, Block, Sources};
pub use chunking::{Chunking, InPlace, LocalChunks, Place};
pub use delta::Delta;
pub use digest::Digest;
pub use error::Error;
pub use head::Head;
pub use index::{Chunk, ChunkId, Index};
pub use listing::{DeltaListing, Listing, Offer, Path};
pub use manifest::{Manifest, Payload, PayloadKind, Verity};
pub use plan::{ByteRange, Origin, Piece, Plan, Step};
pub use source::ReadAt;
pub use version::{Board, Version};
