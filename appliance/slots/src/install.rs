//! Writing a slot: verified blocks go to their places as they arrive, and what is there already stays.
//!
//! Whoever holds the write handle (the hub's process) drives it: [`survey`] both slots, make a plan, then feed an
//! [`Install`] with the bytes that it wants. Nothing is kept of the way but what stands in the slot: after a cut, of the
//! connection or of the power, the next survey finds it by its hashes.

use cairn_bundle::{Assembler, ByteRange, Error, Head, InPlace, LocalChunks, PayloadKind, Plan, ReadAt};

use crate::device::{BlockDevice, DeviceError, SlotPair};

/// Bytes written between two flushes: bounds what waits in the system's cache, and what a power cut takes.
pub const FLUSH_EVERY: u64 = 4 << 20;

/// Why a slot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// What was fetched is not what was signed, or a slot could not be read.
    #[error(transparent)]
    Bundle(#[from] Error),
    /// The slot could not be written.
    #[error("the slot: {0}")]
    Device(#[from] DeviceError),
    /// The slot is too small for this system.
    #[error("the {kind} partition holds {size} bytes and the new system needs {needed}")]
    TooSmall {
        /// Which partition.
        kind: PayloadKind,
        /// What it holds.
        size: u64,
        /// What is needed.
        needed: u64,
    },
    /// The fetching ended before everything was there.
    #[error("the slot is not complete yet")]
    Incomplete,
}

/// What both slots hold of a new system.
#[derive(Debug, Default)]
pub struct Survey {
    /// What the active slot holds.
    pub local: LocalChunks,
    /// What stands in the target slot already.
    pub in_place: InPlace,
}

/// Reads both slots whole and says what of `head` they hold. An active slot that cannot be read to its end helps as
/// far as it could be read.
///
/// # Errors
/// [`InstallError::TooSmall`] before anything is read.
pub fn survey<A, T>(
    head: &Head,
    pair: &SlotPair<A, T>,
    active_sizes: [u64; 2],
) -> Result<Survey, InstallError>
where
    A: ReadAt,
    T: BlockDevice,
{
    for payload in &head.manifest.payloads {
        let size = pair.target.of(payload.kind).size();
        if size < payload.length {
            return Err(InstallError::TooSmall { kind: payload.kind, size, needed: payload.length });
        }
    }
    let mut survey = Survey::default();
    for (kind, size) in PayloadKind::ALL.into_iter().zip(active_sizes) {
        survey.in_place.scan(kind, pair.target.of(kind), &head.index);
        if let Err(error) = survey.local.scan(kind, pair.active.of(kind), size, head.manifest.chunking) {
            tracing::warn!(%kind, %error, "the running slot could not be read whole; more is fetched");
        }
    }
    Ok(survey)
}

/// A slot being written.
pub struct Install<'a, A, T> {
    pair: &'a SlotPair<A, T>,
    assembler: Assembler<'a>,
    unflushed: u64,
    written: u64,
}

impl<'a, A: ReadAt, T: BlockDevice> Install<'a, A, T> {
    /// Begins, or goes on: `plan` says what is missing.
    #[must_use]
    pub fn new(head: &'a Head, plan: &'a Plan, pair: &'a SlotPair<A, T>) -> Self {
        Self { pair, assembler: Assembler::new(head, plan), unflushed: 0, written: 0 }
    }

    /// What to fetch next.
    #[must_use]
    pub fn wants(&self) -> Option<ByteRange> {
        self.assembler.wants()
    }

    /// Bytes written so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Takes fetched bytes; says how many. Write what is ready ([`Install::write_next`]) before giving the rest.
    ///
    /// # Errors
    /// [`InstallError::Bundle`] when more is given than was asked for.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, InstallError> {
        Ok(self.assembler.feed(bytes)?)
    }

    /// Writes one verified block; its length, or `None` when bytes are missing or all is written.
    ///
    /// # Errors
    /// [`InstallError::Bundle`] when what was fetched is not what was signed: nothing of it was written.
    pub fn write_next(&mut self) -> Result<Option<u64>, InstallError> {
        let Some(block) = self.assembler.next_block(self.pair)? else { return Ok(None) };
        self.pair.target.of(block.kind).write_at(block.offset, block.bytes)?;
        let length = block.bytes.len() as u64;
        self.written += length;
        self.unflushed += length;
        if self.unflushed >= FLUSH_EVERY {
            self.flush()?;
        }
        Ok(Some(length))
    }

    /// Makes what was written durable. To be called when fetching stops, for good or for now.
    ///
    /// # Errors
    /// [`InstallError::Device`].
    pub fn flush(&mut self) -> Result<(), InstallError> {
        for kind in PayloadKind::ALL {
            self.pair.target.of(kind).flush()?;
        }
        self.unflushed = 0;
        Ok(())
    }

    /// Ends a complete slot: everything is durable then.
    ///
    /// # Errors
    /// [`InstallError::Incomplete`].
    pub fn finish(mut self) -> Result<(), InstallError> {
        self.flush()?;
        if self.assembler.finished() { Ok(()) } else { Err(InstallError::Incomplete) }
    }
}
