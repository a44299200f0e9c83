//! A model in the cloud, over the chat completions API that OpenAI made and many serve.

mod endpoint;
mod events;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_inference::{Finish, Generate, GenerateEvent, GenerateRequest, InferenceError};
use futures::{StreamExt, stream::BoxStream};
use reqwest::{Client, Response, StatusCode, Url, header, redirect};
use serde_json::json;

pub use endpoint::{Endpoint, EndpointError};
use events::{Events, Piece};

use crate::tls;

/// How long the model may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until the answer begins.
    pub first_byte: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// For the whole answer.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(20),
            idle: Duration::from_secs(15),
            whole: Duration::from_secs(300),
        }
    }
}

/// Most bytes of an error's body that are read.
const MAX_ERROR_BODY: usize = 16 * 1024;

/// One model at one endpoint.
#[derive(Clone)]
pub struct CloudModel {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    url: Url,
    model: String,
    authorization: Option<header::HeaderValue>,
    patience: Patience,
}

/// Why a cloud model did not answer. Never holds the key or the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CloudError {
    #[error("it could not be reached")]
    Unreachable,
    #[error("it did not answer within {} s", .0.as_secs())]
    Slow(Duration),
    #[error("it does not accept the key")]
    Unauthorized,
    #[error("it is asked too much at the moment")]
    TooMany,
    #[error("it answered with status {status}: {message}")]
    Status { status: u16, message: String },
    #[error("its answer broke off")]
    BrokeOff,
    #[error("its answer could not be read: {0}")]
    Unreadable(#[from] events::EventError),
}

impl CloudError {
    /// Whether the network is to blame rather than the service.
    pub(crate) const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable | Self::Slow(_) | Self::BrokeOff)
    }
}

impl CloudModel {
    /// Prepares, without dialling.
    ///
    /// # Errors
    /// [`EndpointError`] says what is wrong with the endpoint.
    pub fn new(endpoint: &Endpoint, patience: Patience) -> Result<Self, EndpointError> {
        tls::install_provider();
        let url = endpoint.completions()?;
        let authorization = if endpoint.key.is_empty() {
            None
        } else {
            let value = format!("Bearer {}", endpoint.key);
            let mut value = header::HeaderValue::from_str(&value).map_err(|_| EndpointError::Key)?;
            value.set_sensitive(true);
            Some(value)
        };
        let client = Client::builder()
            .connect_timeout(patience.connect)
            // A redirect could carry a question and a key to where nobody allowed them to go.
            .redirect(redirect::Policy::none())
            // The environment of a hub is not a place where a keeper looks for a proxy.
            .no_proxy()
            .https_only(url.scheme() == "https")
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(1)
            .user_agent(concat!("cairn/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| EndpointError::Client(error.to_string()))?;
        let model = endpoint.model.clone();
        Ok(Self { inner: Arc::new(Inner { client, url, model, authorization, patience }) })
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.model
    }

    /// The answer's events; the last is `Done`, or an error in its place.
    pub(crate) fn answer(
        &self,
        request: GenerateRequest,
    ) -> BoxStream<'static, Result<GenerateEvent, CloudError>> {
        let inner = Arc::clone(&self.inner);
        async_stream::try_stream! {
            let started = Instant::now();
            let deadline = tokio::time::Instant::now() + inner.patience.whole;
            let response = inner.ask(&request).await?;
            yield GenerateEvent::Started { model: inner.model.clone(), prompt_tokens: 0 };
            let (mut body, mut events) = (response.bytes_stream(), Events::default());
            let (mut tokens, mut counted, mut finish, mut first) = (0_u32, None, None, None);
            let mut ended = false;
            while !ended {
                let until = (tokio::time::Instant::now() + inner.patience.idle).min(deadline);
                let chunk = tokio::time::timeout_at(until, body.next())
                    .await
                    .map_err(|_| CloudError::Slow(inner.patience.idle))?;
                let Some(chunk) = chunk else { break };
                for piece in events.feed(&chunk.map_err(|_| CloudError::BrokeOff)?)? {
                    match piece {
                        Piece::Text(text) => {
                            first.get_or_insert_with(Instant::now);
                            tokens = tokens.saturating_add(1);
                            yield GenerateEvent::Text(text);
                        }
                        Piece::Finished { at_limit } => {
                            finish = Some(if at_limit { Finish::Length } else { Finish::Stop });
                        }
                        Piece::Usage { written } => counted = Some(written),
                        Piece::End => ended = true,
                    }
                }
            }
            // A body that ends without saying that the answer has ended was cut.
            let Some(finish) = finish.or(ended.then_some(Finish::Stop)) else {
                Err(CloudError::BrokeOff)?;
                return;
            };
            let first = first.unwrap_or_else(Instant::now);
            yield GenerateEvent::Done {
                tokens: counted.unwrap_or(tokens),
                finish,
                prefill_ms: millis(first.saturating_duration_since(started)),
                decode_ms: millis(first.elapsed()),
            };
        }
        .boxed()
    }
}

impl Inner {
    async fn ask(&self, request: &GenerateRequest) -> Result<Response, CloudError> {
        let messages: Vec<_> = request
            .messages
            .iter()
            .map(|message| json!({ "role": message.role.as_str(), "content": message.content }))
            .collect();
        let mut body = json!({
            "model": self.model,
            "messages": messages,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            "stream": true,
            "stream_options": { "include_usage": true },
        });
        // Some services refuse an empty list, and most more than four.
        if !request.stop.is_empty()
            && let Some(object) = body.as_object_mut()
        {
            object.insert("stop".to_owned(), json!(request.stop.iter().take(4).collect::<Vec<_>>()));
        }
        let mut call =
            self.client.post(self.url.clone()).header(header::ACCEPT, "text/event-stream").json(&body);
        if let Some(authorization) = &self.authorization {
            call = call.header(header::AUTHORIZATION, authorization.clone());
        }
        let response = tokio::time::timeout(self.patience.first_byte, call.send())
            .await
            .map_err(|_| CloudError::Slow(self.patience.first_byte))?
            // The error's own text holds the address; the reason is enough and the address is no news.
            .map_err(|error| {
                if error.is_timeout() {
                    CloudError::Slow(self.patience.connect)
                } else {
                    CloudError::Unreachable
                }
            })?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(CloudError::Unauthorized),
            StatusCode::TOO_MANY_REQUESTS => Err(CloudError::TooMany),
            status => {
                let message = tokio::time::timeout(self.patience.idle, error_message(response)).await;
                let message = message.unwrap_or_default();
                Err(CloudError::Status { status: status.as_u16(), message })
            }
        }
    }
}

/// What an error's body says, bounded.
async fn error_message(response: Response) -> String {
    let (mut body, mut text) = (response.bytes_stream(), Vec::new());
    while let Some(Ok(chunk)) = body.next().await {
        text.extend_from_slice(&chunk);
        if text.len() > MAX_ERROR_BODY {
            break;
        }
    }
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    json.get("error").map_or_else(|| "without a reason".to_owned(), events::message_of)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl From<CloudError> for InferenceError {
    fn from(error: CloudError) -> Self {
        Self::Remote(error.to_string())
    }
}

impl Generate for CloudModel {
    fn generate(&self, request: GenerateRequest) -> BoxStream<'static, GenerateEvent> {
        let events = self.answer(request);
        events.map(|event| event.unwrap_or_else(|error| GenerateEvent::Failed(error.into()))).boxed()
    }
}
