//! What was refused below, as problems: values, changes, and parts of a request that axum could not read.

use axum::{
    extract::rejection::{BytesRejection, FormRejection, JsonRejection, PathRejection, QueryRejection},
    response::IntoResponse,
};
use cairn_sync::{ValueError, submit::Refused};

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

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let detail = refused.to_string();
        let kind = match refused {
            Refused::Value(error) => return error.into(),
            Refused::Stale { field, current } => {
                let problem = Self::new(Kind::StaleEdit, detail.clone()).field(field, detail);
                return match serde_json::to_value(&*current) {
                    Ok(current) => problem.current(current),
                    Err(_) => problem,
                };
            }
            Refused::LoginTaken(_) => {
                return Self::new(Kind::NameTaken, detail.clone()).field("login", detail);
            }
            Refused::NotFound(_) => Kind::NotFound,
            Refused::Forbidden { .. } => Kind::Forbidden,
            Refused::SignInNeeded(_) => Kind::SignInNeeded,
            Refused::Invalid(_) | Refused::BlobMissing => Kind::Invalid,
            Refused::ChangeIdTaken => Kind::ChangeReused,
        };
        Self::new(kind, detail)
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
