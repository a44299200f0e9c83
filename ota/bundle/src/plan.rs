//! Where every chunk of the new slot comes from, and which bytes to fetch. Pure.

use crate::{
    ChunkId, Delta, Error, Head, InPlace, Index, LocalChunks, PayloadKind, Place, limits, patch::Method,
};

/// Bytes of a file, `start` included, `end` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// Byte after the last.
    pub end: u64,
}

impl ByteRange {
    /// Bytes.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }
}

/// Where a chunk comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It stands where it belongs.
    InPlace,
    /// From the active slot.
    Active(Place),
    /// It occurs again: from the target slot, where an earlier step put it.
    Target(Place),
    /// From a piece that is fetched, by its number in [`Plan::pieces`].
    Fetched(u32),
}

/// One place of the target slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Where it belongs.
    pub place: Place,
    /// The chunk.
    pub chunk: ChunkId,
    /// Where it comes from.
    pub origin: Origin,
}

/// What is fetched and decoded at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where it stands in the file that is fetched.
    pub range: ByteRange,
    /// The chunks that it gives, in their order in the index.
    pub(crate) chunks: Vec<ChunkId>,
    pub(crate) method: Method,
    /// What of the active slot it is a patch against.
    pub(crate) references: Vec<Place>,
}

/// Where every chunk of the new slot comes from: boot first, then root, each from its first byte to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<Step>,
    pieces: Vec<Piece>,
}

impl Plan {
    /// The way by chunks of the bundle: fetches every chunk that neither slot holds, once.
    #[must_use]
    pub fn chunks(head: &Head, local: &LocalChunks, in_place: &InPlace) -> Self {
        let index = &head.index;
        let mut pieces = Vec::new();
        let steps = steps(index, local, in_place, |id| {
            let chunk = index.chunk(id)?;
            let start = head.data_offset.saturating_add(chunk.offset);
            let method = if chunk.stored == chunk.length { Method::Plain } else { Method::Zstd };
            let range = ByteRange { start, end: start.saturating_add(u64::from(chunk.stored)) };
            pieces.push(Piece { range, chunks: vec![id], method, references: Vec::new() });
            u32::try_from(pieces.len() - 1).ok()
        });
        // Every chunk of an index stands in it, so that no step can be missing.
        Self { steps: steps.unwrap_or_default(), pieces }
    }

    /// The way by a delta.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where the active slot lacks a chunk that the delta takes for granted (it is damaged, or another
    /// version): the way by chunks is open then.
    pub fn delta(head: &Head, local: &LocalChunks, in_place: &InPlace, delta: &Delta) -> Result<Self, Error> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut next = 0_usize;
        let steps = steps(&head.index, local, in_place, |id| {
            // Chunks are asked for in ascending order and pieces are in ascending order, so one pass finds all.
            let last = u32::try_from(pieces.len()).ok()?.checked_sub(1);
            if let (Some(last), Some(piece)) = (last, pieces.last())
                && piece.chunks.binary_search(&id).is_ok()
            {
                return Some(last);
            }
            let rest = delta.pieces.get(next..)?;
            let skip = rest.iter().position(|piece| piece.chunks.binary_search(&id).is_ok())?;
            pieces.push(rest.get(skip)?.clone());
            next += skip + 1;
            u32::try_from(pieces.len() - 1).ok()
        });
        let steps = steps.ok_or(Error::Mismatch { what: "the active slot, from which the delta starts," })?;
        Ok(Self { steps, pieces })
    }

    /// What to do, in the order of the slot.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What is fetched, in ascending order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The byte ranges to ask for: pieces with gaps of at most [`limits::COALESCE_GAP`] between them are one.
    #[must_use]
    pub fn ranges(&self) -> Vec<ByteRange> {
        let mut ranges: Vec<ByteRange> = Vec::new();
        for piece in &self.pieces {
            match ranges.last_mut() {
                Some(last) if piece.range.start.saturating_sub(last.end) <= limits::COALESCE_GAP => {
                    last.end = piece.range.end;
                }
                _ => ranges.push(piece.range),
            }
        }
        ranges
    }

    /// Bytes to fetch, gaps included: never more than the file.
    #[must_use]
    pub fn fetch_bytes(&self) -> u64 {
        self.ranges().iter().map(ByteRange::len).sum()
    }

    /// Bytes to write into the target slot.
    #[must_use]
    pub fn write_bytes(&self) -> u64 {
        let written = self.steps.iter().filter(|step| step.origin != Origin::InPlace);
        written.map(|step| u64::from(step.place.length)).sum()
    }
}

/// The steps; `fetch` is asked at most once for each chunk, in ascending order, which piece gives it.
fn steps(
    index: &Index,
    local: &LocalChunks,
    in_place: &InPlace,
    mut fetch: impl FnMut(ChunkId) -> Option<u32>,
) -> Option<Vec<Step>> {
    let mut steps = Vec::with_capacity(index.sequences.iter().map(Vec::len).sum());
    // Where each chunk stands in the target slot once its first step is done.
    let mut done: Vec<Option<Place>> = vec![None; index.chunks.len()];
    for kind in PayloadKind::ALL {
        for (number, (offset, chunk, entry)) in index.occurrences(kind).enumerate() {
            let place = Place { kind, offset, length: entry.length };
            let earlier = done.get_mut(chunk.index())?;
            let origin = if in_place.holds(kind, number) {
                Origin::InPlace
            } else if let Some(active) = local.place(&entry.blake3).filter(|held| held.length == entry.length)
            {
                Origin::Active(*active)
            } else if let Some(earlier) = *earlier {
                Origin::Target(earlier)
            } else {
                Origin::Fetched(fetch(chunk)?)
            };
            earlier.get_or_insert(place);
            steps.push(Step { place, chunk, origin });
        }
    }
    Some(steps)
}
