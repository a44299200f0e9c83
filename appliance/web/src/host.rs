//! What the pages and the API need from the process they run in, and cannot know themselves.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use cairn_store::{OpenReport, Settings};
use futures::future::BoxFuture;
use serde::Serialize;
use utoipa::ToSchema;

/// The process and the device around the web part. The binary implements it.
///
/// Futures are `'static` so that a request that is cancelled does not stop half an installation.
pub trait Host: Send + Sync + 'static {
    /// What is known of the hub's process and device at this moment. Cheap: it is asked on many pages.
    fn facts(&self) -> HostFacts;

    /// Where uploaded models rest until they are installed: a private folder on the same file system as the
    /// installed models.
    fn incoming_dir(&self) -> PathBuf;

    /// Takes a checked model file from [`Host::incoming_dir`] into the installed models under `name`
    /// (`[A-Za-z0-9._-]`, without `.gguf`) and makes it known to the inference role.
    fn install_model(&self, file: PathBuf, name: String) -> BoxFuture<'static, Result<(), HostError>>;

    /// Removes an installed model; the inference role forgets it.
    fn remove_model(&self, name: String) -> BoxFuture<'static, Result<(), HostError>>;

    /// Called after settings were saved.
    fn settings_changed(&self, settings: &Settings);

    /// Asks the supervisor to start a role again. For the hub itself this happens after the answer has left.
    fn restart(&self, role: HostRole);

    /// Does something to the device, after the answer to whoever asked has left.
    ///
    /// # Errors
    /// [`HostError::Refused`] on a computer, where the hub is a guest.
    fn device(&self, act: DeviceAct) -> Result<(), HostError> {
        Err(HostError::Refused(format!("{act:?} is not done to a computer on which the hub is a guest")))
    }

    /// The last lines of the hub's log, oldest first, at most `limit`.
    fn recent_log(&self, limit: usize) -> Vec<String>;
}

/// What a keeper may do to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceAct {
    /// End in order and switch off.
    PowerOff,
    /// End in order and start again.
    Restart,
    /// Erase everything of the community and start as on the first day.
    FactoryReset,
}

/// What is known of the device; all empty where the hub is a guest on a computer.
#[derive(Debug, Clone, Default)]
pub struct DeviceFacts {
    /// Whether the hub is the device's system.
    pub appliance: bool,
    /// The hub's own Wi-Fi, while it has one.
    pub captive: Option<Captive>,
    /// Mistakes in the provisioning file, in words for people.
    pub provisioning: Vec<String>,
    /// What a person should do something about: a short name, and a sentence.
    pub concerns: Vec<(&'static str, &'static str)>,
    /// Whether the supply's voltage is too low, where the board tells.
    pub under_voltage: Option<bool>,
    /// The card that holds the data.
    pub card: CardFacts,
}

/// The hub's own Wi-Fi, on which phones ask whether it is the internet.
#[derive(Debug, Clone, Copy)]
pub struct Captive {
    /// The hub's address on it.
    pub address: IpAddr,
    /// The hosts of which they ask it.
    pub hosts: &'static [&'static str],
}

/// What is known of the card. What it does not tell is `None`.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct CardFacts {
    /// Its kind and name.
    pub name: Option<String>,
    /// Share of its life that is used, percent, as it estimates itself.
    pub worn_percent: Option<u8>,
    /// Bytes that were written to the hub's file system in its life.
    pub written_bytes: Option<u64>,
    /// Errors that the file system has met.
    pub errors: Option<u64>,
}

/// A role of the process tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostRole {
    /// The hub: web, store, library, uplink.
    Hub,
    /// The inference role.
    Infer,
}

/// Why the host refused.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is one of this name already.
    #[error("there is already a model called {0:?}")]
    Exists(String),
    /// There is none of this name.
    #[error("there is no model called {0:?}")]
    Missing(String),
    /// The file cannot be used, in words for people.
    #[error("{0}")]
    Refused(String),
    /// The file system refused.
    #[error("{doing} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// Its words.
        source: std::io::Error,
    },
}

impl HostError {
    /// A failed file operation.
    #[must_use]
    pub fn io(doing: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// What is known of the hub's process and device.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Version of the program.
    pub version: String,
    /// When the hub's process started, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// How long ago that was, by a clock that never steps.
    pub uptime: Duration,
    /// The name on the network, without `.local`.
    pub name: String,
    /// The page's addresses for people, best first: a plain one works on every phone, the name comes last and only where it
    /// is announced. None where only this machine itself can reach the hub.
    pub pages: Vec<String>,
    /// The port of the page.
    pub port: u16,
    /// The board, where it is a known one.
    pub board: Option<String>,
    /// Whether the outside world can be reached, as far as the uplink knows.
    pub connectivity: Connectivity,
    /// How well each role is confined.
    pub confinement: Vec<Confined>,
    /// Memory of the device, in bytes.
    pub memory: Option<Usage>,
    /// Disk that holds the hub's data, in bytes.
    pub disk: Option<Usage>,
    /// Temperature of the processor, in degrees Celsius.
    pub temperature_c: Option<f32>,
    /// How often each role was started again since the supervisor started, by name.
    pub restarts: Vec<(String, u64)>,
    /// What opening the store found and repaired.
    pub opened: OpenReport,
    /// The device.
    pub device: DeviceFacts,
}

/// Whether the outside world can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Connectivity {
    /// No gateway is set: the hub works for itself, as it should.
    Local,
    /// The gateway answers.
    Online,
    /// The gateway does not answer; changes wait on the hub.
    Offline,
    /// It answers again; waiting changes are being sent.
    Recovering,
}

/// How well one role is confined.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Confined {
    /// The role.
    pub role: String,
    /// What holds.
    pub held: Vec<String>,
    /// What the kernel lacks.
    pub lacking: Vec<String>,
}

/// How much of something is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Usage {
    /// Used, in bytes.
    pub used: u64,
    /// All there is, in bytes.
    pub total: u64,
}

impl Usage {
    /// What is left, in bytes.
    #[must_use]
    pub const fn free(self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}
