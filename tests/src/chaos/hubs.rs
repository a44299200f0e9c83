//! The hubs: the binary as it ships, enrolled over HTTPS, killed in parts or as a whole, and read through its API.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

use super::cloud::Cloud;
use crate::{
    http,
    hub::{Hub, address_in},
    keeper::Keeper,
};

/// Kinds that are compared.
const KINDS: [&str; 9] =
    ["notice", "document", "project", "assessment", "response", "person", "team", "membership", "message"];

/// One hub.
pub struct Station {
    hub: Option<Hub>,
    /// Whoever reads and writes on it.
    pub door: Door,
    variables: Vec<(&'static str, OsString)>,
}

/// The way in, which survives the hub: its address changes with every start.
#[derive(Debug, Clone)]
pub struct Door {
    client: Client,
    folder: PathBuf,
    token: String,
}

impl Door {
    /// Where the hub listens now.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        address_in(&self.folder)
    }

    /// The keeper's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request in the keeper's name; none while the hub says no address.
    #[must_use]
    pub fn request(&self, method: Method, path: &str) -> Option<RequestBuilder> {
        let address = self.address()?;
        Some(self.client.request(method, format!("{address}{path}")).bearer_auth(&self.token))
    }

    /// An answer as JSON.
    ///
    /// # Errors
    /// When the hub does not give one.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = self.request(Method::GET, path).context("the hub has no address")?;
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Every living record that the keeper sees, by id: its kind, project and fields.
    ///
    /// # Errors
    /// As [`Door::get`].
    pub async fn everything(&self) -> Result<BTreeMap<String, Value>> {
        let mut all = BTreeMap::new();
        for kind in KINDS {
            let mut after = None;
            loop {
                let mut path = format!("/api/v1/records/{kind}?limit=200&order=oldest");
                if let Some(after) = &after {
                    path += &format!("&after={after}");
                }
                let page = self.get(&path).await?;
                for record in page.get("items").and_then(Value::as_array).context("a page without items")? {
                    let part = |name: &str| record.get(name).cloned().unwrap_or_default();
                    let id = part("id").as_str().context("a record without an id")?.to_owned();
                    let seen = serde_json::json!({ "kind": kind, "project": part("project"), "fields": sorted(part("fields")) });
                    all.insert(id, seen);
                }
                match page.get("next").and_then(Value::as_str) {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
        }
        Ok(all)
    }
}

/// Fields by name: hubs give them in the order in which they came.
fn sorted(fields: Value) -> Value {
    let Value::Object(fields) = fields else { return fields };
    let ordered: BTreeMap<String, Value> = fields.into_iter().collect();
    serde_json::to_value(ordered).unwrap_or_default()
}

impl Station {
    /// A new hub with a keeper, enrolled with the gateway and connected live.
    ///
    /// # Errors
    /// When a step fails.
    pub async fn open(cloud: &Cloud) -> Result<Self> {
        let folder = TempDir::with_prefix("cairn-chaos-")?;
        // In the hub's own folder: it is confined and reads little else.
        let authority = folder.path().join("hub/authority.pem");
        std::fs::create_dir(folder.path().join("hub"))?;
        std::fs::copy(cloud.authority(), &authority)?;
        let variables = vec![("SSL_CERT_FILE", authority.into_os_string())];
        let hub = Hub::start_with(folder, &["--no-mdns".into()], &variables).await?;
        let keeper = Keeper::claim(&hub).await?;
        hub.command(&["enrol", &cloud.url(), &cloud.token().await?]).await?;
        let door = Door {
            client: http::builder().timeout(std::time::Duration::from_secs(30)).build()?,
            folder: hub.folder().to_owned(),
            token: keeper.token().to_owned(),
        };
        let station = Self { hub: Some(hub), door, variables };
        station.set_ways("mode=hybrid&way=live&minutes=15").await?;
        Ok(station)
    }

    /// Sets when and how the hub shares, by the page's form: there is no other way to set it.
    ///
    /// # Errors
    /// When the hub refuses.
    pub async fn set_ways(&self, form: &'static str) -> Result<()> {
        let request = self.door.request(Method::POST, "/sync/ways").context("the hub has no address")?;
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "the way is not set: {}", answer.status());
        Ok(())
    }

    fn hub(&self) -> Result<&Hub> {
        self.hub.as_ref().context("the hub is down")
    }

    /// Cuts the power and switches it on again.
    ///
    /// # Errors
    /// When it does not come up again.
    pub async fn cut_power(&mut self) -> Result<()> {
        let folder = self.hub.take().context("the hub is down")?.cut_power().await?;
        self.hub = Some(Hub::start_with(folder, &["--no-mdns".into()], &self.variables).await?);
        Ok(())
    }

    /// Kills the process that serves, which its supervisor starts again.
    ///
    /// # Errors
    /// When the hub is down.
    pub fn kill_role(&self) -> Result<()> {
        for id in self.hub()?.role("hub") {
            kill(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
        Ok(())
    }

    /// Where synchronisation stands, after a round where `now`. A round that failed is told in what is returned.
    ///
    /// # Errors
    /// When the hub does not answer.
    pub async fn sync(&self, now: bool) -> Result<Value> {
        let words = ["sync", if now { "now" } else { "status" }, "--json"];
        let output = tokio::process::Command::new(crate::environment::cairn()?)
            .args(words)
            .arg("--data")
            .arg(&self.door.folder)
            .output()
            .await?;
        serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Ends the hub in order and gives its folder.
    ///
    /// # Errors
    /// When it does not end in order.
    pub async fn close(mut self) -> Result<TempDir> {
        self.hub.take().context("the hub is down")?.stop().await
    }
}
