//! A claimed hub in a machine, as its keeper sees it through the API.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_tests::{http, wait};
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::machine::Machine;

/// How long the page may take to show something, on a busy machine that emulates another processor.
pub(crate) const SHOWN_WITHIN: Duration = Duration::from_secs(240);
pub(crate) const PASSWORD: &str = "a long enough passphrase";

/// A keeper with a token.
#[derive(Clone)]
pub(crate) struct Kept {
    pub(crate) client: Client,
    address: String,
    token: String,
}

impl Kept {
    pub(crate) async fn by_code(machine: &Machine, code: &str) -> Result<Self> {
        let client = http::builder().cookie_store(true).timeout(SHOWN_WITHIN).build()?;
        let address = machine.address();
        let claim = json!({ "code": code, "hub_name": "Mill Valley", "language": "en",
            "name": "Keeper", "login": "keeper", "password": PASSWORD });
        let post = |path: &str, body: Value| {
            client.post(format!("{address}{path}")).header("Origin", &address).json(&body).send()
        };
        post("/api/v1/setup/claim", claim).await?.error_for_status()?;
        Self::with_token(&client, address.clone()).await
    }

    pub(crate) async fn signed_in(machine: &Machine) -> Result<Self> {
        let client = http::builder().cookie_store(true).timeout(SHOWN_WITHIN).build()?;
        let address = machine.address();
        let sign_in = json!({ "login": "keeper", "password": PASSWORD });
        let request =
            client.post(format!("{address}/api/v1/session")).header("Origin", &address).json(&sign_in);
        request.send().await?.error_for_status()?;
        Self::with_token(&client, address.clone()).await
    }

    async fn with_token(client: &Client, address: String) -> Result<Self> {
        let request = client.post(format!("{address}/api/v1/tokens")).header("Origin", &address);
        let made: Value =
            request.json(&json!({ "name": "tests" })).send().await?.error_for_status()?.json().await?;
        let token = made["token"].as_str().context("no token")?.to_owned();
        Ok(Self { client: http::builder().timeout(SHOWN_WITHIN).build()?, address, token })
    }

    /// The same keeper at a machine that started anew, where its port may be another.
    pub(crate) fn at(self, machine: &Machine) -> Self {
        Self { address: machine.address(), ..self }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.address)).bearer_auth(&self.token)
    }

    pub(crate) async fn text(&self, path: &str) -> Result<String> {
        Ok(self.request(Method::GET, path).send().await?.error_for_status()?.text().await?)
    }

    pub(crate) async fn until_indexed(&self) -> Result<()> {
        wait::until("everything is embedded", SHOWN_WITHIN, async || {
            let index: Value = serde_json::from_str(&self.text("/api/v1/index").await.ok()?).ok()?;
            let number = |name: &str| index[name].as_u64();
            let (passages, embedded) = (number("passages")?, number("embedded")?);
            (passages > 0 && passages == embedded).then_some(())
        })
        .await
    }

    /// Writes a notice; its id once the hub has acknowledged it.
    pub(crate) async fn notice(&self, title: &str) -> Result<String> {
        let notice = json!({ "fields": { "title": title, "level": "info" } });
        let answer = self.request(Method::POST, "/api/v1/records/notice").json(&notice).send().await?;
        ensure!(answer.status() == StatusCode::CREATED, "the notice was not taken: {}", answer.status());
        let record: Value = answer.json().await?;
        Ok(record["id"].as_str().context("no id")?.to_owned())
    }

    /// Whether a notice is there with its title.
    pub(crate) async fn has_notice(&self, id: &str, title: &str) -> Result<bool> {
        let answer = self.request(Method::GET, &format!("/api/v1/records/notice/{id}")).send().await?;
        Ok(answer.status().is_success() && answer.text().await?.contains(title))
    }

    /// Where updates stand.
    pub(crate) async fn updates(&self) -> Result<Value> {
        Ok(serde_json::from_str(&self.text("/api/v1/updates").await?)?)
    }

    /// Asks for something about updates.
    pub(crate) async fn ask(&self, what: Value) -> Result<()> {
        let asked =
            self.request(Method::POST, "/api/v1/updates").json(&json!({ "ask": what })).send().await?;
        asked.error_for_status()?;
        Ok(())
    }

    /// Waits until updates stand so. While the hub restarts nothing answers, which is no answer.
    pub(crate) async fn until_updates(
        &self,
        what: &str,
        within: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let last = std::cell::RefCell::new(Value::Null);
        let waited = wait::until(what, within, async || {
            let now = self.updates().await.ok()?;
            last.replace(now.clone());
            holds(&now).then_some(now)
        });
        waited.await.with_context(|| format!("at last they stood so: {}", last.borrow()))
    }
}
