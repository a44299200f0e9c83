//! A static delta between two versions: patches for the chunks that the older one lacks.
//!
//! ```text
//! "CAIRNDL1", BLAKE3 of the old manifest [32], BLAKE3 of the new manifest [32], u32 n,
//! n × { u8 method, u32 stored length, u32 c, c × u32 chunk, u32 r, r × { u8 payload, u64 offset, u32 length } }
//! ```
//! The patches follow in the order of the list. What is unchanged is not in a delta: the device finds it by its hash.

use crate::{
    ByteRange, ChunkId, DeltaListing, Digest, Error, Head, Listing, PayloadKind, Piece, Place, index::Reader,
    limits, patch::Method,
};

pub(crate) const MAGIC: &[u8; 8] = b"CAIRNDL1";
const WHAT: &str = "the delta";

/// The head of a delta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    pub(crate) pieces: Vec<Piece>,
}

impl Delta {
    /// Reads the first [`DeltaListing::head_length`] bytes of a delta to the bundle of `head`.
    ///
    /// # Errors
    /// [`Error::Mismatch`] before anything is parsed, where the hash is another one; [`Error::Malformed`] or
    /// [`Error::TooLarge`] where what was signed is not usable.
    pub fn parse(bytes: &[u8], delta: &DeltaListing, listing: &Listing, head: &Head) -> Result<Self, Error> {
        Error::bounded("the delta's head", bytes.len() as u64, limits::MAX_DELTA_HEAD)?;
        if bytes.len() as u64 != delta.head_length || Digest::of(bytes) != delta.head {
            return Err(Error::Mismatch { what: "the delta's head" });
        }
        let mut reader = Reader { rest: bytes, what: WHAT };
        if reader.take::<8>()? != *MAGIC {
            return Err(Error::malformed(WHAT, "it does not begin as one"));
        }
        let (from, to) = (reader.take::<32>()?, reader.take::<32>()?);
        if from != *delta.from_manifest.as_bytes() || to != *listing.manifest.as_bytes() {
            return Err(Error::malformed(WHAT, "it is between other versions"));
        }
        let count = reader.count(limits::MAX_PATCHES, 13)?;
        let mut pieces = Vec::with_capacity(count);
        let (mut start, mut next) = (delta.head_length, 0_u32);
        for _ in 0..count {
            let piece = piece(&mut reader, head, start, &mut next)?;
            start = piece.range.end;
            pieces.push(piece);
        }
        if !reader.rest.is_empty() || start != delta.length {
            return Err(Error::malformed(WHAT, "its patches do not add up to it"));
        }
        Ok(Self { pieces })
    }
}

fn piece(reader: &mut Reader<'_>, head: &Head, start: u64, next: &mut u32) -> Result<Piece, Error> {
    let [method] = reader.take::<1>()?;
    let method =
        Method::from_number(method).ok_or_else(|| Error::malformed(WHAT, "a method is not known here"))?;
    let stored = Error::bounded("a patch", u64::from(reader.u32()?), limits::MAX_PATCH_STORED)?;
    let count = reader.count(limits::MAX_CHUNKS, 4)?;
    let mut chunks = Vec::with_capacity(count);
    let mut output = 0_u64;
    for _ in 0..count {
        let id = reader.u32()?;
        if id < *next {
            return Err(Error::malformed(WHAT, "its chunks are not in order"));
        }
        *next = id.saturating_add(1);
        let chunk =
            head.index.chunk(ChunkId(id)).ok_or_else(|| Error::malformed(WHAT, "it names no chunk"))?;
        output += u64::from(chunk.length);
        chunks.push(ChunkId(id));
    }
    if chunks.is_empty() || stored == 0 {
        return Err(Error::malformed(WHAT, "a patch is empty"));
    }
    Error::bounded("what a patch gives", output, limits::MAX_PATCH_OUTPUT)?;
    let count = reader.count(limits::MAX_REFERENCES, 13)?;
    let mut references = Vec::with_capacity(count);
    let mut referred = 0_u64;
    for _ in 0..count {
        let kind = match reader.take::<1>()? {
            [0] => PayloadKind::Boot,
            [1] => PayloadKind::Root,
            _ => return Err(Error::malformed(WHAT, "it refers to no payload")),
        };
        let place = Place { kind, offset: reader.u64()?, length: reader.u32()? };
        Error::bounded("a place that a patch refers to", place.offset, limits::MAX_PAYLOAD)?;
        referred += u64::from(place.length);
        references.push(place);
    }
    Error::bounded("what a patch refers to", referred, limits::MAX_REFERENCE_BYTES)?;
    Ok(Piece { range: ByteRange { start, end: start.saturating_add(stored) }, chunks, method, references })
}
