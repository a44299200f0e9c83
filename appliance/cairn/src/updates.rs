//! The hub's side of updates: what asks the supervisor, what proves a new system, and what the page is told.

use std::{
    collections::BTreeMap,
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cairn_bundle::{PayloadKind, Version};
use cairn_slots::{
    FileDevice, Partitions, SlotPair,
    durable::{self, Files},
    health::{Finding, Probe},
    record::{Bad, Ended, Record},
};
use cairn_supervisor::{
    DeviceOrder, RoleLink,
    system::{SystemState, UpdateNews, UpdateOrder},
};
use cairn_uplink::{
    connectivity,
    updates::{
        Origin, Privileged, Turn,
        packs::{PackKind, PackName, PackStatus, Packs},
        policy::Wishes,
        service::{MIRROR, Order, Sharing, Updates},
    },
};
use cairn_web::{
    UpdateAsk, UpdateFailure, UpdateOffer, UpdatePack, UpdatePackKind, UpdatePackName, UpdatePhase,
    UpdateProgress, UpdateSharing, UpdateStatus, UpdateWishes, UpdatesError,
};
use futures::future::{BoxFuture, FutureExt};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc, watch};

use crate::{sticks::StickNews, system::Image, uplink::HubUplink};

/// Answers of the supervisor that may wait; one order is under way at a time and has six at most.
const MAX_ANSWERS: usize = 16;
/// How long the supervisor may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long it may take to read a slot back: 480 MiB from a slow card.
const CHECK_WITHIN: Duration = Duration::from_secs(45 * 60);
/// Between two tries of a probe.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How long before its deadline a probe says what is wrong rather than nothing.
const BEFORE_DEADLINE: Duration = Duration::from_secs(30);
/// The file that says what could be reached before the restart.
const REACHED: &str = "reached.json";

/// What could be reached before a new system was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Reached {
    repository: bool,
    gateway: bool,
}

/// The line to the supervisor, as far as updates go over it.
pub(crate) struct Joint {
    link: RoleLink,
    state: watch::Sender<Option<SystemState>>,
    answers: mpsc::Sender<(UpdateNews, Option<OwnedFd>)>,
    asking: Mutex<mpsc::Receiver<(UpdateNews, Option<OwnedFd>)>>,
}

impl Joint {
    pub(crate) fn new(link: RoleLink) -> Arc<Self> {
        let (answers, asking) = mpsc::channel(MAX_ANSWERS);
        Arc::new(Self { link, state: watch::Sender::new(None), answers, asking: Mutex::new(asking) })
    }

    /// Takes what the supervisor says. Never waits.
    pub(crate) fn hear(&self, news: UpdateNews, descriptor: Option<OwnedFd>) {
        if let UpdateNews::State(state) = &news {
            self.state.send_replace(Some(SystemState::clone(state)));
        }
        // Nobody asked, then: what is remembered is in the state.
        drop(self.answers.try_send((news, descriptor)));
    }

    /// Says what a probe found; without a trial nobody listens.
    pub(crate) async fn found(&self, probe: Probe, finding: Finding) {
        if let Err(error) = self.link.update(UpdateOrder::Probe(probe, finding)).await {
            tracing::warn!(%error, %probe, "the supervisor could not be told");
        }
    }

    async fn ask<T>(
        &self,
        order: UpdateOrder,
        within: Duration,
        mut answered: impl FnMut(UpdateNews, Option<OwnedFd>) -> Option<Result<T, String>>,
    ) -> Result<T, String> {
        let mut answers = self.asking.lock().await;
        while answers.try_recv().is_ok() {}
        self.link.update(order).await.map_err(|error| error.to_string())?;
        let answer = async {
            loop {
                let Some((news, descriptor)) = answers.recv().await else {
                    return Err("the supervisor is gone".to_owned());
                };
                if let UpdateNews::Refused(why) = news {
                    return Err(why);
                }
                if let Some(answer) = answered(news, descriptor) {
                    return answer;
                }
            }
        };
        let late = |_| format!("the supervisor did not answer within {} seconds", within.as_secs());
        tokio::time::timeout(within, answer).await.map_err(late)?
    }
}

/// What needs privileges, done by the supervisor.
pub(crate) struct BySupervisor {
    joint: Arc<Joint>,
    folder: PathBuf,
    reached: Box<dyn Fn() -> Reached + Send + Sync>,
}

impl BySupervisor {
    fn remember_reached(&self) -> Result<(), String> {
        let bytes = serde_json::to_vec(&(self.reached)()).map_err(|error| error.to_string())?;
        durable::replace(&durable::Folder(self.folder.clone()), REACHED, &bytes)
            .map_err(|error| format!("what can be reached could not be written down: {error}"))
    }
}

