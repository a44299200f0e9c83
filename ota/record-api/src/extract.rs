//! Parts of a request, with refusals as problems.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Json, Path, Request},
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use cairn_sync::ChangeId;
use serde::de::DeserializeOwned;

use crate::problem::{Problem, ProblemKind};

/// A JSON object as the body.
#[derive(Debug)]
pub struct ApiJson<T>(
    /// It.
    pub T,
);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for ApiJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        // A form of another site can send text, but not this type, without asking first (CORS).
        if !is_json(request.headers()) {
            let detail = "the body must be JSON, with the header Content-Type: application/json";
            return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
        }
        let bytes = Bytes::from_request(request, state).await?;
        // A list could otherwise stand for a structure whose fields may all be missing.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Problem::new(ProblemKind::Malformed, "the body is not a JSON object"));
        }
        Ok(Self(Json::<T>::from_bytes(&bytes)?.0))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The parameters in the address.
#[derive(Debug, FromRequestParts)]
#[from_request(via(Path), rejection(Problem))]
pub struct ApiPath<T>(
    /// It.
    pub T,
);

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header `Idempotency-Key`: a UUID that the sender chose for this change. The same change sent again, for
/// example because the answer was lost, is not made twice.
#[derive(Debug)]
pub struct IdempotencyKey(
    /// It.
    pub Option<ChangeId>,
);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(key) = parts.headers.get(&IDEMPOTENCY_KEY) else { return Ok(Self(None)) };
        let id = key.to_str().ok().map(|text| text.trim_matches('"')).and_then(|text| text.parse().ok());
        match id {
            Some(id) => Ok(Self(Some(id))),
            None => Err(Problem::new(ProblemKind::Malformed, "the header Idempotency-Key is not a UUID")),
        }
    }
}

/// The header `If-Match`: the version that the sender saw. `*` and no header stand for "whatever it is".
#[derive(Debug)]
pub struct IfMatch(
    /// It.
    pub Option<u64>,
);

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        match version.and_then(|version| version.parse().ok()) {
            Some(version) => Ok(Self(Some(version))),
            None => Err(Problem::new(
                ProblemKind::Malformed,
                "the header If-Match is not a version in quotes, such as \"3\", as the header ETag gave it",
            )),
        }
    }
}

/// Whether `If-None-Match` names this entity tag.
#[must_use]
pub fn none_match(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn read<T: FromRequestParts<()>>(name: &str, value: &str) -> Result<T, T::Rejection> {
        let (mut parts, ()) = Request::builder().header(name, value).body(()).unwrap().into_parts();
        T::from_request_parts(&mut parts, &()).await
    }

    #[tokio::test]
    async fn versions_and_change_ids_are_read_or_refused() {
        assert_eq!(read::<IfMatch>("if-match", "\"12\"").await.unwrap().0, Some(12));
        assert_eq!(read::<IfMatch>("if-match", "*").await.unwrap().0, None);
        for bad in ["12", "\"x\"", "W/\"1\"", "\"-1\"", "\"1\", \"2\""] {
            assert!(read::<IfMatch>("if-match", bad).await.is_err(), "{bad}");
        }
        let id = ChangeId::new();
        assert_eq!(read::<IdempotencyKey>("idempotency-key", &id.to_string()).await.unwrap().0, Some(id));
        assert!(read::<IdempotencyKey>("idempotency-key", "again").await.is_err());
    }

    #[test]
    fn entity_tags_are_compared_weakly() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, "\"a\", W/\"b\"".parse().unwrap());
        assert!(
            none_match(&headers, "\"a\"") && none_match(&headers, "\"b\"") && !none_match(&headers, "\"c\"")
        );
    }
}
