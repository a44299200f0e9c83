//! A hub as it ships, in a temporary folder, on a port that the system chose.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod gateway;

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const PASSWORD: &str = "correct horse battery";

pub(crate) struct Hub {
    supervisor: Child,
    pub(crate) folder: tempfile::TempDir,
    said: Arc<Mutex<String>>,
}

/// A folder that the hub's own user can walk into.
pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

pub(crate) fn cairn(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.args(words).env_remove("CAIRN_DATA").env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
    command
}

/// An HTTP client.
pub(crate) fn client() -> reqwest::Client {
    // The first test that comes here installs it for all.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}

/// Gets a page.
pub(crate) async fn get(address: &str) -> reqwest::Result<reqwest::Response> {
    client().get(address).send().await
}

/// Looks at `condition` until it gives a value.
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::start_with(folder(), &[]).await
    }

    pub(crate) async fn start_in(folder: tempfile::TempDir) -> Self {
        Self::start_with(folder, &[]).await
    }

    /// Starts a hub and waits until its health check answers.
    pub(crate) async fn start_with(folder: tempfile::TempDir, words: &[&str]) -> Self {
        let mut supervisor = cairn(&["run", "--listen", "127.0.0.1:0", "--no-mdns"])
            .args(words)
            .arg("--data")
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (mut out, saying) = (supervisor.stdout.take().unwrap(), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut chunk) {
                saying.lock().unwrap().push_str(&String::from_utf8_lossy(&chunk[..read]));
            }
        });
        let hub = Self { supervisor, folder, said };
        hub.answers().await;
        hub
    }

    /// Waits until the page answers, and gives the health check.
    pub(crate) async fn answers(&self) -> Value {
        until("the hub answers", async || {
            let answer = get(&format!("{}/api/health-check", self.address()?)).await.ok()?;
            answer.json().await.ok()
        })
        .await
    }

    /// The first address of the file that the hub writes.
    pub(crate) fn address(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.path().join("hub/address.json")).ok()?;
        let json: Value = serde_json::from_str(&text).ok()?;
        Some(json["addresses"][0].as_str()?.to_owned())
    }

    /// What stands on the console.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn claim_code(&self) -> String {
        fs::read_to_string(self.folder.path().join("hub/claim")).unwrap().trim().to_owned()
    }

    /// Claims the hub and gives a client that is signed in as its keeper.
    pub(crate) async fn claim(&self) -> Keeper {
        let keeper = Keeper::of(self);
        let claim = json!({ "code": self.claim_code(), "hub_name": "Test", "language": "en", "name": "Keeper",
            "login": "keeper", "password": PASSWORD });
        keeper.post("/api/v1/setup/claim", &claim).await.error_for_status().unwrap();
        keeper
    }

    /// Signs the keeper of an earlier run in.
    pub(crate) async fn sign_in(&self) -> Keeper {
        let keeper = Keeper::of(self);
        let credentials = json!({ "login": "keeper", "password": PASSWORD });
        keeper.post("/api/v1/session", &credentials).await.error_for_status().unwrap();
        keeper
    }

    /// Runs a command on this hub.
    pub(crate) async fn command(&self, words: &[&str]) -> Output {
        let mut command = cairn(words);
        command.arg("--data").arg(self.folder.path());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    /// As [`Self::command`], with its standard output; it must succeed.
    pub(crate) async fn told(&self, words: &[&str]) -> String {
        let output = self.command(words).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?} ended with {}: {errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The process of a role.
    pub(crate) fn role(&self, role: &str) -> Option<Pid> {
        let parent = self.supervisor.id().to_string();
        fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            let is_child = stat.rsplit(')').next()?.split_whitespace().nth(1)? == parent;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
            (is_child && words.get(1..3)? == [b"role".as_slice(), role.as_bytes()])
                .then_some(Pid::from_raw(pid))
        })
    }

    /// Kills a role and waits until another process has its place.
    pub(crate) async fn kill_role(&self, role: &str) {
        let first = until("the role runs", async || self.role(role)).await;
        kill(first, Signal::SIGKILL).unwrap();
        until("it is started again", async || self.role(role).filter(|pid| *pid != first)).await;
    }

    pub(crate) fn terminate(&self) {
        kill(Pid::from_raw(i32::try_from(self.supervisor.id()).unwrap()), Signal::SIGTERM).unwrap();
    }

    /// Kills the supervisor, as a power cut would.
    pub(crate) fn kill(&self) {
        kill(Pid::from_raw(i32::try_from(self.supervisor.id()).unwrap()), Signal::SIGKILL).unwrap();
    }

    /// Waits for the end, and gives the folder back for another start.
    pub(crate) async fn ended(mut self) -> (ExitStatus, tempfile::TempDir) {
        let status = until("the hub ends", async || self.supervisor.try_wait().unwrap()).await;
        (status, std::mem::replace(&mut self.folder, folder()))
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        // It may have ended already; its roles end with it.
        drop(self.supervisor.kill());
        drop(self.supervisor.wait());
    }
}

/// A client with a session.
#[derive(Clone)]
pub(crate) struct Keeper {
    client: reqwest::Client,
    address: String,
    cookie: Arc<Mutex<Option<String>>>,
}

impl Keeper {
    fn of(hub: &Hub) -> Self {
        Self { client: client(), address: hub.address().unwrap(), cookie: Arc::default() }
    }

    fn with_cookie(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &*self.cookie.lock().unwrap() {
            Some(cookie) => request.header("cookie", cookie),
            None => request,
        }
    }

    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> reqwest::Result<reqwest::Response> {
        let request =
            self.client.post(format!("{}{path}", self.address)).header("origin", &self.address).json(body);
        let answer = self.with_cookie(request).send().await?;
        let cookie = answer.headers().get("set-cookie").and_then(|cookie| cookie.to_str().ok());
        if let Some(cookie) = cookie.and_then(|cookie| cookie.split(';').next()) {
            *self.cookie.lock().unwrap() = Some(cookie.to_owned());
        }
        Ok(answer)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.try_post(path, body).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> reqwest::Response {
        self.with_cookie(self.client.get(format!("{}{path}", self.address))).send().await.unwrap()
    }

    /// Sends a file.
    pub(crate) async fn put(&self, path: &str, bytes: Vec<u8>) -> reqwest::Response {
        let request =
            self.client.put(format!("{}{path}", self.address)).header("origin", &self.address).body(bytes);
        self.with_cookie(request).send().await.unwrap()
    }

    /// Writes a notice; its id once the hub has confirmed it.
    pub(crate) async fn notice(&self, title: &str) -> Option<String> {
        let notice = json!({ "fields": { "title": title, "level": "info" } });
        let answer = self.try_post("/api/v1/records/notice", &notice).await.ok()?;
        if answer.status() != 201 {
            return None;
        }
        let record: Value = answer.json().await.ok()?;
        Some(record["id"].as_str()?.to_owned())
    }
}

/// A file below a hub's folder or beside it, as an argument.
pub(crate) fn path_in(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(name);
    let text = path.to_str().unwrap().to_owned();
    (path, text)
}