impl Privileged for BySupervisor {
    fn open(&self) -> BoxFuture<'_, Result<SlotPair<FileDevice, FileDevice>, String>> {
        async {
            let mut parts: BTreeMap<(bool, PayloadKind), OwnedFd> = BTreeMap::new();
            let all = self
                .joint
                .ask(UpdateOrder::Open, ANSWER_WITHIN, move |news, descriptor| match (news, descriptor) {
                    (UpdateNews::Part(part), Some(descriptor)) => {
                        parts.insert((part.target, part.kind), descriptor);
                        (parts.len() == 4).then(|| Ok(std::mem::take(&mut parts)))
                    }
                    _ => None,
                })
                .await;
            let mut all = all?;
            let mut device = |target, kind| {
                let descriptor = all.remove(&(target, kind)).ok_or("a handle is missing")?;
                FileDevice::new(File::from(descriptor)).map_err(|error| error.to_string())
            };
            let mut slot = |target| {
                Ok::<_, String>(Partitions {
                    boot: device(target, PayloadKind::Boot)?,
                    root: device(target, PayloadKind::Root)?,
                })
            };
            Ok(SlotPair { active: slot(false)?, target: slot(true)? })
        }
        .boxed()
    }

    fn try_new(&self, evidence: PathBuf) -> BoxFuture<'_, Result<(), String>> {
        async move {
            // The next start may be one that nobody asked for.
            self.remember_reached()?;
            let ready =
                |news: UpdateNews, _: Option<OwnedFd>| matches!(news, UpdateNews::Ready).then_some(Ok(()));
            self.joint.ask(UpdateOrder::Try(evidence), CHECK_WITHIN, ready).await
        }
        .boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), String>> {
        async {
            self.remember_reached()?;
            self.joint.link.update(UpdateOrder::Restart).await.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn try_again(&self, version: Version) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let done =
                |news: UpdateNews, _: Option<OwnedFd>| matches!(news, UpdateNews::State(_)).then_some(Ok(()));
            self.joint.ask(UpdateOrder::TryAgain(version), ANSWER_WITHIN, done).await
        }
        .boxed()
    }

    fn record(&self) -> Record {
        self.joint.state.borrow().as_ref().map(|state| state.record.clone()).unwrap_or_default()
    }

    fn settled(&self) -> bool {
        self.joint.state.borrow().as_ref().is_some_and(|state| !state.on_trial)
    }
}

/// Where updates keep what is theirs, and what they are for.
pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    /// Repositories on the sticks that are in.
    pub(crate) sticks: watch::Receiver<Vec<PathBuf>>,
    pub(crate) image: Image,
    /// Whether there is a board whose light can tell.
    pub(crate) appliance: bool,
}

/// The privileged side, with what it writes down before a restart: whether the repository was reached, and the gateway.
pub(crate) fn privileged(
    joint: &Arc<Joint>,
    folder: &Path,
    repository: Arc<std::sync::atomic::AtomicBool>,
    uplink: Arc<HubUplink>,
) -> Arc<BySupervisor> {
    let reached = move || Reached {
        repository: repository.load(std::sync::atomic::Ordering::Relaxed),
        gateway: uplink.connectivity() == connectivity::State::Normal,
    };
    Arc::new(BySupervisor { joint: Arc::clone(joint), folder: folder.to_owned(), reached: Box::new(reached) })
}

/// Updates, as the page knows them.
pub(crate) struct HubUpdates {
    place: Place,
    joint: Arc<Joint>,
    updates: Updates,
    packs: Arc<Packs>,
}

impl HubUpdates {
    pub(crate) const fn new(place: Place, joint: Arc<Joint>, updates: Updates, packs: Arc<Packs>) -> Self {
        Self { place, joint, updates, packs }
    }

    /// Lets the loop know what the supervisor says, and the LED what the loop does.
    pub(crate) async fn follow(self: Arc<Self>) {
        let (mut state, mut status) = (self.joint.state.subscribe(), self.updates.follow());
        let mut writing = false;
        loop {
            tokio::select! {
                Ok(()) = state.changed() => {
                    if !self.updates.order(Order::Heard) {
                        tracing::debug!("updates have no room for news; they look at the state by themselves");
                    }
                }
                Ok(()) = status.changed() => {
                    let now = status.borrow_and_update().installing.is_some();
                    if now != std::mem::replace(&mut writing, now)
                        && self.place.appliance
                        && let Err(error) = self.joint.link.device(DeviceOrder::Updating(now)).await
                    {
                        tracing::debug!(%error, "the supervisor could not be told");
                    }
                }
                else => return,
            }
        }
    }

