//! Pages on trusted origins may use the API, with personal access tokens only: no cookie counts across origins,
//! and no `Access-Control-Allow-Credentials` is ever sent.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::source::{Origin, Source};
use crate::problem::{Problem, ProblemKind};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, if-match, if-none-match, last-event-id, range",
);
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept-ranges, content-disposition, content-range, etag, location, retry-after, x-request-id",
);
/// How long a browser remembers the answer, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
static PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

pub(super) async fn answer(request: Request, next: Next) -> Response {
    let source = Source::of(request.extensions());
    let is_api = request.uri().path().starts_with("/api/");
    let trusted = match source.origin {
        Origin::Trusted(ref origin) if is_api => Some(origin.clone()),
        _ => None,
    };
    let is_preflight = request.method() == Method::OPTIONS
        && source.origin != Origin::Unsaid
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match (&trusted, is_preflight) {
        (Some(_), true) => permission(request.headers()),
        (None, true) => {
            Problem::new(ProblemKind::CrossSite, "pages of this origin may not use the hub's API")
                .next("A keeper can allow the origin in the settings.")
                .into_response()
        }
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if is_api {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(origin) = trusted {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        // A session is of no use there.
        headers.remove(header::SET_COOKIE);
    }
    response
}

fn permission(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    if asked.contains_key(&PRIVATE_NETWORK) {
        headers.insert(ALLOW_PRIVATE_NETWORK.clone(), HeaderValue::from_static("true"));
    }
    response
}
