//! Pages on origins that a keeper trusts may use the API; the words are the record API's.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use cairn_record_api::cors::{is_preflight, mark, permission, refusal};

use super::source::{Origin, Source};

pub(super) async fn answer(request: Request, next: Next) -> Response {
    let source = Source::of(request.extensions());
    let is_api = request.uri().path().starts_with("/api/");
    let trusted = match source.origin {
        Origin::Trusted(ref origin) if is_api => Some(origin.clone()),
        _ => None,
    };
    let mut response = match (&trusted, is_preflight(request.method(), request.headers())) {
        (Some(_), true) => permission(request.headers()),
        (None, true) => refusal("A keeper can allow the origin in the settings.").into_response(),
        _ => next.run(request).await,
    };
    if is_api {
        mark(response.headers_mut(), trusted);
    }
    response
}