    fn choose(&self, pack: UpdatePackName, wanted: bool) -> Result<(), UpdatesError> {
        let kind = match pack.kind {
            UpdatePackKind::Model => PackKind::Model,
            UpdatePackKind::Content => PackKind::Content,
        };
        let pack = PackName { kind, name: pack.name };
        let known = self.packs.status().into_iter().any(|status| status.offered.pack == pack);
        if wanted && !known {
            return Err(UpdatesError(format!("no pack {:?} is offered", pack.name)));
        }
        if self.packs.choose(pack, wanted) {
            Ok(())
        } else {
            Err(UpdatesError("packs have too much to do already; ask again in a moment".to_owned()))
        }
    }

    /// A stick with updates was put in or pulled out; `false` when the loop has to be told again.
    pub(crate) fn stick(&self, news: StickNews) -> bool {
        self.updates.order(match news {
            StickNews::In(folder) => Order::LookAt(Origin::Folder(folder)),
            StickNews::Out(folder) => Order::Gone(Origin::Folder(folder)),
        })
    }

    fn order(&self, order: Order) -> Result<(), UpdatesError> {
        if self.updates.order(order) {
            Ok(())
        } else {
            Err(UpdatesError("updates have too much to do already; ask again in a moment".to_owned()))
        }
    }
}

fn failure(bad: &Bad) -> UpdateFailure {
    UpdateFailure {
        version: bad.release.version.to_string(),
        part: bad.failure.probe.map(|probe| probe.name().to_owned()),
        reason: bad.failure.reason.clone(),
    }
}

fn pack(status: PackStatus) -> UpdatePack {
    let offered = status.offered;
    UpdatePack {
        pack: UpdatePackName {
            kind: match offered.pack.kind {
                PackKind::Model => UpdatePackKind::Model,
                PackKind::Content => UpdatePackKind::Content,
            },
            name: offered.pack.name,
        },
        revision: offered.revision,
        title: offered.title,
        memory_mib: offered.memory,
        bytes: offered.wanted.length,
        chosen: status.chosen,
        installed: status.installed,
        coming: status.coming,
        trouble: status.trouble,
    }
}

impl cairn_web::Updates for HubUpdates {
    fn status(&self) -> UpdateStatus {
        let status = self.updates.status();
        let state = self.joint.state.borrow().clone();
        let on_trial = state.as_ref().is_some_and(|state| state.on_trial);
        let offer = status.offered.map(|offered| UpdateOffer {
            version: offered.version.to_string(),
            notes: offered.notes,
            turn: offered.turn == Turn::Come,
            by_hand: offered.origin.by_hand(),
            failed_before: offered.bad,
        });
        let fresh = offer.as_ref().is_some_and(|offer| !offer.failed_before);
        let phase = match (&status.installing, &status.ready) {
            _ if on_trial => UpdatePhase::OnTrial,
            (Some(_), _) => UpdatePhase::Installing,
            (None, Some(_)) => UpdatePhase::Ready,
            (None, None) if status.wishes.paused => UpdatePhase::Paused,
            (None, None) if fresh => UpdatePhase::Offered,
            (None, None) => UpdatePhase::Current,
        };
        let next = status.installing.map(|(version, _)| version).or(status.ready);
        let confirmed = match &status.last {
            Some(Ended::Confirmed(release)) => Some(release.version.to_string()),
            _ => None,
        };
        UpdateStatus {
            phase,
            running: self.place.image.version.to_string(),
            slot: state.map(|state| state.running.letter().to_owned()),
            offer,
            next: next.map(|version| version.to_string()),
            progress: status.installing.map(|(_, progress)| UpdateProgress {
                to_fetch: progress.to_fetch,
                fetched: progress.fetched,
                held: progress.held,
            }),
            confirmed,
            came_back: matches!(status.last, Some(Ended::Failed(_))),
            failed: status.bad.iter().map(failure).collect(),
            trouble: status.trouble,
            looked_s: status.looked.map(|looked| looked.elapsed().as_secs()),
            unproven: status.unproven,
            packs: self.packs.status().into_iter().map(pack).collect(),
            network: self.place.image.url.is_some(),
            stick: !self.place.sticks.borrow().is_empty(),
            wishes: UpdateWishes {
                paused: status.wishes.paused,
                metered: status.wishes.metered,
                window_from: status.wishes.window_from,
                window_until: status.wishes.window_until,
                share: status.wishes.share,
            },
            sharing: match status.sharing {
                Sharing::Off => UpdateSharing::Off,
                Sharing::Copying => UpdateSharing::Copying,
                Sharing::Ready => UpdateSharing::Ready,
                Sharing::Failed(why) => UpdateSharing::Failed(why),
            },
        }
    }

