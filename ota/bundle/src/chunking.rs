//! Where content is cut, and which chunks a device holds already.

use std::collections::HashMap;

use fastcdc::v2020::StreamCDC;
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Index, PayloadKind, ReadAt, limits, source::Stream};

/// How content is cut (FastCDC of 2020, normalization level 1); sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunking {
    /// Smallest chunk, but for the last.
    pub min: u32,
    /// Size that is aimed at.
    pub avg: u32,
    /// Largest chunk.
    pub max: u32,
}

impl Default for Chunking {
    fn default() -> Self {
        Self { min: 8 * 1024, avg: 32 * 1024, max: 128 * 1024 }
    }
}

impl Chunking {
    /// Whether these sizes make sense together.
    ///
    /// # Errors
    /// [`Error::Malformed`] or [`Error::TooLarge`].
    pub fn check(&self) -> Result<(), Error> {
        if self.min < 256 || self.avg < limits::MIN_CHUNK || self.min >= self.avg || self.avg >= self.max {
            return Err(Error::malformed("the manifest", "its chunk sizes make no sense"));
        }
        Error::bounded("the largest chunk", self.max.into(), limits::MAX_CHUNK.into())?;
        Ok(())
    }

    /// Cuts the first `length` bytes of `source` and gives every chunk with its place to `each`.
    ///
    /// # Errors
    /// [`Error::Read`], and what `each` says.
    pub(crate) fn cut(
        self,
        source: &dyn ReadAt,
        length: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.check()?;
        let (min, avg, max) = (self.min as usize, self.avg as usize, self.max as usize);
        for chunk in StreamCDC::new(Stream::new(source, length), min, avg, max) {
            let chunk = chunk.map_err(|error| Error::Read { what: "a payload", source: error.into() })?;
            each(chunk.offset, &chunk.data)?;
        }
        Ok(())
    }
}

/// A piece of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The payload.
    pub kind: PayloadKind,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its bytes.
    pub length: u32,
}

/// Chunks of the active slot by hash. About 100 bytes of memory for each; never more than two payloads of
/// [`limits::MAX_OCCURRENCES`] chunks.
#[derive(Debug, Clone, Default)]
pub struct LocalChunks {
    places: HashMap<Digest, Place>,
}

impl LocalChunks {
    /// A device that holds nothing of use.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Cuts and hashes the first `length` bytes of a partition of the active slot, the way the new bundle was cut.
    ///
    /// # Errors
    /// [`Error::Read`]. What was found until then stays; a device may go on with it.
    pub fn scan(
        &mut self,
        kind: PayloadKind,
        source: &dyn ReadAt,
        length: u64,
        chunking: Chunking,
    ) -> Result<(), Error> {
        let most = 2 * limits::MAX_OCCURRENCES as usize;
        chunking.cut(source, length.min(limits::MAX_PAYLOAD), |offset, bytes| {
            if self.places.len() < most {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                self.places.entry(Digest::of(bytes)).or_insert(Place { kind, offset, length });
            }
            Ok(())
        })
    }

    /// Where a chunk is held.
    #[must_use]
    pub fn place(&self, blake3: &Digest) -> Option<&Place> {
        self.places.get(blake3)
    }

    /// How many chunks are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

/// Which places of the target slot hold what they shall hold already: the progress of an install that was cut off.
#[derive(Debug, Clone, Default)]
pub struct InPlace {
    flags: [Vec<bool>; 2],
}

impl InPlace {
    /// A target slot of which nothing is known.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Reads a partition of the target slot and compares every place with the index. What cannot be read is written anew.
    pub fn scan(&mut self, kind: PayloadKind, target: &dyn ReadAt, index: &Index) {
        let mut buffer = Vec::new();
        let flags = index.occurrences(kind).map(|(offset, _, chunk)| {
            buffer.resize(chunk.length as usize, 0);
            target.read_exact_at(offset, &mut buffer).is_ok() && Digest::of(&buffer) == chunk.blake3
        });
        let flags = flags.collect();
        let [boot, root] = &mut self.flags;
        match kind {
            PayloadKind::Boot => *boot = flags,
            PayloadKind::Root => *root = flags,
        }
    }

    /// Bytes that are in place.
    #[must_use]
    pub fn bytes(&self, index: &Index) -> u64 {
        let of = |kind| {
            let held = index.occurrences(kind).enumerate().filter(|(number, _)| self.holds(kind, *number));
            held.map(|(_, (_, _, chunk))| u64::from(chunk.length)).sum::<u64>()
        };
        PayloadKind::ALL.into_iter().map(of).sum()
    }

    /// Whether occurrence `number` of a payload is in place.
    pub(crate) fn holds(&self, kind: PayloadKind, number: usize) -> bool {
        let [boot, root] = &self.flags;
        let flags = match kind {
            PayloadKind::Boot => boot,
            PayloadKind::Root => root,
        };
        flags.get(number).copied().unwrap_or(false)
    }
}
