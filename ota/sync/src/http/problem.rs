//! How a gateway says no, and what a hub makes of an answer that is none.

use serde::{Deserialize, Serialize};

use super::PROBLEM_JSON;
use crate::session::{Failure, Stop};

/// Stable names of what went wrong; hubs decide by them, never by the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The credential is not, or no longer, good.
    Revoked,
    /// Two parties use one identity: take a new one.
    Copy,
    /// No protocol in common.
    Protocol,
    /// Too much at once, here or everywhere: come back after `Retry-After` seconds.
    Busy,
    /// The enrolment token is not good, or was used by another hub.
    Token,
    /// The body or a parameter is not as it has to be.
    Invalid,
    /// The body is larger than allowed.
    TooLarge,
    /// There is no such thing, or it may not be seen.
    NotFound,
    /// The resource is not in the state that the request assumes.
    Conflict,
    /// A quota is used up.
    Quota,
    /// The gateway's own fault.
    Internal,
    /// A code that is newer than this software.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Revoked => 401,
            Self::Copy | Self::Conflict => 409,
            Self::Protocol => 426,
            Self::Busy => 429,
            Self::Token => 403,
            Self::Invalid => 422,
            Self::TooLarge => 413,
            Self::NotFound => 404,
            Self::Quota => 507,
            Self::Internal | Self::Unknown => 500,
        }
    }
}

/// An error, RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What to decide by.
    pub code: Code,
    /// As the status line.
    pub status: u16,
    /// For people.
    pub title: String,
}

impl Problem {
    /// A problem with its usual status.
    #[must_use]
    pub fn new(code: Code, title: impl Into<String>) -> Self {
        Self { code, status: code.status(), title: title.into() }
    }
}

/// The parts of an answer that decide what it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The value of [`super::GATEWAY_HEADER`], where there is one.
    pub gateway: Option<&'a str>,
    /// The value of `Content-Type`.
    pub content_type: Option<&'a str>,
    /// The value of `Retry-After`.
    pub retry_after: Option<&'a str>,
    /// The body, as far as it was read.
    pub body: &'a [u8],
}

/// What an answer means to a hub: none where it is the gateway's own success, to be read as its path says.
///
/// Whoever lacks [`super::GATEWAY_HEADER`] is not the gateway, whatever the status: a captive portal says 200, or redirects. A
/// load balancer that has no instance left answers 502 to 504 itself; that is the same as not reaching anybody.
#[must_use]
pub fn failure(answer: Answer<'_>) -> Option<(Failure, Option<Problem>)> {
    let retry_after_ms = answer
        .retry_after
        // A date would have to be read by our own clock, which may say 1970.
        .and_then(|seconds| seconds.trim().parse::<u64>().ok())
        .map(|seconds| seconds.saturating_mul(1_000));
    if answer.gateway.is_none() {
        let failure = match answer.status {
            503 | 429 => Failure::Busy { retry_after_ms },
            502 | 504 => Failure::Unreachable,
            _ => Failure::NotTheGateway,
        };
        return Some((failure, None));
    }
    if (200..300).contains(&answer.status) {
        return None;
    }
    let is_problem = answer.content_type.is_some_and(|media| media.starts_with(PROBLEM_JSON));
    let problem: Option<Problem> = is_problem.then(|| serde_json::from_slice(answer.body).ok()).flatten();
    let failure = match problem.as_ref().map(|problem| problem.code) {
        Some(Code::Revoked) => Failure::Stop(Stop::Revoked),
        Some(Code::Copy) => Failure::Stop(Stop::Copy),
        Some(Code::Protocol) => {
            Failure::Stop(Stop::Protocol(problem.as_ref().map_or_else(String::new, |p| p.title.clone())))
        }
        Some(Code::Busy) => Failure::Busy { retry_after_ms },
        _ if matches!(answer.status, 429 | 503) => Failure::Busy { retry_after_ms },
        Some(Code::Internal) | None if answer.status >= 500 => Failure::Unreachable,
        _ => Failure::Nonsense,
    };
    Some((failure, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(code: Code, retry_after: Option<&str>) -> Failure {
        let problem = Problem::new(code, "a sentence");
        let body = serde_json::to_vec(&problem).unwrap();
        let answer = Answer {
            status: problem.status,
            gateway: Some("1"),
            content_type: Some(PROBLEM_JSON),
            retry_after,
            body: &body,
        };
        failure(answer).unwrap().0
    }

    #[test]
    fn codes_decide() {
        assert_eq!(said(Code::Revoked, None), Failure::Stop(Stop::Revoked));
        assert_eq!(said(Code::Copy, None), Failure::Stop(Stop::Copy));
        assert_eq!(said(Code::Protocol, None), Failure::Stop(Stop::Protocol("a sentence".to_owned())));
        assert_eq!(said(Code::Busy, Some("7")), Failure::Busy { retry_after_ms: Some(7_000) });
        assert_eq!(said(Code::Internal, None), Failure::Unreachable);
        assert_eq!(said(Code::Invalid, None), Failure::Nonsense);
    }

    #[test]
    fn a_login_page_is_not_the_gateway_whatever_it_says() {
        let page = Answer { status: 200, content_type: Some("text/html"), ..Answer::default() };
        for status in [200, 204, 302, 307, 401, 403, 404, 409, 511] {
            let (failure, problem) = failure(Answer { status, ..page }).unwrap();
            assert_eq!((failure, problem), (Failure::NotTheGateway, None), "{status}");
        }
        assert_eq!(failure(Answer { status: 502, ..page }).unwrap().0, Failure::Unreachable);
        let busy = Answer { status: 503, retry_after: Some("Wed, 21 Oct 2015 07:28:00 GMT"), ..page };
        assert_eq!(failure(busy).unwrap().0, Failure::Busy { retry_after_ms: None });
        assert!(failure(Answer { gateway: Some("1"), ..page }).is_none());
    }

    #[test]
    fn a_code_from_the_future_is_read() {
        let problem: Problem =
            serde_json::from_str(r#"{"code":"made_of_cheese","status":418,"title":"t","more":1}"#).unwrap();
        assert_eq!(problem.code, Code::Unknown);
    }
}
