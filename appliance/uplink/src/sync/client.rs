//! Requests to the gateway: addresses that may be dialled, deadlines, bounded answers, and what an answer is.

use std::{sync::Arc, time::Duration};

use cairn_sync::{
    http::{
        self, AUTHORIZATION, CBOR, GATEWAY_HEADER, JSON, MAX_JSON, PROTOCOL_HEADER, Problem, TimeStatement,
        pack::{self, PackError},
        problem::{self, Answer},
        protocol,
    },
    session::Failure,
    wire::{MAX_BYTES, Reply, Request},
};
use futures::StreamExt;
use reqwest::{Method, Response, Url, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{BestTime, Enrolment, time};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(20);
/// How long one request with its answer may take. The session's own deadline is longer.
pub(super) const WHOLE: Duration = Duration::from_secs(100);

/// Where a gateway is: `https://`, or `http://` to this very machine where a developer said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayUrl(Url);

/// An address that is not dialled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It cannot be read.
    #[error("this is not the address of a gateway; it looks like https://gateway.example.org")]
    Unreadable,
    /// Not HTTPS.
    #[error("a gateway is reached over https:// only")]
    NotHttps,
    /// It holds a user name, a query or a fragment.
    #[error("the address of a gateway holds no name, question mark or number sign")]
    Extra,
}

/// Whether plain HTTP to this very machine is allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    /// HTTPS only.
    #[default]
    Https,
    /// Also `http://` to loopback, for development.
    PlainLoopback,
}

impl GatewayUrl {
    /// Checks an address.
    ///
    /// # Errors
    /// [`UrlError`] says what is wrong with it.
    pub fn parse(text: &str, transport: Transport) -> Result<Self, UrlError> {
        let url = Url::parse(text.trim()).map_err(|_| UrlError::Unreadable)?;
        let host = url.host_str().ok_or(UrlError::Unreadable)?;
        let loopback =
            host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => {}
            "http" if loopback && transport == Transport::PlainLoopback => {}
            _ => return Err(UrlError::NotHttps),
        }
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some()
        {
            return Err(UrlError::Extra);
        }
        Ok(Self(url))
    }

    /// As text, without a slash at the end.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    fn to(&self, path: &str) -> String {
        format!("{}{path}", self.text())
    }
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An answer, or none, that the session has to know of.
    #[error("{}", in_words(failure, problem.as_ref(), source.as_ref()))]
    Failed {
        /// For the session.
        failure: Failure,
        /// What the gateway said.
        problem: Option<Problem>,
        /// What the connection said.
        source: Option<reqwest::Error>,
    },
    /// The answer is no answer of a gateway.
    #[error("the gateway's answer cannot be read: {0}")]
    Unreadable(String),
    /// TLS cannot be set up on this system.
    #[error("TLS cannot be used: {0}")]
    Tls(String),
    /// The system gives no random numbers.
    #[error("no random numbers: {0}")]
    Random(String),
}

impl ClientError {
    /// What it is to the session.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Failed { failure, .. } => failure.clone(),
            Self::Unreadable(_) => Failure::Nonsense,
            Self::Tls(_) | Self::Random(_) => Failure::Unreachable,
        }
    }
}

fn in_words(failure: &Failure, problem: Option<&Problem>, source: Option<&reqwest::Error>) -> String {
    if let Some(problem) = problem {
        return problem.title.clone();
    }
    match failure {
        Failure::NotTheGateway => {
            "somebody else answered in the gateway's place, for example the login page of a network"
                .to_owned()
        }
        Failure::Busy { .. } => "the gateway asks for patience".to_owned(),
        _ => source.map_or_else(|| "the gateway cannot be reached".to_owned(), deepest),
    }
}

/// reqwest's own sentence repeats the address; what went wrong stands at the end of the chain.
fn deepest(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    format!("the gateway cannot be reached: {cause}")
}

/// A connection to one gateway.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// For the time alone, see [`time::tls_for_time`].
    for_time: reqwest::Client,
    url: GatewayUrl,
    bearer: Option<String>,
}

