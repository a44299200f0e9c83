//! What can go wrong, told apart as far as a caller can act on it.

use std::{io, path::Path};

use cairn_sync::{Kind, ValueError, submit::Refused};

use crate::record::Record;

/// The result of every call to the store.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such thing, or whoever asks may not know of it.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// Whoever asks may see it, but may not do this.
    #[error("you may not {action} this {what}")]
    Forbidden {
        /// What was tried: "change", "delete", "create" …
        action: &'static str,
        /// What it was tried on.
        what: &'static str,
    },
    /// Only people who are signed in may do this.
    #[error("sign in to {0}")]
    SignInNeeded(&'static str),
    /// A field's value was refused.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The input as a whole makes no sense, in words for people.
    #[error("{0}")]
    Invalid(String),
    /// Somebody else changed the same field meanwhile. Nothing was saved.
    #[error("somebody changed {field} meanwhile; look at the current version and decide")]
    Stale {
        /// The first field changed by both.
        field: String,
        /// The record as it is now.
        current: Box<Record>,
    },
    /// The same change id was already used for something else.
    #[error("this change was already used for something else")]
    ChangeIdTaken,
    /// Somebody has this login already.
    #[error("the name {0:?} is taken")]
    LoginTaken(String),
    /// The invitation or claim code is not valid (any more).
    #[error("{0}")]
    CodeRefused(&'static str),
    /// A file's content is not in the store; upload it first.
    #[error("the content of this file is not on the hub; upload it first")]
    BlobMissing,
    /// A file larger than its limit.
    #[error("the file is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// No space is left. Nothing of the refused write stays behind.
    #[error("the disk is full; nothing was saved")]
    DiskFull,
    /// The disk cannot be written. Reading goes on.
    #[error("the disk cannot be written to; nothing was saved")]
    ReadOnly,
    /// Too much is waiting already, or a statement took longer than it may. Nothing was saved; try again.
    #[error("the hub is busy; try again")]
    Busy,
    /// The store is being closed.
    #[error("the hub is shutting down")]
    Closed,
    /// The database was made by a release that this one cannot serve.
    #[error(
        "the data in {dir} has schema {found} and needs a release that serves at least schema {needs}; this release serves {serves}, so it left the data untouched: install the newer release again"
    )]
    TooNew {
        /// The folder.
        dir: String,
        /// Schema of the database.
        found: u32,
        /// Lowest schema that can serve it.
        needs: u32,
        /// Highest schema that this release knows.
        serves: u32,
    },
    /// Another process has the store open.
    #[error("another process uses {0}")]
    InUse(String),
    /// A backup file was refused. Nothing was touched.
    #[error(transparent)]
    Backup(#[from] crate::backup::BackupError),
    /// The operating system refused.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// On which file.
        path: String,
        /// Its words.
        source: io::Error,
    },
    /// SQLite refused in a way that no caller can act on.
    #[error("database: {0}")]
    Database(rusqlite::Error),
    /// The database holds what this code never wrote.
    #[error("the database holds {0}")]
    Corrupt(String),
}

impl StoreError {
    /// What a caller can tell apart about a failed file operation.
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::DiskFull
            }
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io { doing, path: path.display().to_string(), source },
        }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::Invalid(text.into())
    }

    pub(crate) fn not_found(kind: Kind) -> Self {
        Self::NotFound(kind.name())
    }

    /// Whether this says that the database file itself is damaged.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt(_) => true,
            Self::Database(error) => matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            ),
            _ => false,
        }
    }
}

/// What hub and gateway refuse in the same words.
impl From<Refused> for StoreError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound(what) => Self::NotFound(what),
            Refused::Forbidden { action, what } => Self::Forbidden { action, what },
            Refused::SignInNeeded(what) => Self::SignInNeeded(what),
            Refused::Value(error) => Self::Value(error),
            Refused::Invalid(text) => Self::Invalid(text),
            Refused::Stale { field, current } => Self::Stale { field, current },
            Refused::ChangeIdTaken => Self::ChangeIdTaken,
            Refused::LoginTaken(login) => Self::LoginTaken(login),
            Refused::BlobMissing => Self::BlobMissing,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Code;
        match error.sqlite_error_code() {
            Some(Code::DiskFull) => Self::DiskFull,
            Some(Code::ReadOnly) => Self::ReadOnly,
            Some(Code::OperationInterrupted | Code::DatabaseBusy | Code::DatabaseLocked) => Self::Busy,
            _ => Self::Database(error),
        }
    }
}
