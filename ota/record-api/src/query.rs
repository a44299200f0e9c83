//! The query string, read strictly: a parameter that is misspelt is refused, not ignored.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use crate::problem::{Problem, ProblemKind};

/// Most parameters in one query.
const MAX_PARAMETERS: usize = 32;

/// The query string as a structure.
#[derive(Debug)]
pub struct ApiQuery<T>(
    /// It.
    pub T,
);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self(Query::<T>::from_request_parts(parts, state).await?.0))
    }
}

/// The query string as pairs, for parameters whose names are made from the kinds table.
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?.0;
        if pairs.len() > MAX_PARAMETERS {
            return Err(Problem::new(
                ProblemKind::Malformed,
                format!("a query has at most {MAX_PARAMETERS} parameters"),
            ));
        }
        Ok(Self(pairs))
    }
}
