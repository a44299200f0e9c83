//! What callers see of a record is the same on hub and gateway ([`cairn_sync::shown`]); what listeners here are told.

use cairn_sync::{Kind, RecordId};

pub use cairn_sync::shown::{
    ChangeKind, Cursor, DEFAULT_PAGE, FieldChange, HistoryEntry, ListQuery, MAX_CONDITIONS, MAX_PAGE, Order,
    Page, Record, SyncState,
};

/// A change that was committed, told to whoever listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChanged {
    /// The record.
    pub id: RecordId,
    /// What it is.
    pub kind: Kind,
    /// Its project.
    pub project: Option<RecordId>,
    /// Its version now.
    pub version: u64,
    /// Who changed it.
    pub by: Option<RecordId>,
    /// Whether it is a tombstone now.
    pub deleted: bool,
}
