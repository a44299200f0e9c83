//! A panic in a handler costs its one request: the client gets a problem, the log gets the words.

use std::{any::Any, panic::AssertUnwindSafe};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt;

use crate::{
    hub::Hub,
    problem::{Problem, ProblemKind},
};

pub(super) async fn catch(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    // Sound to go on: handlers share only the store and tables behind locks that outlive a panic.
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            hub.shared.metrics.panicked();
            tracing::error!(panic = words(&*panic), "a handler panicked");
            Problem::new(ProblemKind::Internal, "a fault inside the hub ended this request").into_response()
        }
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}
