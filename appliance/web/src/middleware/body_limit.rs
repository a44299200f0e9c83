//! What is announced as too large is refused before a byte of it is read. Bodies of unknown length are counted
//! where they are read: by the extractors up to [`MAX_BODY`], by uploads up to their own limits.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    api::is_transfer,
    problem::{Problem, ProblemKind},
};

/// Largest body of an ordinary request, in bytes.
pub(crate) use cairn_record_api::MAX_BODY;
pub(crate) use cairn_record_api::files::announced_length;

pub(super) async fn announced(request: Request, next: Next) -> Response {
    let length = announced_length(request.headers());
    if length.is_some_and(|length| length > MAX_BODY as u64) && !is_transfer(&request) {
        return Problem::new(ProblemKind::TooLarge, format!("a request has at most {MAX_BODY} bytes here"))
            .into_response();
    }
    next.run(request).await
}
