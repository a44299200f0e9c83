//! Whoever looks after a hub: claims it, and works through its API.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{http, hub::Hub, wait};

/// How long a board may take until everything in a small library is embedded.
const INDEXED_WITHIN: Duration = Duration::from_secs(600);

/// The first keeper of a hub, by a personal access token.
#[derive(Debug, Clone)]
pub struct Keeper {
    client: Client,
    address: String,
    token: String,
}

impl Keeper {
    /// Claims a hub that nobody keeps yet.
    ///
    /// # Errors
    /// When the hub refuses.
    pub async fn claim(hub: &Hub) -> Result<Self> {
        let client = http::builder().cookie_store(true).build()?;
        let claim = json!({
            "code": hub.claim_code()?, "hub_name": "Mill Valley", "language": "en",
            "name": "Keeper", "login": "keeper", "password": "a long enough passphrase",
        });
        let post =
            |path: &str| client.post(format!("{}{path}", hub.address())).header("Origin", hub.address());
        post("/api/v1/setup/claim").json(&claim).send().await?.error_for_status()?;
        let made = post("/api/v1/tokens").json(&json!({ "name": "tests" })).send().await?;
        let made: Value = made.error_for_status()?.json().await?;
        let token = made.get("token").and_then(Value::as_str).context("no token")?.to_owned();
        Ok(Self { client: http::client()?, address: hub.address().to_owned(), token })
    }

    /// The token, for requests that are sent in other ways.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request in the keeper's name.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address)).bearer_auth(&self.token)
    }

    /// Changes settings.
    ///
    /// # Errors
    /// When the hub refuses them.
    pub async fn set(&self, settings: &Value) -> Result<()> {
        let request = self.request(Method::PATCH, "/api/v1/settings").json(settings);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// Waits until every passage of the library can be found by meaning.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn wait_until_indexed(&self) -> Result<()> {
        wait::until("everything is embedded", INDEXED_WITHIN, async || {
            let answer = self.request(Method::GET, "/api/v1/index").send().await.ok()?;
            let index: Value = answer.json().await.ok()?;
            let number = |name: &str| index.get(name).and_then(Value::as_u64);
            let (passages, embedded) = (number("passages")?, number("embedded")?);
            (passages > 0 && passages == embedded).then_some(())
        })
        .await
    }
}
