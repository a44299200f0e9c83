//! A model in "the cloud": llama.cpp's own server in a process of its own, which speaks the API that hubs ask by.

use std::{net::TcpListener, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result};
use tokio::process::{Child, Command};

use crate::{environment, http, wait};

/// How long it may take to load its libraries and the model on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// What it wants to be told by whoever asks.
const KEY: &str = "a-key-of-the-tests";

/// A running server. Dropping it kills it.
pub struct ModelServer {
    process: Child,
    address: String,
}

impl ModelServer {
    /// Starts it with this model under the name `name` and waits until it answers.
    ///
    /// # Errors
    /// When it does not start in time.
    pub async fn start(model: &Path, name: &str) -> Result<Self> {
        // Free a moment ago; the server cannot be told to choose one and say which.
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut process = Command::new(environment::python()?)
            .args(["-m", "llama_cpp.server", "--host", "127.0.0.1", "--verbose", "False", "--n_ctx", "4096"])
            .args(["--n_threads", "2", "--n_threads_batch", "2", "--model_alias", name, "--api_key", KEY])
            .args(["--port", &port.to_string()])
            .arg("--model")
            .arg(model)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("the model's server cannot be started")?;
        let address = format!("http://127.0.0.1:{port}/v1");
        let client = http::client()?;
        wait::until("the model's server answers", STARTS_WITHIN, async || {
            if let Ok(Some(status)) = process.try_wait() {
                return Some(Err(anyhow::anyhow!("the model's server ended with {status}")));
            }
            let models = client.get(format!("{address}/models")).bearer_auth(KEY).send().await.ok()?;
            models.status().is_success().then_some(Ok(()))
        })
        .await??;
        Ok(Self { process, address })
    }

    /// The settings of a hub that may ask it, `mode` being `cloud` or `auto`.
    #[must_use]
    pub fn settings(&self, mode: &str, name: &str) -> serde_json::Value {
        serde_json::json!({ "inference": mode, "cloud": { "url": self.address, "model": name, "key": KEY } })
    }

    /// Kills it, whatever it is doing.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }
}
