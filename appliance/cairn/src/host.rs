//! What the pages and the API are told of the process and the device they run in.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use cairn_device::network::captive;
use cairn_inference::InferenceClient;
use cairn_store::{CloudMode, OpenReport, Settings};
use cairn_supervisor::{DeviceOrder, Role, RoleLink, TreeStatus};
use cairn_uplink::{CloudModel, Endpoint, Mode, Routing, cloud::Patience, connectivity};
use cairn_web::{
    Captive, CardFacts, Confined, Connectivity, DeviceAct, DeviceFacts, Host, HostError, HostFacts, HostRole,
    Usage,
};
use futures::future::{BoxFuture, FutureExt};
use tokio::sync::watch;

use crate::{addresses::Reach, data::Folder, logging::RecentLog, uplink::HubUplink};

/// How long a restart of the hub waits, so that the answer to whoever asked for it can leave.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How long the machine's addresses are believed.
const ADDRESSES_FRESH: Duration = Duration::from_secs(5);

/// The process around the web part.
pub(crate) struct ThisHost {
    /// Of the system that runs.
    pub(crate) version: String,
    pub(crate) folder: Folder,
    pub(crate) started: Instant,
    pub(crate) started_at_ms: i64,
    pub(crate) reach: Reach,
    pub(crate) name: watch::Receiver<String>,
    pub(crate) tree: watch::Receiver<Option<TreeStatus>>,
    pub(crate) opened: OpenReport,
    pub(crate) log: RecentLog,
    pub(crate) link: RoleLink,
    pub(crate) inference: InferenceClient,
    pub(crate) routing: watch::Sender<Routing>,
    pub(crate) router: cairn_uplink::Router,
    pub(crate) uplink: Arc<HubUplink>,
    pub(crate) addresses: Mutex<Option<(Instant, Vec<IpAddr>)>>,
    /// Whether the hub is its device's system.
    pub(crate) appliance: bool,
    /// The address on the hub's own Wi-Fi, while it has one.
    pub(crate) captive: Option<IpAddr>,
    /// Mistakes in the provisioning file.
    pub(crate) findings: Vec<String>,
    /// Whether the name is announced on the network.
    pub(crate) announced: bool,
}

impl ThisHost {
    /// The page by the name that is in force on the network.
    pub(crate) fn local_page(&self) -> String {
        let port = self.reach.port();
        let port = if port == 80 { String::new() } else { format!(":{port}") };
        format!("http://{}.local{port}", *self.name.borrow())
    }

    fn device_facts(&self) -> DeviceFacts {
        let tree = self.tree.borrow();
        let concerns = tree.as_ref().map(|tree| tree.concerns.as_slice()).unwrap_or_default();
        let board = tree.as_ref().map(|tree| &tree.board);
        let card = board.map(|board| &board.card);
        DeviceFacts {
            appliance: self.appliance,
            captive: self.captive.map(|address| Captive { address, hosts: captive::PROBES }),
            provisioning: self.findings.clone(),
            concerns: concerns.iter().map(|concern| (concern.name(), concern.sentence())).collect(),
            under_voltage: board.and_then(|board| board.under_voltage),
            card: CardFacts {
                name: card.and_then(|card| {
                    let parts: Vec<&str> =
                        [&card.kind, &card.name].into_iter().filter_map(|part| part.as_deref()).collect();
                    (!parts.is_empty()).then(|| parts.join(" "))
                }),
                worn_percent: card.and_then(|card| card.worn_percent),
                written_bytes: card.and_then(|card| card.written),
                errors: card.and_then(|card| card.errors),
            },
        }
    }

    /// The page's plain addresses, best first.
    pub(crate) fn pages(&self) -> Vec<String> {
        self.reach.pages(&self.addresses())
    }

    /// What people on the network can type; nothing when only this machine can reach the hub.
    fn pages_for_others(&self) -> Vec<String> {
        if self.reach.only_here() {
            return Vec::new();
        }
        self.pages().into_iter().chain(self.announced.then(|| self.local_page())).collect()
    }

    /// The machine's addresses, a few seconds old at most.
    fn addresses(&self) -> Vec<IpAddr> {
        let mut kept = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some((read, addresses)) if read.elapsed() < ADDRESSES_FRESH => addresses.clone(),
            _ => {
                let addresses = crate::addresses::of_this_machine();
                *kept = Some((Instant::now(), addresses.clone()));
                addresses
            }
        }
    }
}

/// What the keeper's settings mean for questions. A cloud model that cannot be used is told and left out.
pub(crate) fn routing_of(settings: &Settings) -> Routing {
    let mode = match settings.inference {
        // Nothing of the cloud is prepared when nothing may be sent to it.
        CloudMode::Local => return Routing::default(),
        CloudMode::Cloud => Mode::Cloud,
        CloudMode::Auto => Mode::Auto,
    };
    let cloud = settings.cloud.as_ref().and_then(|cloud| {
        let endpoint = Endpoint {
            address: cloud.url.clone(),
            model: cloud.model.clone(),
            key: cloud.key.reveal().to_owned(),
            // The settings let plain HTTP pass to this device only.
            allow_loopback: true,
        };
        CloudModel::new(&endpoint, Patience::default())
            .inspect_err(|error| tracing::warn!(%error, "the cloud model cannot be used"))
            .ok()
    });
    Routing { mode, cloud }
}

