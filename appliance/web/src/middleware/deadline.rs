//! An ordinary request is answered, or given up, within half a minute. Transfers of files are exempt: they have
//! deadlines of their own for every piece.

use std::time::Duration;

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    api::is_transfer,
    problem::{Problem, ProblemKind},
};

/// How long an ordinary request may take, its body included.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn keep(request: Request, next: Next) -> Response {
    if is_transfer(&request) {
        return next.run(request).await;
    }
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Problem::new(ProblemKind::Busy, format!("this took longer than {} seconds", DEADLINE.as_secs()))
                .kept("Whether it was done is not known; look before you send it again.")
                .into_response()
        }
    }
}
