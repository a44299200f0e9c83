//! The hub's memory: records, people, files and search indexes on SQLite, with permissions in every call.
//!
//! It knows nothing of HTTP, models or the network. `library`, `uplink`, `web` and the binary may depend on it.
//!
//! A [`Store`] is a folder: `records.db` is truth, `index.db` can be made from it again, files lie in `blobs/` by their
//! content. One thread writes, a few read, and every call says on whose behalf: a [`Viewer`], which only the store makes.

#![forbid(unsafe_code)]

mod accounts;
mod aside;
mod backup;
mod clock;
mod db;
mod durable;
mod error;
mod files;
mod health;
mod index;
mod open;
mod record;
mod records;
mod schema;
mod settings;
mod snapshots;
mod store;
mod sync;
mod upkeep;
mod viewer;

pub use accounts::{
    ApiToken, ApiTokenInfo, Invitation, InvitationCode, Login, NewAccount, SessionToken, SetupState, SignUp,
};
pub use backup::{BackupError, BackupProgress, BackupSummary, MIN_PASSPHRASE, Manifest, Progress, restore};
pub use clock::{Clocks, SystemClocks};
pub use error::{Result, StoreError};
pub use files::{BlobPart, BlobWriter, FileMeta, Garbage};
pub use health::{Health, SupportFacts};
pub use index::{
    DIMENSIONS, DocumentIndex, IndexProgress, Location, MAX_HITS, MAX_PASSAGE, MAX_PASSAGES, Passage,
    PassageId, PendingDocument, Scored, StoredPassage,
};
pub use open::{Finding, OpenOptions, OpenReport, Severity};
pub use record::{
    ChangeKind, Cursor, DEFAULT_PAGE, FieldChange, HistoryEntry, ListQuery, MAX_CONDITIONS, MAX_PAGE, Order,
    Page, Record, RecordChanged, SyncState,
};
pub use records::On;
pub use settings::{
    CloudEndpoint, CloudMode, MAX_HUB_NAME, MAX_LIST, MAX_SECRET, MAX_TEXT, MAX_UPLOAD_BYTES, SESSION_HOURS,
    Secret, Settings,
};
pub use snapshots::{KEPT as SNAPSHOTS_KEPT, Snapshot, SnapshotTaken};
pub use store::Store;
pub use sync::{
    Choice, Fact, FileState, LogEntry, OpenConflict, RefusedChange, ScopeChoice, SyncError, SyncFigures,
    Taken, TakenIn,
};
pub use viewer::{Action, Part, Viewer};
