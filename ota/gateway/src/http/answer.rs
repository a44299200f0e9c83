//! Bodies in, bodies and problems out.

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use cairn_sync::http::{
    CBOR, Checked, Code, Credential, JSON, MAX_JSON, PROBLEM_JSON, Problem,
    pack::{pack, unpack},
};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Instant;

use super::Shared;
use crate::{db::uuid, limits::TooMuch, metrics::Metrics, store::Refused};

/// Why a request failed, on its way out.
#[derive(Debug)]
pub(crate) struct Failed {
    problem: Problem,
    retry_after: Option<u64>,
}

impl Failed {
    pub(crate) fn new(code: Code, title: impl Into<String>) -> Self {
        Self { problem: Problem::new(code, title), retry_after: None }
    }

    pub(crate) fn busy(seconds: u64, title: &str) -> Self {
        Self { problem: Problem::new(Code::Busy, title), retry_after: Some(seconds) }
    }

    pub(crate) const fn code(&self) -> Code {
        self.problem.code
    }
}

impl From<TooMuch> for Failed {
    fn from(TooMuch(seconds): TooMuch) -> Self {
        Self::busy(seconds, "too much at once: come back later")
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        let code = match &refused {
            Refused::Revoked => Code::Revoked,
            Refused::Copy => Code::Copy,
            Refused::Token => Code::Token,
            Refused::Taken => Code::Conflict,
            Refused::Missing(_) => Code::NotFound,
            Refused::Quota(_) => Code::Quota,
            Refused::Order(_) => Code::Invalid,
            Refused::Db(error) if error.is_busy() => {
                tracing::warn!(%error, "the database is busy");
                return Self::busy(10, "the database is busy: come back later");
            }
            Refused::Db(error) => {
                tracing::error!(%error, "a request failed");
                return Self::new(Code::Internal, "something went wrong here");
            }
        };
        Self::new(code, refused.to_string())
    }
}

impl From<crate::db::DbError> for Failed {
    fn from(error: crate::db::DbError) -> Self {
        Refused::from(error).into()
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The credential that a hub shows. Whether it is good, the database says.
pub(crate) struct Shown(pub(crate) Credential);

impl FromRequestParts<Shared> for Shown {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, service: &Shared) -> Result<Self, Failed> {
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let credential = Credential::from_bearer(shown.unwrap_or_default())
            .map_err(|error| Failed::new(Code::Revoked, error.to_string()))?;
        service.gate.count(uuid(credential.hub.as_bytes()), Instant::now()).inspect_err(|_| {
            Metrics::add(&service.metrics.busy, 1);
        })?;
        Ok(Self(credential))
    }
}

/// A JSON body within its limits.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned + Checked> FromRequest<Shared> for Asked<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Failed> {
        let (parts, body) = request.into_parts();
        let media = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !media.is_some_and(|media| media.starts_with(JSON)) {
            return Err(Failed::new(Code::Invalid, "the body must be JSON"));
        }
        let bytes = read(body, MAX_JSON).await?;
        let body: T = serde_json::from_slice(&bytes)
            .map_err(|error| Failed::new(Code::Invalid, format!("the body cannot be read: {error}")))?;
        body.check().map_err(|error| Failed::new(Code::Invalid, error.to_string()))?;
        Ok(Self(body))
    }
}

/// A packed body.
pub(crate) struct Unpacked<T>(pub(crate) T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Shared> for Unpacked<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, _: &Shared) -> Result<Self, Failed> {
        let (parts, body) = request.into_parts();
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        if !text(header::CONTENT_TYPE).is_some_and(|media| media.starts_with(CBOR)) {
            return Err(Failed::new(Code::Invalid, "the body must be CBOR"));
        }
        let encoding = text(header::CONTENT_ENCODING);
        let bytes = read(body, super::MAX_BODY).await?;
        unpack(&bytes, encoding)
            .map(Self)
            .map_err(|error| Failed::new(Code::Invalid, format!("the body: {error}")))
    }
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Failed> {
    let reading = to_bytes(body, limit);
    match tokio::time::timeout(super::DEADLINE, reading).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            Err(Failed::new(Code::TooLarge, format!("the body is cut off or larger than {limit} bytes")))
        }
        Err(_) => Err(Failed::busy(30, "the body took too long to arrive")),
    }
}

/// A packed answer.
pub(crate) fn packed(body: &impl Serialize) -> Result<Response, Failed> {
    let packed = pack(body).map_err(|error| {
        tracing::error!(%error, "an answer cannot be packed");
        Failed::new(Code::Internal, "something went wrong here")
    })?;
    let mut response = ([(header::CONTENT_TYPE, CBOR)], packed.bytes).into_response();
    if let Some(encoding) = packed.encoding {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    Ok(response)
}
