//! From fetched bytes to verified blocks in the order of the slot. No I/O but reading the two slots.

use crate::{
    ByteRange, ChunkId, Digest, Error, Head, Origin, PayloadKind, Piece, Place, Plan, ReadAt, patch,
};

/// The two slots.
pub trait Sources {
    /// A partition of the slot that runs.
    fn active(&self, kind: PayloadKind) -> &dyn ReadAt;
    /// A partition of the slot that is written; must read back what was written, flushed or not.
    fn target(&self, kind: PayloadKind) -> &dyn ReadAt;
}

/// Verified bytes for a place of the target slot.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// The partition.
    pub kind: PayloadKind,
    /// Where they belong, in bytes.
    pub offset: u64,
    /// What belongs there; at most [`crate::limits::MAX_CHUNK`] bytes. Not aligned to anything.
    pub bytes: &'a [u8],
}

/// Takes fetched bytes, gives verified blocks.
///
/// The caller's loop: write every block that [`Assembler::next_block`] gives, *before* asking for the next one (a block may
/// be read back); when there is none, fetch from [`Assembler::wants`] and hand the bytes to [`Assembler::feed`]; done
/// when [`Assembler::finished`]. After a cut connection, ask [`Assembler::wants`] again: nothing is fetched twice.
///
/// Holds one piece as stored, its references and what it gives: at most
/// [`MAX_PATCH_STORED`](crate::limits::MAX_PATCH_STORED) + [`MAX_REFERENCE_BYTES`](crate::limits::MAX_REFERENCE_BYTES) +
/// [`MAX_PATCH_OUTPUT`](crate::limits::MAX_PATCH_OUTPUT) bytes.
pub struct Assembler<'a> {
    head: &'a Head,
    plan: &'a Plan,
    ranges: Vec<ByteRange>,
    /// Range that is being fetched, and the file's next byte.
    range: usize,
    at: u64,
    step: usize,
    /// Piece whose bytes are being collected; those before it are decoded.
    piece: usize,
    stored: Vec<u8>,
    decoded: Vec<u8>,
    /// The last block, and which chunk it was.
    block: Vec<u8>,
    last: Option<ChunkId>,
}

impl<'a> Assembler<'a> {
    /// Begins.
    #[must_use]
    pub fn new(head: &'a Head, plan: &'a Plan) -> Self {
        let ranges = plan.ranges();
        let at = ranges.first().map_or(0, |range| range.start);
        Self {
            head,
            plan,
            ranges,
            range: 0,
            at,
            step: 0,
            piece: 0,
            stored: Vec::new(),
            decoded: Vec::new(),
            block: Vec::new(),
            last: None,
        }
    }

    /// What to fetch next, up to the end of its range; `None` when all has been fetched.
    #[must_use]
    pub fn wants(&self) -> Option<ByteRange> {
        self.ranges.get(self.range).map(|range| ByteRange { start: self.at, end: range.end })
    }

