//! The index: which chunks a bundle holds, and in which order they make the payloads.
//!
//! ```text
//! u32 n, n × { BLAKE3 [32], u32 length, u32 stored length }     chunks that differ, by first appearance
//! 2 × { u32 m, m × u32 number of the chunk }                     boot, root
//! ```
//! All numbers are little-endian. The chunks lie behind the head in the order of the list; a chunk whose stored length is
//! its length is stored as it is, any other is one zstd frame.

use crate::{Digest, Error, Manifest, PayloadKind, limits};

const WHAT: &str = "the index";

/// A chunk's number in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub(crate) u32);

impl ChunkId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// BLAKE3 of its bytes before compression.
    pub blake3: Digest,
    /// Bytes before compression, at most [`limits::MAX_CHUNK`].
    pub length: u32,
    /// Bytes as stored, at most `length`.
    pub stored: u32,
    /// Where it is stored, counted from the first byte after the index.
    pub(crate) offset: u64,
}

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Index {
    pub(crate) chunks: Vec<Chunk>,
    /// Boot, root.
    pub(crate) sequences: [Vec<ChunkId>; 2],
}

impl Index {
    /// Reads the index that `manifest` names.
    ///
    /// # Errors
    /// [`Error::Mismatch`] before anything is parsed, where the hash is another one; [`Error::Malformed`] or
    /// [`Error::TooLarge`] where what was signed is not usable.
    pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self, Error> {
        if bytes.len() as u64 != manifest.index.length || Digest::of(bytes) != manifest.index.blake3 {
            return Err(Error::Mismatch { what: WHAT });
        }
        let mut reader = Reader { rest: bytes, what: WHAT };
        let count = reader.count(limits::MAX_CHUNKS, 40)?;
        let mut chunks = Vec::with_capacity(count);
        let mut offset = 0_u64;
        for _ in 0..count {
            let blake3 = Digest::from_bytes(reader.take::<32>()?);
            let (length, stored) = (reader.u32()?, reader.u32()?);
            Error::bounded("a chunk", u64::from(length), u64::from(manifest.chunking.max))?;
            if stored == 0 || stored > length {
                return Err(Error::malformed(WHAT, "a chunk is stored as more than it is, or as nothing"));
            }
            chunks.push(Chunk { blake3, length, stored, offset });
            offset += u64::from(stored);
        }
        let mut index = Self { chunks, sequences: [Vec::new(), Vec::new()] };
        let mut seen = 0_u32;
        for (kind, payload) in PayloadKind::ALL.into_iter().zip(&manifest.payloads) {
            let count = reader.count(limits::MAX_OCCURRENCES, 4)?;
            let mut sequence = Vec::with_capacity(count);
            let mut length = 0_u64;
            for _ in 0..count {
                let id = reader.u32()?;
                if id > seen {
                    return Err(Error::malformed(
                        WHAT,
                        "its chunks are not in the order of their appearance",
                    ));
                }
                seen = seen.max(id.saturating_add(1));
                let chunk = index.chunks.get(id as usize);
                length += u64::from(chunk.ok_or_else(|| Error::malformed(WHAT, "it names no chunk"))?.length);
                sequence.push(ChunkId(id));
            }
            if length != payload.length {
                return Err(Error::malformed(WHAT, "its chunks do not add up to the payload"));
            }
            *index.sequence_mut(kind) = sequence;
        }
        if seen as usize != index.chunks.len() || !reader.rest.is_empty() {
            return Err(Error::malformed(WHAT, "it holds something that nothing refers to"));
        }
        Ok(index)
    }

    /// As it stands in a bundle.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 40 * self.chunks.len());
        let number = |bytes: &mut Vec<u8>, count: usize| {
            bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        };
        number(&mut bytes, self.chunks.len());
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk.blake3.as_bytes());
            bytes.extend_from_slice(&chunk.length.to_le_bytes());
            bytes.extend_from_slice(&chunk.stored.to_le_bytes());
        }
        for sequence in &self.sequences {
            number(&mut bytes, sequence.len());
            sequence.iter().for_each(|id| bytes.extend_from_slice(&id.0.to_le_bytes()));
        }
        bytes
    }

    /// The chunk `id`.
    #[must_use]
    pub fn chunk(&self, id: ChunkId) -> Option<&Chunk> {
        self.chunks.get(id.index())
    }

    /// All chunks, each once.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = (ChunkId, &Chunk)> {
        self.chunks
            .iter()
            .enumerate()
            .map(|(id, chunk)| (ChunkId(u32::try_from(id).unwrap_or(u32::MAX)), chunk))
    }

    /// The chunks that make a payload, in order, with their places in it in bytes.
    pub fn occurrences(&self, kind: PayloadKind) -> impl Iterator<Item = (u64, ChunkId, &Chunk)> {
        let mut at = 0_u64;
        self.sequence(kind).iter().filter_map(move |&id| {
            let chunk = self.chunk(id)?;
            let offset = at;
            at += u64::from(chunk.length);
            Some((offset, id, chunk))
        })
    }

    /// Bytes of all chunks as stored.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.chunks.last().map_or(0, |last| last.offset + u64::from(last.stored))
    }

    pub(crate) const fn sequence(&self, kind: PayloadKind) -> &Vec<ChunkId> {
        let [boot, root] = &self.sequences;
        match kind {
            PayloadKind::Boot => boot,
            PayloadKind::Root => root,
        }
    }

    pub(crate) const fn sequence_mut(&mut self, kind: PayloadKind) -> &mut Vec<ChunkId> {
        let [boot, root] = &mut self.sequences;
        match kind {
            PayloadKind::Boot => boot,
            PayloadKind::Root => root,
        }
    }
}

/// Takes numbers from the front of a slice.
pub(crate) struct Reader<'a> {
    /// What is left.
    pub(crate) rest: &'a [u8],
    /// What is read, for errors.
    pub(crate) what: &'static str,
}

impl Reader<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let cut = || Error::malformed(self.what, "it is cut off");
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or_else(cut)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    /// A number of entries of at least `size` bytes each, which must be there.
    pub(crate) fn count(&mut self, limit: u32, size: usize) -> Result<usize, Error> {
        let count = Error::bounded("a number of entries", u64::from(self.u32()?), u64::from(limit))?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count.saturating_mul(size) > self.rest.len() {
            return Err(Error::malformed(self.what, "it is cut off"));
        }
        Ok(count)
    }
}
