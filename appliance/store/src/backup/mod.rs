//! Backups: one file with the records, the settings and the files, encrypted to a passphrase.
//!
//! # The file
//! An [age](https://age-encryption.org/v1) file for a passphrase (scrypt, N = 2^16), so that any age tool opens it. Inside,
//! all numbers little endian:
//!
//! ```text
//! "cairn backup 1\n"
//! entry*      1: u8   name length: u16   name   size: u64   content   BLAKE3 of the content: 32 bytes
//! end         0: u8   number of entries: u64   BLAKE3 of all the entries' hashes in order: 32 bytes
//! ```
//!
//! The entries are `manifest.json` ([`Manifest`]), `records.db` (SQLite) and then `blobs/` + hash for every file that a
//! document refers to. Nothing else is taken, so that no name can lead out of the folder. age notices every changed or
//! missing byte; the hashes notice what went wrong before the encryption.

mod format;
mod make;
mod restore;
pub(crate) mod staged;

pub use format::Manifest;
pub use restore::restore;

use std::{ops::ControlFlow, sync::Arc};

use serde::Serialize;

/// Shortest passphrase, in characters.
pub const MIN_PASSPHRASE: usize = 8;
/// Work of making a key of the passphrase, as a power of two: 64 MiB and under a second on a small board.
const WORK: u8 = 16;
/// Most work that a file from elsewhere may ask for: 256 MiB.
const MAX_WORK: u8 = 18;

/// Why a backup was not made or not taken. Nothing was touched.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The passphrase does not open the file.
    #[error("the passphrase does not open this backup")]
    WrongPassphrase,
    /// Too short to protect anything.
    #[error("the passphrase needs at least {MIN_PASSPHRASE} characters")]
    WeakPassphrase,
    /// Not made by a hub.
    #[error("this file is not a backup of a hub")]
    NotABackup,
    /// A part is missing.
    #[error("the backup is cut off; copy the file again")]
    Truncated,
    /// A part is not what was written.
    #[error("the backup is damaged: {0}")]
    Damaged(String),
    /// A later format.
    #[error("the backup was made by a newer release; install that one first")]
    TooNew,
    /// Whoever asked stopped it.
    #[error("stopped")]
    Stopped,
}

/// How far a backup or a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BackupProgress {
    /// Bytes done.
    pub done_bytes: u64,
    /// Bytes in all; 0 while that is not known.
    pub total_bytes: u64,
}

/// Told how far it is; may stop it.
#[derive(Clone, Default)]
pub struct Progress {
    report: Option<Arc<dyn Fn(BackupProgress) -> ControlFlow<()> + Send + Sync>>,
}

impl Progress {
    /// Calls `report` now and then, at least once for each file; [`ControlFlow::Break`] stops the work, and what was
    /// half done is removed.
    pub fn new(report: impl Fn(BackupProgress) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self { report: Some(Arc::new(report)) }
    }

    pub(crate) fn tell(&self, done_bytes: u64, total_bytes: u64) -> Result<(), BackupError> {
        match &self.report {
            Some(report) if report(BackupProgress { done_bytes, total_bytes }).is_break() => {
                Err(BackupError::Stopped)
            }
            _ => Ok(()),
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("reports", &self.report.is_some()).finish()
    }
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupSummary {
    /// Living records.
    pub records: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the records and the files.
    pub bytes: u64,
    /// When it was made, by the hub's clock, in milliseconds since 1970.
    pub made_at_ms: i64,
    /// The hub's name.
    pub hub_name: String,
}