    /// Takes bytes from the start of [`Assembler::wants`] on, and says how many. Where it takes fewer than given, a piece is
    /// complete: take the blocks first, then give the rest.
    ///
    /// # Errors
    /// [`Error::Unasked`] where more bytes are given than wanted.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let Some(range) = self.ranges.get(self.range).copied() else { return Err(Error::Unasked) };
            let Some(piece) = self.plan.pieces().get(self.piece) else { return Err(Error::Unasked) };
            let (until, keep) = if self.at < piece.range.start {
                (piece.range.start.min(range.end), false)
            } else {
                (piece.range.end, true)
            };
            if self.at >= until {
                break;
            }
            let count = usize::try_from(until - self.at).unwrap_or(usize::MAX).min(rest.len());
            if keep && let Some(part) = rest.get(..count) {
                self.stored.extend_from_slice(part);
            }
            taken += count;
            self.at = self.at.saturating_add(count as u64);
            if self.at >= range.end {
                self.range += 1;
                if let Some(next) = self.ranges.get(self.range) {
                    self.at = next.start;
                }
                break;
            }
        }
        Ok(taken)
    }

    /// The next block, or `None` where bytes are missing or all is done.
    ///
    /// # Errors
    /// [`Error::Block`] or [`Error::Malformed`] where what was fetched is not what was signed, or [`Error::Read`]. Nothing can
    /// be asked of this assembler after that; what was written until then stays good, so that a new plan goes on from it.
    pub fn next_block(&mut self, sources: &dyn Sources) -> Result<Option<Block<'_>>, Error> {
        loop {
            let Some(step) = self.plan.steps().get(self.step).copied() else { return Ok(None) };
            match step.origin {
                Origin::InPlace => {
                    self.step += 1;
                    continue;
                }
                _ if self.last == Some(step.chunk) => {}
                Origin::Active(from) => self.read(sources.active(from.kind), from, "the active slot")?,
                Origin::Target(from) => self.read(sources.target(from.kind), from, "the target slot")?,
                Origin::Fetched(number) => {
                    if number as usize >= self.piece && !self.decode(sources)? {
                        return Ok(None);
                    }
                    self.cut(number, step.chunk)?;
                }
            }
            let Place { kind, offset, .. } = step.place;
            self.last = None;
            let chunk = self.head.index.chunk(step.chunk);
            if chunk.is_none_or(|chunk| Digest::of(&self.block) != chunk.blake3) {
                return Err(Error::Block { kind, offset });
            }
            self.last = Some(step.chunk);
            self.step += 1;
            return Ok(Some(Block { kind, offset, bytes: &self.block }));
        }
    }

    /// Whether every place of the slot has been given, or was in place.
    #[must_use]
    pub fn finished(&self) -> bool {
        let mut rest = self.plan.steps().iter().skip(self.step);
        rest.all(|step| step.origin == Origin::InPlace)
    }

    fn read(&mut self, source: &dyn ReadAt, from: Place, what: &'static str) -> Result<(), Error> {
        self.block.resize(from.length as usize, 0);
        source.read_exact_at(from.offset, &mut self.block).map_err(|source| Error::Read { what, source })
    }

    /// Decodes the collected piece, if it is complete.
    fn decode(&mut self, sources: &dyn Sources) -> Result<bool, Error> {
        let Some(piece) = self.plan.pieces().get(self.piece) else { return Ok(false) };
        if (self.stored.len() as u64) < piece.range.len() {
            return Ok(false);
        }
        let references = references(piece, sources)?;
        let length = |id: &ChunkId| self.head.index.chunk(*id).map_or(0, |chunk| chunk.length as usize);
        self.decoded.clear();
        self.decoded.resize(piece.chunks.iter().map(length).sum(), 0);
        patch::decode(piece.method, &self.stored, &references, &mut self.decoded)?;
        self.stored.clear();
        self.piece += 1;
        Ok(true)
    }

    /// Takes a chunk out of the decoded piece.
    fn cut(&mut self, number: u32, wanted: ChunkId) -> Result<(), Error> {
        let missing = || Error::malformed("the plan", "a piece does not hold its chunk");
        let piece = self.plan.pieces().get(number as usize).ok_or_else(missing)?;
        let mut at = 0_usize;
        for &id in &piece.chunks {
            let length = self.head.index.chunk(id).ok_or_else(missing)?.length as usize;
            if id == wanted {
                let bytes = self.decoded.get(at..at.saturating_add(length)).ok_or_else(missing)?;
                self.block.clear();
                self.block.extend_from_slice(bytes);
                return Ok(());
            }
            at = at.saturating_add(length);
        }
        Err(missing())
    }
}

/// The bytes of the active slot that a patch refers to, one after the other.
fn references(piece: &Piece, sources: &dyn Sources) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0; piece.references.iter().map(|place| place.length as usize).sum()];
    let mut rest = bytes.as_mut_slice();
    for place in &piece.references {
        let Some((part, behind)) = rest.split_at_mut_checked(place.length as usize) else { break };
        let source = sources.active(place.kind);
        source
            .read_exact_at(place.offset, part)
            .map_err(|source| Error::Read { what: "the active slot", source })?;
        rest = behind;
    }
    Ok(bytes)
}
