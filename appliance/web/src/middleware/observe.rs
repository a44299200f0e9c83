//! Every request gets an id, a trace and a place in the metrics. Query strings are not logged: they hold what
//! people look for.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use tracing::Instrument;
use uuid::Uuid;

use cairn_record_api::Problem;

use crate::hub::Hub;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What stands for an address that is no route.
const NO_ROUTE: &str = "none";

pub(super) async fn observe(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let method = method_name(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", %id, method, route);
    let started = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let (took, status) = (started.elapsed(), response.status().as_u16());
    hub.shared.metrics.request(method, &route, status, took);
    span.in_scope(|| {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if status >= 500 {
            tracing::warn!(status, took_ms, "answered");
        } else {
            tracing::debug!(status, took_ms, "answered");
        }
    });
    let mut response = Problem::name_occurrence(response, &id);
    // An identifier of ours is always a valid header.
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID.clone(), value);
    }
    response
}

/// The method's name; whatever is none of ours is one label, because clients may invent names.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
