//! Pages on trusted origins may use the API, with personal access tokens only: no cookie counts across origins, and no
//! `Access-Control-Allow-Credentials` is ever sent. Which origins are trusted, each server knows; what is said to them is the same.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::problem::{Problem, ProblemKind};

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, if-match, if-none-match, if-range, last-event-id, range",
);
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept-ranges, content-disposition, content-range, etag, location, retry-after, x-request-id",
);
/// How long a browser remembers the answer, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
static PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");
static ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// Most origins that are trusted.
const MAX_ORIGINS: usize = 64;

/// Origins that are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed(Vec<String>);

impl Allowed {
    /// These, each as `scheme://host` or `scheme://host:port`.
    ///
    /// # Errors
    /// Says in words which of them is no origin.
    pub fn new(origins: Vec<String>) -> Result<Self, String> {
        if origins.len() > MAX_ORIGINS {
            return Err(format!("at most {MAX_ORIGINS} origins can be trusted"));
        }
        match origins.iter().find(|origin| !is_origin(origin)) {
            Some(wrong) => Err(format!("{wrong:?} is not an origin such as \"https://pages.example.org\"")),
            None => Ok(Self(origins)),
        }
    }

    /// The origin of a request, where it has one that is trusted.
    #[must_use]
    pub fn of(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut said = headers.get_all(header::ORIGIN).iter();
        // Two origins are nobody's.
        let (Some(origin), None) = (said.next(), said.next()) else { return None };
        let text = origin.to_str().ok()?;
        self.0.iter().any(|allowed| allowed.eq_ignore_ascii_case(text)).then(|| origin.clone())
    }
}

fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let authority = rest.and_then(|rest| rest.parse::<axum::http::uri::Authority>().ok());
    authority.is_some_and(|authority| !authority.as_str().contains('@') && authority.host() != "*")
}

/// Whether a browser asks beforehand what a page of another origin may do.
#[must_use]
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that for a trusted origin.
#[must_use]
pub fn permission(asked: &HeaderMap) -> Response {
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

/// The answer to it for any other; `next` says who can change that.
#[must_use]
pub fn refusal(next: &str) -> Problem {
    Problem::new(ProblemKind::CrossSite, "pages of this origin may not use this API").next(next)
}

/// What every answer of the API carries; `trusted` is the request's origin where it is one.
pub fn mark(headers: &mut HeaderMap, trusted: Option<HeaderValue>) {
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = trusted {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        // A session is of no use there.
        headers.remove(header::SET_COOKIE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_origins_are_trusted_and_only_as_they_are() {
        for wrong in [
            "*",
            "https://*",
            "https://a.example/path",
            "a.example",
            "ftp://a.example",
            "https://a@b",
            "null",
            "",
        ] {
            assert!(Allowed::new(vec![wrong.to_owned()]).is_err(), "{wrong:?}");
        }
        let allowed = Allowed::new(vec!["https://pages.example.org:8443".to_owned()]).unwrap();
        let trusted = |origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            allowed.of(&headers).is_some()
        };
        assert!(trusted(&["https://pages.example.org:8443"]) && trusted(&["https://PAGES.example.org:8443"]));
        for other in [
            "https://pages.example.org",
            "http://pages.example.org:8443",
            "https://pages.example.org:8443.evil.example",
            "null",
        ] {
            assert!(!trusted(&[other]), "{other}");
        }
        assert!(!trusted(&[]));
        assert!(!trusted(&["https://pages.example.org:8443", "https://pages.example.org:8443"]));
    }
}
