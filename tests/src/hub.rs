//! A real hub: the binary as it ships, in a temporary folder, on a port that the system chose.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::{environment, http, wait};

/// How long a hub may take to its first answer on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to shut down in order.
const STOPS_WITHIN: Duration = Duration::from_secs(30);

/// A running hub. Dropping it kills it and removes its folder.
pub struct Hub {
    process: Child,
    folder: TempDir,
    address: String,
}

impl Hub {
    /// Starts a hub in a new folder and waits until its health check answers.
    ///
    /// # Errors
    /// When it does not start or does not answer in time.
    pub async fn start() -> Result<Self> {
        Self::start_in(TempDir::with_prefix("cairn-test-")?).await
    }

    /// Starts a hub in a folder that another one left.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub async fn start_in(folder: TempDir) -> Result<Self> {
        let arguments = [OsString::from("--embedding-model"), environment::embedding_model()?.into()];
        Self::start_with(folder, &arguments, &[]).await
    }

    /// Starts a hub in a folder with these further arguments and variables of its environment.
    ///
    /// # Errors
    /// As [`Hub::start`].
    pub async fn start_with(
        folder: TempDir,
        arguments: &[OsString],
        variables: &[(&str, OsString)],
    ) -> Result<Self> {
        let address_file = folder.path().join("hub/address.json");
        if address_file.exists() {
            std::fs::remove_file(&address_file)?;
        }
        let mut process = Command::new(environment::cairn()?)
            .arg("run")
            .arg("--data")
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let address = wait::until("the hub answers", STARTS_WITHIN, async || {
            if let Ok(Some(status)) = process.try_wait() {
                return Some(Err(anyhow::anyhow!("the hub ended with {status}")));
            }
            let address = address_in(folder.path())?;
            let answer = http::client().ok()?.get(format!("{address}/api/health-check")).send().await.ok()?;
            answer.status().is_success().then_some(Ok(address))
        })
        .await??;
        Ok(Self { process, folder, address })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The hub's data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The claim code, as whoever holds the device reads it.
    ///
    /// # Errors
    /// When the hub is claimed already.
    pub fn claim_code(&self) -> Result<String> {
        let path: PathBuf = self.folder().join("hub/claim");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        Ok(text.trim().to_owned())
    }

    /// The health check's answer.
    ///
    /// # Errors
    /// When it does not answer with JSON.
    pub async fn health(&self) -> Result<Value> {
        Ok(http::client()?.get(format!("{}/api/health-check", self.address)).send().await?.json().await?)
    }

    /// Process ids of a role's processes (`hub`, `infer`).
    #[must_use]
    pub fn role(&self, role: &str) -> Vec<i32> {
        let supervisor = self.process.id().map(|id| id.to_string());
        let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
        processes
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|id| parent_of(*id) == supervisor && has_role(*id, role))
            .collect()
    }

    /// The supervisor and everything below it, as process ids.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self.process.id().and_then(|id| i32::try_from(id).ok()).into_iter().collect();
        all.extend(self.role("hub"));
        all.extend(self.role("infer"));
        all
    }

    /// Runs `cairn WORDS… --data FOLDER` and gives its standard output.
    ///
    /// # Errors
    /// When it ends with an error; the message holds its standard error.
    pub async fn command(&self, words: &[&str]) -> Result<String> {
        let output =
            Command::new(environment::cairn()?).args(words).arg("--data").arg(self.folder()).output().await?;
        anyhow::ensure!(
            output.status.success(),
            "cairn {} ended with {}: {}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asks the hub to end and waits for it. Gives the folder back for another start.
    ///
    /// # Errors
    /// When it does not end in time or ends with an error.
    pub async fn stop(mut self) -> Result<TempDir> {
        if let Some(id) = self.process.id().and_then(|id| i32::try_from(id).ok()) {
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGTERM)?;
        }
        let status = tokio::time::timeout(STOPS_WITHIN, self.process.wait())
            .await
            .context("the hub did not end")??;
        anyhow::ensure!(status.success(), "the hub ended with {status}");
        Ok(self.folder)
    }

    /// Kills every process of the hub at once, as a power cut would. Gives the folder back.
    ///
    /// # Errors
    /// When the processes cannot be signalled.
    pub async fn cut_power(mut self) -> Result<TempDir> {
        for id in self.processes() {
            // A process that has just gone is as dead as we want it.
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL).ok();
        }
        self.process.wait().await?;
        Ok(self.folder)
    }
}

/// Where the hub of this folder listens, as it said last: a hub whose role was started again has another port.
#[must_use]
pub fn address_in(folder: &Path) -> Option<String> {
    first_address(&std::fs::read_to_string(folder.join("hub/address.json")).ok()?)
}

fn first_address(text: &str) -> Option<String> {
    let json: Value = serde_json::from_str(text).ok()?;
    let first = json.get("addresses").unwrap_or(&json).get(0)?.as_str()?.to_owned();
    Some(if first.starts_with("http") {
        first.trim_end_matches('/').to_owned()
    } else {
        format!("http://{first}")
    })
}

fn parent_of(process: i32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name in brackets may hold spaces; the parent is the second word behind it.
    stat.rsplit(')').next()?.split_whitespace().nth(1).map(str::to_owned)
}

fn has_role(process: i32, role: &str) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{process}/cmdline")) else { return false };
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    words.windows(2).any(|pair| pair == [b"role".as_slice(), role.as_bytes()])
}