/// Milliseconds since 1970, by the wall clock.
pub(crate) fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The worst of what is needed outside; nothing at all is needed where everything is local.
fn outside(states: [connectivity::State; 2]) -> Connectivity {
    let any = |state| states.contains(&state);
    if any(connectivity::State::Offline) {
        Connectivity::Offline
    } else if any(connectivity::State::Recovering) {
        Connectivity::Recovering
    } else if any(connectivity::State::Normal) {
        Connectivity::Online
    } else {
        Connectivity::Local
    }
}

impl Host for ThisHost {
    fn facts(&self) -> HostFacts {
        let tree = self.tree.borrow();
        let roles = tree.as_ref().map(|tree| tree.roles.as_slice()).unwrap_or_default();
        let board = tree.as_ref().map(|tree| &tree.board);
        let usage = |total: Option<u64>, free: Option<u64>| {
            let (total, free) = (total?, free?);
            Some(Usage { used: total.saturating_sub(free), total })
        };
        HostFacts {
            version: self.version.clone(),
            started_at_ms: self.started_at_ms,
            uptime: self.started.elapsed(),
            name: self.name.borrow().clone(),
            pages: self.pages_for_others(),
            port: self.reach.port(),
            board: board.and_then(|board| board.model.clone()),
            connectivity: outside([self.router.connectivity().state(), self.uplink.connectivity()]),
            confinement: roles
                .iter()
                .filter_map(|role| {
                    let report = role.confinement.as_ref()?;
                    let lines = |findings: &[cairn_process::confine::Finding]| {
                        findings
                            .iter()
                            .map(|finding| format!("{}: {}", finding.measure, finding.detail))
                            .collect()
                    };
                    Some(Confined {
                        role: role.role.to_string(),
                        held: lines(&report.held),
                        lacking: lines(&report.lacking),
                    })
                })
                .collect(),
            memory: board.and_then(|board| usage(board.memory_total, board.memory_available)),
            disk: board.and_then(|board| usage(board.disk_total, board.disk_free)),
            temperature_c: board.and_then(|board| board.temperature_c),
            restarts: roles.iter().map(|role| (role.role.to_string(), role.restarts.into())).collect(),
            opened: self.opened.clone(),
            device: self.device_facts(),
        }
    }

    fn incoming_dir(&self) -> PathBuf {
        self.folder.incoming_models()
    }

    fn install_model(&self, file: PathBuf, name: String) -> BoxFuture<'static, Result<(), HostError>> {
        let target = self.folder.models().join(format!("{name}.gguf"));
        // Carried through even when whoever asked has left.
        let installing = tokio::task::spawn_blocking(move || install(&file, &target, name));
        async move { installing.await.unwrap_or_else(|error| Err(HostError::Refused(error.to_string()))) }
            .boxed()
    }

    fn remove_model(&self, name: String) -> BoxFuture<'static, Result<(), HostError>> {
        let path = self.folder.models().join(format!("{name}.gguf"));
        let inference = self.inference.clone();
        async move {
            // Whether it was loaded, or infer is away, makes no difference to what follows.
            drop(inference.unload(&name).await);
            tokio::task::spawn_blocking(move || match fs::remove_file(&path) {
                Ok(()) => sync_folder_of(&path),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(HostError::Missing(name)),
                Err(error) => Err(HostError::io("removing", &path, error)),
            })
            .await
            .unwrap_or_else(|error| Err(HostError::Refused(error.to_string())))
        }
        .boxed()
    }

    fn settings_changed(&self, settings: &Settings) {
        self.routing.send_replace(routing_of(settings));
    }

    fn restart(&self, role: HostRole) {
        let link = self.link.clone();
        tokio::spawn(async move {
            let role = match role {
                HostRole::Infer => Role::Infer,
                HostRole::Hub => {
                    tokio::time::sleep(RESTART_AFTER).await;
                    Role::Hub
                }
            };
            if let Err(error) = link.restart(role).await {
                tracing::warn!(%role, %error, "the supervisor could not be asked for a restart");
            }
        });
    }

    fn device(&self, act: DeviceAct) -> Result<(), HostError> {
        if !self.appliance {
            return Err(HostError::Refused(
                "this hub is a guest on a computer: nothing is done to it".to_owned(),
            ));
        }
        let order = match act {
            DeviceAct::PowerOff => DeviceOrder::PowerOff,
            DeviceAct::Restart => DeviceOrder::Restart,
            DeviceAct::FactoryReset => DeviceOrder::FactoryReset,
        };
        let link = self.link.clone();
        tokio::spawn(async move {
            // The answer to whoever asked leaves first.
            tokio::time::sleep(RESTART_AFTER).await;
            if let Err(error) = link.device(order).await {
                tracing::error!(?order, %error, "the supervisor could not be asked");
            }
        });
        Ok(())
    }

    fn recent_log(&self, limit: usize) -> Vec<String> {
        self.log.last(limit)
    }
}

/// Moves a whole, checked file to its place, readable by the inference role.
fn install(file: &Path, target: &Path, name: String) -> Result<(), HostError> {
    use std::os::unix::fs::PermissionsExt;
    if target.exists() {
        return Err(HostError::Exists(name));
    }
    let opened = fs::File::open(file).map_err(|error| HostError::io("opening", file, error))?;
    opened
        .set_permissions(fs::Permissions::from_mode(0o644))
        .and_then(|()| opened.sync_all())
        .map_err(|error| HostError::io("saving", file, error))?;
    fs::rename(file, target).map_err(|error| HostError::io("installing", target, error))?;
    sync_folder_of(target)
}

fn sync_folder_of(path: &Path) -> Result<(), HostError> {
    let folder = path.parent().unwrap_or(path);
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| HostError::io("saving", folder, error))
}

/// A host's shared handle.
pub(crate) type SharedHost = Arc<ThisHost>;
