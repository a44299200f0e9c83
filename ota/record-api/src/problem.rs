//! What is said when something is refused or fails: RFC 9457 problem details, one type for the API and for the
//! hub's pages. Every problem has a stable name, says what became of the person's input and what can be done next.

mod kinds;
mod refused;

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

pub use kinds::ProblemKind;

/// The media type of problem details.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// Longest detail that is sent, in bytes: details can quote what somebody sent.
const MAX_DETAIL: usize = 1000;

/// What was refused or failed, and what can be done.
///
/// As a response it carries a clone of itself in the response's extensions, so that the pages can show it as
/// HTML in the person's language.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Stable name, `urn:cairn:problem:…`.
    #[serde(rename = "type", serialize_with = "as_urn")]
    #[schema(value_type = String, format = "uri", example = "urn:cairn:problem:stale-edit")]
    pub kind: ProblemKind,
    /// What it is, in a few words; the same for every problem of this type.
    #[schema(value_type = String)]
    pub title: &'static str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened here, in a sentence.
    pub detail: String,
    /// This occurrence, `urn:uuid:…`; the server's log names it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub instance: Option<String>,
    /// What became of what was sent.
    pub kept: String,
    /// What can be done next.
    pub next: String,
    /// Which fields were refused and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// After a stale edit: the record as it is now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    pub current: Option<serde_json::Value>,
    /// When to try again, in seconds; also the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub retry_after_s: Option<u32>,
}

/// One field that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's name.
    pub field: String,
    /// What is wrong with it.
    pub detail: String,
}

fn as_urn<S: Serializer>(kind: &ProblemKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("urn:cairn:problem:{}", kind.slug()))
}

impl Problem {
    /// A problem of this kind. `detail` says in a sentence what happened here.
    #[must_use]
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        if detail.len() > MAX_DETAIL {
            let end = (0..=MAX_DETAIL).rev().find(|end| detail.is_char_boundary(*end)).unwrap_or(0);
            detail.truncate(end);
            detail.push('…');
        }
        Self {
            kind,
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: sentence(&detail),
            instance: None,
            kept: kind.kept().to_owned(),
            next: kind.next().to_owned(),
            errors: Vec::new(),
            current: None,
            retry_after_s: kind.retry_after_s(),
        }
    }

    /// With another advice than the kind's own.
    #[must_use]
    pub fn next(self, next: impl Into<String>) -> Self {
        Self { next: next.into(), ..self }
    }

    /// With another statement of what was kept.
    #[must_use]
    pub fn kept(self, kept: impl Into<String>) -> Self {
        Self { kept: kept.into(), ..self }
    }

    /// With a field that was refused.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>, detail: impl Into<String>) -> Self {
        self.errors.push(FieldError { field: field.into(), detail: sentence(&detail.into()) });
        self
    }

    /// With the time after which to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds.max(1)), ..self }
    }

    /// With the record as it is now.
    #[must_use]
    pub fn current(self, record: serde_json::Value) -> Self {
        Self { current: Some(record), ..self }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status_code(&self) -> StatusCode {
        self.kind.status()
    }
}

/// `text` as a sentence: a capital letter first, a full stop at the end.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut letters = text.chars();
    let mut out: String = letters.next().map(|first| first.to_uppercase().collect()).unwrap_or_default();
    out.push_str(letters.as_str());
    if !out.is_empty() && !out.ends_with(['.', '!', '?', '…']) {
        out.push('.');
    }
    out
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(self.body());
        *response.status_mut() = self.status_code();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status_code() == StatusCode::UNAUTHORIZED {
            // RFC 9110 section 11.6.1 asks for it; no browser opens a window for `Bearer`.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"cairn\""));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl Problem {
    fn body(&self) -> Body {
        // Serializing owned text and numbers into memory cannot fail; an empty body would still carry the status.
        Body::from(serde_json::to_vec(self).unwrap_or_default())
    }

    /// `response` with `id` as the instance of the problem it carries, where it carries one as JSON.
    #[must_use]
    pub fn name_occurrence(mut response: Response, id: &str) -> Response {
        let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == PROBLEM_JSON);
        if !is_json {
            return response;
        }
        let Some(problem) = response.extensions().get::<Self>() else { return response };
        let named = Self { instance: Some(format!("urn:uuid:{id}")), ..problem.clone() };
        *response.body_mut() = named.body();
        response.extensions_mut().insert(named);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_sentences_and_bounded() {
        assert_eq!(sentence("the disk is full"), "The disk is full.");
        assert_eq!(sentence("Really?"), "Really?");
        let long = Problem::new(ProblemKind::Malformed, "é".repeat(MAX_DETAIL));
        assert!(long.detail.len() <= MAX_DETAIL + "…".len() && long.detail.ends_with('…'));
    }

    #[test]
    fn a_problem_is_told_as_rfc_9457_says() {
        let problem = Problem::new(ProblemKind::Invalid, "title is needed").field("title", "title is needed");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:cairn:problem:invalid");
        assert_eq!(json["status"], 422);
        assert_eq!(json["errors"][0]["field"], "title");
        assert!(!json["kept"].as_str().unwrap().is_empty() && !json["next"].as_str().unwrap().is_empty());
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        assert!(response.extensions().get::<Problem>().is_some());
    }
}