impl Client {
    /// A client that shows nobody's key yet, for enrolment.
    ///
    /// # Errors
    /// [`ClientError::Tls`].
    pub fn stranger(url: GatewayUrl, clock: &Arc<BestTime>) -> Result<Self, ClientError> {
        crate::tls::install_provider();
        Ok(Self {
            http: build(time::tls(clock)?)?,
            for_time: build(time::tls_for_time(clock)?)?,
            url,
            bearer: None,
        })
    }

    /// A client of an enrolled hub.
    ///
    /// # Errors
    /// As [`Client::stranger`].
    pub fn of(enrolment: &Enrolment, url: GatewayUrl, clock: &Arc<BestTime>) -> Result<Self, ClientError> {
        Ok(Self { bearer: Some(enrolment.credential().bearer()), ..Self::stranger(url, clock)? })
    }

    pub(super) fn begin(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request =
            self.http.request(method, self.url.to(path)).header(PROTOCOL_HEADER, protocol::HERE.to_string());
        match &self.bearer {
            Some(bearer) => request.header(AUTHORIZATION, bearer),
            None => request,
        }
    }

    /// One round trip.
    ///
    /// # Errors
    /// [`ClientError`]; nothing can be said about whether the gateway took the request in.
    pub async fn round(&self, request: &Request) -> Result<Reply, ClientError> {
        let packed = pack::pack(request).map_err(unpacked)?;
        let mut builder = self.begin(Method::POST, http::SYNC).header(header::CONTENT_TYPE, CBOR);
        if let Some(encoding) = packed.encoding {
            builder = builder.header(header::CONTENT_ENCODING, encoding);
        }
        let builder = builder.header(header::ACCEPT_ENCODING, http::ZSTD).timeout(WHOLE).body(packed.bytes);
        let (body, encoding) = answered(builder, MAX_BYTES).await?;
        pack::unpack(&body, encoding.as_deref()).map_err(unpacked)
    }

    /// A JSON body for a JSON answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn json<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Unreadable(error.to_string()))?;
        let builder =
            self.begin(Method::POST, path).header(header::CONTENT_TYPE, JSON).timeout(WHOLE).body(body);
        let (body, _) = answered(builder, MAX_JSON).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Unreadable(error.to_string()))
    }

    /// The time statement for a nonce, as it came.
    pub(super) async fn time(&self, nonce: &str) -> Result<TimeStatement, ClientError> {
        let url = self.url.to(&format!("{}?nonce={nonce}", http::TIME));
        let builder =
            self.for_time.get(url).header(PROTOCOL_HEADER, protocol::HERE.to_string()).timeout(WHOLE);
        let (body, _) = answered(builder, MAX_JSON).await?;
        serde_json::from_slice(&body).map_err(|error| ClientError::Unreadable(error.to_string()))
    }

    /// An answer whose body is read by the caller; only its head has a deadline here.
    /// `range` is the first and the last byte that are wanted.
    pub(super) async fn stream(
        &self,
        path: &str,
        range: Option<(u64, u64)>,
    ) -> Result<Response, ClientError> {
        let mut builder = self.begin(Method::GET, path);
        if let Some((first, last)) = range {
            builder = builder.header(header::RANGE, format!("bytes={first}-{last}"));
        }
        self.begun(builder).await
    }

    /// A packed body for a stream of frames.
    pub(super) async fn frames(&self, path: &str, body: &impl Serialize) -> Result<Response, ClientError> {
        let packed = pack::pack(body).map_err(unpacked)?;
        let mut builder = self.begin(Method::POST, path).header(header::CONTENT_TYPE, CBOR);
        if let Some(encoding) = packed.encoding {
            builder = builder.header(header::CONTENT_ENCODING, encoding);
        }
        self.begun(builder.body(packed.bytes)).await
    }

    async fn begun(&self, builder: reqwest::RequestBuilder) -> Result<Response, ClientError> {
        let response = tokio::time::timeout(WHOLE, builder.send())
            .await
            .map_err(|_| failed(Failure::Unreachable, None, None))?
            .map_err(unreachable)?;
        if response.status().is_success() && response.headers().contains_key(GATEWAY_HEADER) {
            return Ok(response);
        }
        Err(refused(response).await)
    }
}

