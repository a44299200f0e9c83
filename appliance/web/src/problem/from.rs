//! Errors of the crates below, as problems.

use axum::extract::rejection::{BytesRejection, FormRejection, JsonRejection, PathRejection, QueryRejection};
use axum::response::IntoResponse;
use cairn_inference::{InferenceError, ModelError};
use cairn_store::StoreError;
use cairn_sync::ValueError;

use super::{Problem, ProblemKind as Kind};

impl From<ValueError> for Problem {
    fn from(error: ValueError) -> Self {
        let detail = error.to_string();
        let field = match error {
            ValueError::UnknownField(name) => name,
            ValueError::WrongType { field, .. }
            | ValueError::TooLarge { field, .. }
            | ValueError::NotAChoice { field, .. } => field.to_owned(),
            ValueError::Missing(field) | ValueError::ControlCharacters(field) => field.to_owned(),
        };
        Self::new(Kind::Invalid, detail.clone()).field(field, detail)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        let kind = match error {
            StoreError::Value(error) => return error.into(),
            StoreError::Stale { field, current } => {
                let problem = Self::new(Kind::StaleEdit, detail.clone()).field(field, detail);
                return match serde_json::to_value(&*current) {
                    Ok(current) => problem.current(current),
                    Err(_) => problem,
                };
            }
            StoreError::NotFound(_) => Kind::NotFound,
            StoreError::Forbidden { .. } => Kind::Forbidden,
            StoreError::SignInNeeded(_) => Kind::SignInNeeded,
            StoreError::Invalid(_) | StoreError::BlobMissing => Kind::Invalid,
            StoreError::ChangeIdTaken => Kind::ChangeReused,
            StoreError::LoginTaken(_) => {
                return Self::new(Kind::NameTaken, detail.clone()).field("login", detail);
            }
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

/// An address whose parts cannot be what they stand for leads nowhere.
impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Kind::NotFound, format!("there is nothing at this address: {}", rejection.body_text()))
    }
}

/// The kind of problem behind a rejection of axum's extractors, by its status.
fn of_status(status: axum::http::StatusCode) -> Kind {
    match status.as_u16() {
        404 => Kind::NotFound,
        408 => Kind::TooSlow,
        413 => Kind::TooLarge,
        415 => Kind::UnsupportedMediaType,
        422 => Kind::Invalid,
        500.. => Kind::Internal,
        _ => Kind::Malformed,
    }
}

macro_rules! from_rejection {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for Problem {
            fn from(rejection: $rejection) -> Self {
                let detail = rejection.body_text();
                Self::new(of_status(rejection.into_response().status()), detail)
            }
        }
    )*};
}

from_rejection!(
    BytesRejection,
    FormRejection,
    JsonRejection,
    QueryRejection,
    axum::extract::multipart::MultipartRejection,
    axum::extract::multipart::MultipartError
);
