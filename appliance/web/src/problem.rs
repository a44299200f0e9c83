//! What is said when something is refused or fails: the record API's problems, and what errors of the crates below come to.

use std::ops::{Deref, DerefMut};

use axum::{
    extract::{
        multipart::{MultipartError, MultipartRejection},
        rejection::{BytesRejection, FormRejection, JsonRejection, PathRejection, QueryRejection},
    },
    response::{IntoResponse, Response},
};
use cairn_inference::{InferenceError, ModelError};
use cairn_record_api::problem::Problem as Said;
use cairn_store::StoreError;
use cairn_sync::{ValueError, submit::Refused};

use cairn_record_api::problem::ProblemKind as Kind;
pub use cairn_record_api::problem::{FieldError, ProblemKind};

/// A problem on its way out of the hub: the record API's, so that clients meet one form everywhere.
#[derive(Debug, Clone)]
pub struct Problem(Said);

impl Deref for Problem {
    type Target = Said;

    fn deref(&self) -> &Said {
        &self.0
    }
}

impl DerefMut for Problem {
    fn deref_mut(&mut self) -> &mut Said {
        &mut self.0
    }
}

impl Problem {
    /// A problem of this kind. `detail` says in a sentence what happened here.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self(Said::new(kind, detail))
    }

    /// With another advice than the kind's own.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self(self.0.next(next))
    }

    /// With another statement of what was kept.
    #[must_use]
    pub fn kept(self, kept: impl Into<String>) -> Self {
        Self(self.0.kept(kept))
    }

    /// With a field that was refused.
    #[must_use]
    pub fn field(self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self(self.0.field(field, detail))
    }

    /// With the time after which to try again, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self(self.0.retry_after(seconds))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<Said> for Problem {
    fn from(said: Said) -> Self {
        Self(said)
    }
}

impl From<Problem> for Said {
    fn from(problem: Problem) -> Self {
        problem.0
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        let kind = match error {
            StoreError::Value(error) => return Refused::Value(error).into(),
            StoreError::Stale { field, current } => return Refused::Stale { field, current }.into(),
            StoreError::NotFound(what) => return Refused::NotFound(what).into(),
            StoreError::Forbidden { action, what } => return Refused::Forbidden { action, what }.into(),
            StoreError::SignInNeeded(what) => return Refused::SignInNeeded(what).into(),
            StoreError::Invalid(text) => return Refused::Invalid(text).into(),
            StoreError::BlobMissing => return Refused::BlobMissing.into(),
            StoreError::ChangeIdTaken => return Refused::ChangeIdTaken.into(),
            StoreError::LoginTaken(login) => return Refused::LoginTaken(login).into(),
            StoreError::CodeRefused(_) => Kind::CodeRefused,
            StoreError::TooLarge { .. } => Kind::TooLarge,
            StoreError::DiskFull => Kind::DiskFull,
            StoreError::ReadOnly => Kind::ReadOnlyDisk,
            StoreError::Busy => Kind::Busy,
            StoreError::Closed => Kind::Unavailable,
            StoreError::Backup(_) => Kind::BackupRefused,
            StoreError::TooNew { .. }
            | StoreError::InUse(_)
            | StoreError::Io { .. }
            | StoreError::Database(_)
            | StoreError::Corrupt(_) => return Self::internal(&error),
        };
        Self::new(kind, detail)
    }
}

impl From<InferenceError> for Problem {
    fn from(error: InferenceError) -> Self {
        let kind = match &error {
            InferenceError::NotConnected | InferenceError::Died | InferenceError::TimedOut => {
                Kind::Unavailable
            }
            InferenceError::QueueFull { .. } => Kind::Busy,
            InferenceError::NoModel | InferenceError::UnknownModel(_) => Kind::NotFound,
            InferenceError::Refused { .. } | InferenceError::NotEnoughMemory { .. } => {
                return Self::new(Kind::ModelRefused, error.to_string())
                    .kept("The file is kept; it was not loaded.");
            }
            InferenceError::TooLong { .. } | InferenceError::BadRequest(_) => Kind::Invalid,
            InferenceError::Remote(_) => Kind::Unavailable,
            InferenceError::Version { .. } | InferenceError::Failed(_) => return Self::internal(&error),
        };
        Self::new(kind, error.to_string())
    }
}

impl From<ModelError> for Problem {
    fn from(error: ModelError) -> Self {
        match &error {
            ModelError::Io { .. } => Self::internal(&error),
            _ => Self::new(Kind::ModelRefused, error.to_string()),
        }
    }
}

impl Problem {
    /// A fault of ours. What the system said goes to the log, not to whoever asked.
    pub(crate) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %Chain(error), "a request failed");
        Self::new(Kind::Internal, "a fault inside the hub ended this request")
    }
}

/// An error with everything that caused it, in one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

macro_rules! said {
    ($($error:ty),*) => {$(
        impl From<$error> for Problem {
            fn from(error: $error) -> Self {
                Self(error.into())
            }
        }
    )*};
}

said!(
    Refused,
    ValueError,
    BytesRejection,
    FormRejection,
    JsonRejection,
    MultipartError,
    MultipartRejection,
    PathRejection,
    QueryRejection
);
