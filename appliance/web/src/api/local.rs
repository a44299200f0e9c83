//! Numbers that this hub gave.

use axum::{extract::FromRequestParts, http::request::Parts};
use cairn_record_api::extract::ApiPath;

use crate::problem::{Problem, ProblemKind};

/// A number that the hub gave: an invitation's, a token's. What no hub ever gives names nothing.
pub(super) struct LocalNumber(pub(super) u64);

impl<S: Send + Sync> FromRequestParts<S> for LocalNumber {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let ApiPath(number) = ApiPath::<i64>::from_request_parts(parts, state).await?;
        let none = |_| Problem::new(ProblemKind::NotFound, "there is none of this number");
        u64::try_from(number).map(Self).map_err(none)
    }
}
