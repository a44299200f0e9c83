//! The steps of an update on one hub, each in the order that a power cut forgives. The supervisor calls them.
//!
//! 1. [`System::open_for_writing`]: the other slot leaves trial, then may be written to.
//! 2. [`System::try_new`]: the written slot is read back whole and compared with what was signed; what will be tried is noted; then one
//!    durable write flips.
//! 3. After the restart, [`System::start`] says what this start is; a system on trial ends with [`System::confirm`] or
//!    [`System::fail`].

use cairn_bundle::{Digest, Manifest, ReadAt, Version};

use crate::{
    SlotId,
    boot_flow::{BootFlow, BootFlowError},
    check::{CheckError, check_slot},
    device::Partitions,
    durable::{Files, replace},
    health::Failure,
    record::{NotTried, Record, Release, Then},
};

/// The file that holds the record.
pub const RECORD: &str = "updates.json";

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// Boot control.
    #[error(transparent)]
    Boot(#[from] BootFlowError),
    /// The written slot is not what was signed.
    #[error("the new system was not started: {0}")]
    Check(#[from] CheckError),
    /// The version is not to be tried.
    #[error(transparent)]
    NotTried(#[from] NotTried),
    /// The record cannot be read or written.
    #[error("the record of updates: {0}")]
    Record(#[from] std::io::Error),
}

/// What is known of the running system, and the means to change it.
#[derive(Debug)]
pub struct System<B, F> {
    boot: B,
    files: F,
    running: SlotId,
    version: Version,
}

impl<B: BootFlow, F: Files> System<B, F> {
    /// The system of `version` that runs from `running`.
    pub const fn new(boot: B, files: F, running: SlotId, version: Version) -> Self {
        Self { boot, files, running, version }
    }

    /// The slot that runs.
    pub const fn running(&self) -> SlotId {
        self.running
    }

    /// What the board can do.
    pub fn capabilities(&self) -> crate::Capabilities {
        self.boot.capabilities()
    }

    /// What is remembered. A record that cannot be understood is told and counts as empty: a version that failed may then be
    /// tried once more, which is harmless.
    ///
    /// # Errors
    /// [`SystemError::Record`].
    pub fn record(&self) -> Result<Record, SystemError> {
        let Some(bytes) = self.files.read(RECORD)? else { return Ok(Record::default()) };
        Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            tracing::error!(%error, "the record of updates cannot be understood and is begun anew");
            Record::default()
        }))
    }

    fn keep(&self, before: &Record, record: &Record) -> Result<(), SystemError> {
        if before != record {
            let bytes = serde_json::to_vec_pretty(record).map_err(std::io::Error::other)?;
            replace(&self.files, RECORD, &bytes)?;
        }
        Ok(())
    }

    /// To be called first, once per start: settles what an earlier trial left behind.
    ///
    /// # Errors
    /// [`SystemError`]; the hub can serve all the same.
    pub fn start(&self) -> Result<Then, SystemError> {
        let before = self.record()?;
        let (record, then) = before.at_start(self.boot.outcome(self.running)?, self.running);
        // First what failed is remembered, then its slot may be forgotten.
        self.keep(&before, &record)?;
        if then == Then::GiveUp {
            self.boot.give_up()?;
        }
        Ok(then)
    }

    /// The slot to write a new system to. When this returns, no start will try what stands there.
    ///
    /// # Errors
    /// While this system is on trial itself.
    pub fn open_for_writing(&self) -> Result<SlotId, SystemError> {
        let slot = self.boot.open_for_writing(self.running)?;
        let before = self.record()?;
        self.keep(&before, &before.without_attempt())?;
        Ok(slot)
    }

    /// Checks the written slot and makes the next start try it. `slot` must be fresh handles, so that it is the card that is read.
    ///
    /// # Errors
    /// [`SystemError`]; nothing is flipped then.
    pub fn try_new<D: ReadAt>(
        &self,
        slot: &Partitions<D>,
        manifest: &Manifest,
        hash: Digest,
        between: impl FnMut(),
    ) -> Result<(), SystemError> {
        let release = Release { version: manifest.version, manifest: hash };
        let before = self.record()?;
        before.may_try(&release, self.version)?;
        let target = self.boot.open_for_writing(self.running)?;
        check_slot(slot, manifest, between)?;
        self.keep(&before, &before.with_attempt(release, target))?;
        Ok(self.boot.try_once(target)?)
    }

    /// To be called right before the restart into the new system.
    ///
    /// # Errors
    /// [`SystemError::Record`].
    pub fn arm(&self) -> Result<(), SystemError> {
        if self.boot.capabilities().knows_failed_try {
            return Ok(());
        }
        let before = self.record()?;
        let mut armed = before.clone();
        if let Some(attempt) = &mut armed.attempt {
            attempt.armed = true;
        }
        self.keep(&before, &armed)
    }

    /// The system on trial, which runs, stays.
    ///
    /// # Errors
    /// [`SystemError`]; the next start is the old system then.
    pub fn confirm(&self) -> Result<(), SystemError> {
        self.boot.confirm(self.running)?;
        let before = self.record()?;
        self.keep(&before, &before.confirmed())
    }

    /// The system on trial, which runs, is unfit. A restart brings the old one back, which will tell why.
    ///
    /// # Errors
    /// [`SystemError::Record`]; the old system comes back all the same, without knowing why.
    pub fn fail(&self, failure: Failure) -> Result<(), SystemError> {
        let before = self.record()?;
        self.keep(&before, &before.failing(failure))
    }

    /// A keeper says: try that version again.
    ///
    /// # Errors
    /// [`SystemError::Record`].
    pub fn try_again(&self, version: Version) -> Result<(), SystemError> {
        let before = self.record()?;
        self.keep(&before, &before.forgiven(version))
    }
}
