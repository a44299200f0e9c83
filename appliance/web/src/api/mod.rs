//! The JSON API. Routes and their OpenAPI description come from the same lines.

use axum::{Router, extract::Request, http::header};

use crate::{
    hub::Hub,
    problem::{Problem, ProblemKind},
};

/// Where the hub says whether it is well.
pub(crate) const HEALTH_PATH: &str = "/api/health-check";

/// Every route of the API.
pub(crate) fn routes() -> Router<Hub> {
    Router::new()
}

/// The OpenAPI 3.1 description of the API, as JSON.
#[must_use]
pub fn openapi() -> serde_json::Value {
    serde_json::Value::Null
}

/// The answer where there is no route.
pub(crate) async fn nothing_here() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no page and no API at this address")
}

/// The answer where a route does not take the method.
pub(crate) async fn wrong_method() -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, "this address does not take this method")
}

/// Whether a request transfers a file: such routes have limits and deadlines of their own.
pub(crate) fn is_transfer(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    content_type.is_some_and(|value| value.starts_with(b"multipart/form-data"))
}