    fn ask(&self, ask: UpdateAsk) -> Result<(), UpdatesError> {
        self.order(match ask {
            UpdateAsk::Choose(pack) => return self.choose(pack, true),
            UpdateAsk::Leave(pack) => return self.choose(pack, false),
            UpdateAsk::Look => Order::Look,
            UpdateAsk::Now => Order::Now,
            UpdateAsk::TryAgain(version) => {
                let version = version.parse().map_err(|error| UpdatesError(format!("{version}: {error}")))?;
                Order::TryAgain(version)
            }
            UpdateAsk::Wishes(wishes) => Order::Wish(Wishes {
                paused: wishes.paused,
                metered: wishes.metered,
                window_from: wishes.window_from,
                window_until: wishes.window_until,
                share: wishes.share,
            }),
            UpdateAsk::LookAtUpload => Order::LookAt(Origin::Folder(self.incoming())),
            UpdateAsk::LookAtStick => {
                let stick = self.place.sticks.borrow().first().cloned();
                let none = || UpdatesError("no stick with updates is in".to_owned());
                Order::LookAt(Origin::Folder(stick.ok_or_else(none)?))
            }
            UpdateAsk::LookAtHub(address) => {
                let wrong = || UpdatesError(format!("{address:?} is no address of a hub"));
                Order::LookAt(Origin::hub(&address).ok_or_else(wrong)?)
            }
        })
    }

    fn incoming(&self) -> PathBuf {
        self.place.folder.join("incoming")
    }

    fn mirror(&self) -> Option<PathBuf> {
        (self.updates.status().wishes.share).then(|| self.place.folder.join(MIRROR))
    }
}

/// What a new system is tried with.
pub(crate) struct Proof {
    pub(crate) joint: Arc<Joint>,
    pub(crate) store: cairn_store::Store,
    pub(crate) uplink: Arc<HubUplink>,
    /// The page, by an address of the local network.
    pub(crate) page: String,
    /// The repository, where there is one.
    pub(crate) repository: Option<String>,
    pub(crate) folder: PathBuf,
    pub(crate) client: cairn_uplink::updates::Probing,
}

impl Proof {
    /// Says to the supervisor what works. Ends when all is said; does nothing where there is nothing to prove.
    pub(crate) async fn run(self) {
        let mut state = self.joint.state.subscribe();
        let Ok(on_trial) = state
            .wait_for(Option::is_some)
            .await
            .map(|state| state.as_ref().is_some_and(|state| state.on_trial))
        else {
            return;
        };
        if on_trial {
            tokio::join!(self.database(), self.page(), self.uplink());
        }
    }

    async fn database(&self) {
        // A write that changes nothing: no time is before this one.
        let finding = match self.store.raise_time_floor(0).await {
            Ok(_) => Finding::Passed,
            Err(error) => Finding::Failed(format!("it takes no writes: {error}")),
        };
        self.joint.found(Probe::Database, finding).await;
    }

    async fn page(&self) {
        self.again_and_again(Probe::Page, Reached::default()).await;
    }

    async fn uplink(&self) {
        let folder = durable::Folder(self.folder.clone());
        let read = folder.read(REACHED).ok().flatten();
        let before: Reached = read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        if before == Reached::default() {
            let why = "nothing could be reached before the update".to_owned();
            return self.joint.found(Probe::Uplink, Finding::Skipped(why)).await;
        }
        self.again_and_again(Probe::Uplink, before).await;
    }

    async fn page_answers(&self) -> Result<(), String> {
        self.client.answers(&format!("{}/api/health-check", self.page.trim_end_matches('/'))).await
    }

    /// Whether what could be reached `before` can be reached now.
    async fn outside_answers(&self, before: Reached) -> Result<(), String> {
        if let Some(repository) = self.repository.as_ref().filter(|_| before.repository) {
            let address = format!("{}/metadata/timestamp.json", repository.trim_end_matches('/'));
            self.client.answers(&address).await.map_err(|error| format!("updates: {error}"))?;
        }
        if before.gateway && self.uplink.connectivity() != connectivity::State::Normal {
            return Err("the gateway does not answer any more".to_owned());
        }
        Ok(())
    }

    /// Tries until it works; shortly before the deadline it says what is wrong.
    async fn again_and_again(&self, probe: Probe, before: Reached) {
        let give_up = tokio::time::Instant::now() + probe.deadline().saturating_sub(BEFORE_DEADLINE);
        let finding = loop {
            let works = match probe {
                Probe::Page => self.page_answers().await,
                _ => self.outside_answers(before).await,
            };
            match works {
                Ok(()) => break Finding::Passed,
                Err(error) if tokio::time::Instant::now() >= give_up => break Finding::Failed(error),
                Err(error) => tracing::info!(%probe, error, "not yet"),
            }
            tokio::time::sleep(PROBE_EVERY).await;
        };
        self.joint.found(probe, finding).await;
    }
}
