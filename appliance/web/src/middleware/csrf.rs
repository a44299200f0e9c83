//! A request that changes something must have been meant by the person who sends it, not by a page elsewhere that
//! the person's browser has open. Two checks besides the cookie's `SameSite=Lax`: the browser's own word about
//! where the request was sent from and, for browsers that do not say it, a token that only our own forms carry.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    MAX_BODY,
    source::{Origin, Site, Source},
};
use crate::{
    problem::{Problem, ProblemKind},
    session::{CsrfToken, Identity},
};

/// The header that carries the token.
static TOKEN_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");
/// The form field and the query parameter that carry it.
const TOKEN_FIELD: &str = "_csrf";
/// Longest token with every character encoded, in bytes.
const MAX_ENCODED: usize = 512;

pub(super) async fn check(request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) {
        return next.run(request).await;
    }
    let identity = request.extensions().get::<Identity>().cloned().unwrap_or_else(Identity::anonymous);
    let verdict =
        judge(&Source::of(request.extensions()), identity.session().is_some(), identity.is_bearer());
    match (verdict, identity.session()) {
        (Verdict::Meant, _) | (Verdict::TokenNeeded, None) => next.run(request).await,
        (Verdict::Forged, _) => refuse("the request was sent from a page that is not the hub's"),
        (Verdict::TokenNeeded, Some(session)) => match find_token(request).await {
            Ok((request, Some(token))) if CsrfToken::matches(session, &token) => next.run(request).await,
            Ok(_) => refuse(
                "your browser did not say from where this was sent, and the form's token is missing or of an earlier session",
            ),
            Err(problem) => problem.into_response(),
        },
    }
}

fn refuse(detail: &str) -> Response {
    Problem::new(ProblemKind::CrossSite, detail)
        .next("Open the page on the hub again, sign in if needed, and send the form from there.")
        .into_response()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Sent by the hub's own page, by a program, or by a page that has no power over anybody's session.
    Meant,
    /// Sent by another page.
    Forged,
    /// It cannot be told without a token.
    TokenNeeded,
}

fn judge(source: &Source, has_session: bool, is_bearer: bool) -> Verdict {
    match (&source.origin, source.site) {
        _ if is_bearer => Verdict::Meant,
        // No cookie was looked at.
        (Origin::Trusted(_), _) => Verdict::Meant,
        (Origin::Foreign, _) | (_, Site::Other) => Verdict::Forged,
        (Origin::Own, _) | (Origin::Unsaid, Site::Own) => Verdict::Meant,
        (Origin::Unsaid, Site::Unsaid) if source.led_from_elsewhere => Verdict::Forged,
        (Origin::Unsaid, Site::Unsaid) if has_session => Verdict::TokenNeeded,
        (Origin::Unsaid, Site::Unsaid) => Verdict::Meant,
    }
}

/// The token, where the request carries one; the request is given back whole.
async fn find_token(request: Request) -> Result<(Request, Option<String>), Problem> {
    let (parts, body) = request.into_parts();
    if let Some(token) = in_head(&parts) {
        return Ok((Request::from_parts(parts, body), Some(token)));
    }
    if !is_form(&parts.headers) {
        return Ok((Request::from_parts(parts, body), None));
    }
    let bytes = to_bytes(body, MAX_BODY)
        .await
        .map_err(|_| Problem::new(ProblemKind::TooLarge, format!("a form has at most {MAX_BODY} bytes")))?;
    // A token is ASCII; broken text in another field does not hide it.
    let token = parameter(&String::from_utf8_lossy(&bytes));
    Ok((Request::from_parts(parts, Body::from(bytes)), token))
}

fn in_head(parts: &Parts) -> Option<String> {
    let header = parts.headers.get(&TOKEN_HEADER).and_then(|value| value.to_str().ok());
    header.map(str::to_owned).or_else(|| parts.uri.query().and_then(parameter))
}

/// The token in text of the type `application/x-www-form-urlencoded`.
fn parameter(encoded: &str) -> Option<String> {
    let mut pairs = encoded.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| decoded(name).as_deref() == Some(TOKEN_FIELD))?;
    decoded(value)
}

/// Text without percent-encoding, as far as a token's letters go: whatever is longer or no ASCII is none.
fn decoded(text: &str) -> Option<String> {
    if text.len() > MAX_ENCODED {
        return None;
    }
    let mut out = String::new();
    let mut parts = text.split('%');
    out.push_str(parts.next()?);
    for part in parts {
        let byte = u8::from_str_radix(part.get(..2)?, 16).ok().filter(u8::is_ascii)?;
        out.push(char::from(byte));
        out.push_str(part.get(2..)?);
    }
    Some(out)
}

fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn every_source_gets_its_verdict() {
        let trusted = || Origin::Trusted(HeaderValue::from_static("https://t.example"));
        let judged = |origin, site, led_from_elsewhere, has_session| {
            judge(&Source { origin, site, led_from_elsewhere }, has_session, false)
        };
        use Verdict::{Forged, Meant, TokenNeeded};
        for has_session in [true, false] {
            assert_eq!(judged(Origin::Own, Site::Unsaid, false, has_session), Meant);
            assert_eq!(judged(Origin::Own, Site::Own, false, has_session), Meant);
            assert_eq!(judged(Origin::Unsaid, Site::Own, false, has_session), Meant);
            assert_eq!(judged(trusted(), Site::Other, true, has_session), Meant);
            assert_eq!(judged(Origin::Foreign, Site::Unsaid, false, has_session), Forged);
            assert_eq!(judged(Origin::Foreign, Site::Own, false, has_session), Forged);
            assert_eq!(judged(Origin::Own, Site::Other, false, has_session), Forged);
            assert_eq!(judged(Origin::Unsaid, Site::Other, false, has_session), Forged);
            assert_eq!(judged(Origin::Unsaid, Site::Unsaid, true, has_session), Forged);
        }
        assert_eq!(judged(Origin::Unsaid, Site::Unsaid, false, true), TokenNeeded);
        assert_eq!(judged(Origin::Unsaid, Site::Unsaid, false, false), Meant);
        let foreign = Source { origin: Origin::Foreign, site: Site::Other, led_from_elsewhere: true };
        assert_eq!(judge(&foreign, false, true), Meant, "a token in a header is never sent by accident");
    }

    #[test]
    fn the_token_is_found_in_a_form() {
        let found = |form: &str| parameter(form).unwrap_or_default();
        assert_eq!(found("title=a%26b&_csrf=abc-_9&x=1"), "abc-_9");
        assert_eq!(found("title=%F0&%5Fcsrf=abc%2D%5f9"), "abc-_9", "encoding more than needed is allowed");
        for other in
            ["my_csrf=abc", "_csrfx=abc", "title=_csrf=a%2", "_csrf=%zz", "_csrf=%C3%A9", "_csrf", ""]
        {
            assert_eq!(found(other), "", "{other}");
        }
        assert_eq!(found(&format!("_csrf={}", "a".repeat(MAX_ENCODED + 1))), "");
    }
}
