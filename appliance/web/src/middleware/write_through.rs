//! A hub that is a cache in front of its gateway (mode `cloud`) answers a write when the gateway has it too, or when it is
//! plain that this will take a while: a page that says "saved" then means both places, as far as the network allows.

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use tokio::sync::broadcast::error::TryRecvError;

use crate::{hub::Hub, uplink::UplinkMode};

pub(super) async fn wait(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    let Some(uplink) =
        hub.uplink.as_ref().filter(|uplink| !reads && uplink.status().mode == UplinkMode::Cloud)
    else {
        return next.run(request).await;
    };
    let mut changes = hub.store.subscribe();
    let response = next.run(request).await;
    // A question or a sign-in writes no record, and has nothing to wait for.
    if !matches!(changes.try_recv(), Err(TryRecvError::Empty | TryRecvError::Closed)) {
        uplink.through().await;
    }
    response
}
