//! The hub's memory: records, people, files and search indexes on SQLite, with permissions in every call.
//!
//! It knows nothing of HTTP, models or the network. `library`, `uplink`, `web` and the binary may depend on it.

#![forbid(unsafe_code)]

mod accounts;
mod api_draft;
mod error;
mod index;
mod record;
mod settings;
mod viewer;

pub use accounts::{
    ApiToken, ApiTokenInfo, Invitation, InvitationCode, Login, NewAccount, SessionToken, SetupState, SignUp,
};
pub use api_draft::*;
pub use error::{Result, StoreError};
pub use index::{
    DocumentIndex, IndexProgress, Location, Passage, PassageId, PendingDocument, Scored, StoredPassage,
};
pub use record::{
    ChangeKind, Cursor, DEFAULT_PAGE, FieldChange, HistoryEntry, ListQuery, MAX_CONDITIONS, MAX_PAGE, Order, Page,
    Record, RecordChanged, SyncState,
};
pub use settings::{CloudEndpoint, CloudMode, Secret, Settings};
pub use viewer::{Action, Part, Viewer};
