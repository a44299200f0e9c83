//! Who sends the request. A cookie counts only when the request was not sent from another origin; a token in the
//! header `Authorization` counts always, because no browser adds one by itself.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use cairn_store::ApiToken;

use super::source::Source;
use crate::{
    hub::Hub,
    peer::Peer,
    problem::{Problem, ProblemKind},
    session::{Identity, forget_session, session_cookie_of},
};

/// Longest personal access token that is looked up, in bytes.
const MAX_TOKEN: usize = 200;

pub(super) async fn identify(State(hub): State<Hub>, mut request: Request, next: Next) -> Response {
    if is_for_everyone(request.uri().path()) {
        return next.run(request).await;
    }
    let source = Source::of(request.extensions());
    let (identity, is_stale) = match find(&hub, request.headers(), &source).await {
        Ok(found) => found,
        Err(problem) => return problem.into_response(),
    };
    let peer = Peer::of(request.extensions());
    request.extensions_mut().insert(identity.clone());
    let mut response = next.run(request).await;
    // For whoever shows the answer as a page.
    response.extensions_mut().insert(identity);
    if is_stale && !response.headers().contains_key(header::SET_COOKIE) {
        response.headers_mut().append(header::SET_COOKIE, forget_session(peer));
    }
    response
}

/// What is the same for everyone and must be answered without the database.
fn is_for_everyone(path: &str) -> bool {
    path.starts_with("/assets/") || path == crate::api::HEALTH_PATH || path == crate::api::METRICS_PATH
}

/// Who it is, and whether the browser carries a session that has ended.
async fn find(hub: &Hub, headers: &HeaderMap, source: &Source) -> Result<(Identity, bool), Problem> {
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let refused = || {
            Problem::new(
                ProblemKind::SignInNeeded,
                "the token in the header Authorization is not valid (any more)",
            )
            .next("Make a new token in your account's settings and send it as: Authorization: Bearer TOKEN.")
        };
        let text = authorization.to_str().map_err(|_| refused())?;
        let (scheme, token) = text.split_once(' ').ok_or_else(refused)?;
        let token = token.trim();
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > MAX_TOKEN {
            return Err(refused());
        }
        let viewer = hub.store.viewer_for_token(token).await?.ok_or_else(refused)?;
        return Ok((Identity::by_bearer(viewer, ApiToken::from_text(token)), false));
    }
    let session = session_cookie_of(headers).filter(|_| source.may_use_cookies());
    let Some(session) = session else { return Ok((Identity::anonymous(), false)) };
    Ok(match hub.store.viewer_for_session(&session).await? {
        Some(viewer) => (Identity::by_cookie(viewer, session), false),
        None => (Identity::anonymous(), true),
    })
}