/// A client for anything else that leaves the device: certificates are checked against the best known time, and redirects are not
/// followed.
///
/// # Errors
/// [`ClientError::Tls`].
pub fn http_client(clock: &Arc<BestTime>) -> Result<reqwest::Client, ClientError> {
    crate::tls::install_provider();
    build(time::tls(clock)?)
}

fn build(tls: rustls::ClientConfig) -> Result<reqwest::Client, ClientError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        // A gateway does not send its hubs elsewhere; a captive portal does.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(Duration::from_secs(120))
        .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| ClientError::Tls(error.to_string()))
}

fn failed(failure: Failure, problem: Option<Problem>, source: Option<reqwest::Error>) -> ClientError {
    ClientError::Failed { failure, problem, source }
}

pub(super) fn unreachable(error: reqwest::Error) -> ClientError {
    failed(Failure::Unreachable, None, Some(error.without_url()))
}

fn unpacked(error: PackError) -> ClientError {
    ClientError::Unreadable(error.to_string())
}

/// The body of the gateway's own success and its encoding.
async fn answered(
    builder: reqwest::RequestBuilder,
    limit: usize,
) -> Result<(Vec<u8>, Option<String>), ClientError> {
    let response = builder.send().await.map_err(unreachable)?;
    if !(response.status().is_success() && response.headers().contains_key(GATEWAY_HEADER)) {
        return Err(refused(response).await);
    }
    let encoding = response
        .headers()
        .get(header::CONTENT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    Ok((bounded(response, limit).await?, encoding))
}

/// Reads no more than `limit` bytes.
async fn bounded(response: Response, limit: usize) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(unreachable)?;
        if body.len() + piece.len() > limit {
            return Err(ClientError::Unreadable(format!("larger than {limit} bytes")));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// What an answer that is no success means.
pub(super) async fn refused(response: Response) -> ClientError {
    let headers = response.headers().clone();
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let status = response.status().as_u16();
    // A portal's page may be of any size; the head of it is enough.
    let body = if text(GATEWAY_HEADER).is_some() {
        bounded(response, MAX_JSON).await.unwrap_or_default()
    } else {
        Vec::new()
    };
    let answer = Answer {
        status,
        gateway: text(GATEWAY_HEADER),
        content_type: text("content-type"),
        retry_after: text("retry-after"),
        body: &body,
    };
    match problem::failure(answer) {
        Some((failure, problem)) => failed(failure, problem, None),
        None => ClientError::Unreadable(format!("status {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_is_dialled_and_plain_loopback_only_where_a_developer_said_so() {
        let https = |text| GatewayUrl::parse(text, Transport::Https);
        assert_eq!(https("https://gateway.example.org/").unwrap().text(), "https://gateway.example.org");
        assert_eq!(https("http://gateway.example.org"), Err(UrlError::NotHttps));
        assert_eq!(https("http://127.0.0.1:80"), Err(UrlError::NotHttps));
        assert_eq!(https("https://ana:secret@gateway.example.org"), Err(UrlError::Extra));
        assert_eq!(https("gateway"), Err(UrlError::Unreadable));
        let plain = |text| GatewayUrl::parse(text, Transport::PlainLoopback);
        assert!(plain("http://127.0.0.1:8443").is_ok() && plain("http://[::1]:8443").is_ok());
        // A name can lead anywhere, and so can an address that is not this machine's.
        for elsewhere in ["http://localhost:1", "http://10.0.0.1", "http://127.0.0.1.example.org"] {
            assert_eq!(plain(elsewhere), Err(UrlError::NotHttps), "{elsewhere}");
        }
    }
}
