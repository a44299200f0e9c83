//! The loop: looks, waits, installs, restarts; tells how it is; takes a keeper's orders.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cairn_bundle::Version;
use cairn_slots::{
    durable::{self, Files},
    record::{Bad, Ended},
};
use tokio::sync::{mpsc, watch};

use super::{
    Found, Offer, Origin, Privileged, Repository, Turn,
    fetch::Transport,
    files::Wanted,
    install::{Pace, Progress, install},
    outcomes::Outcomes,
    packs::{Offers, PackStatus, Packs},
    policy::{self, Situation, Step, Wishes},
    sharing::Lending,
};

pub use super::sharing::Sharing;

/// The file with the keeper's wishes.
const WISHES: &str = "wishes.json";
/// Orders that may wait.
const MAX_ORDERS: usize = 8;

/// Folder of what the supervisor checks, below [`Parts::folder`].
pub const EVIDENCE: &str = "evidence";
/// Folder of what is passed on, below [`Parts::folder`].
pub const MIRROR: &str = "mirror";

/// What a keeper may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Do not wait for turn, window or a cheap connection.
    Now,
    /// From now on do so.
    Wish(Wishes),
    /// Try a version again that failed.
    TryAgain(Version),
    /// Look at the repository.
    Look,
    /// Look at another one, once.
    LookAt(Origin),
    /// Nothing can be had from there any more.
    Gone(Origin),
    /// What the supervisor says has changed.
    Heard,
}

/// A system that could be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Which.
    pub version: Version,
    /// What is new, in words for people.
    pub notes: String,
    /// Whether this hub's turn has come.
    pub turn: Turn,
    /// Where it is from.
    pub origin: Origin,
    /// Whether it failed here before.
    pub bad: bool,
}

/// How updates are, for the page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// What the keeper decided.
    pub wishes: Wishes,
    /// What is offered.
    pub offered: Option<Offered>,
    /// An install that goes on.
    pub installing: Option<(Version, Progress)>,
    /// What waits for the restart.
    pub ready: Option<Version>,
    /// How the last attempt ended.
    pub last: Option<Ended>,
    /// What failed and is not tried again by itself.
    pub bad: Vec<Bad>,
    /// Why the last look or install failed.
    pub trouble: Option<String>,
    /// When the repository was last looked at.
    pub looked: Option<Instant>,
    /// Whether the last look cannot say that there is nothing newer.
    pub unproven: bool,
    /// What other hubs can have from here.
    pub sharing: Sharing,
}

/// Everything that the loop stands on.
pub struct Parts {
    /// Whom to believe.
    pub repository: Arc<dyn Repository>,
    /// The supervisor.
    pub privileged: Arc<dyn Privileged>,
    /// The version that runs.
    pub running: Version,
    /// A folder of our own: wishes, and the evidence for the supervisor.
    pub folder: PathBuf,
    /// Consideration for people on the page.
    pub pace: Pace,
    /// Models and content packs, where there is a place for them.
    pub packs: Option<Arc<Packs>>,
    /// What whoever looks after many hubs is to hear.
    pub outcomes: Arc<Outcomes>,
    /// Whether the clock can be believed.
    pub time_known: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The loop's handle.
#[derive(Debug, Clone)]
pub struct Updates {
    orders: mpsc::Sender<Order>,
    status: watch::Receiver<Status>,
}

impl Updates {
    /// Starts the loop on the runtime of the caller, which must have several threads.
    #[must_use]
    pub fn start(parts: Parts) -> Self {
        let (orders, incoming) = mpsc::channel(MAX_ORDERS);
        let (telling, status) = watch::channel(Status::default());
        tokio::spawn(Loop::new(parts, telling).run(incoming));
        Self { orders, status }
    }

    /// How it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows how it is.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Tells the loop something; `false` when it has too much to do.
    #[must_use]
    pub fn order(&self, order: Order) -> bool {
        self.orders.try_send(order).is_ok()
    }
}

struct Loop {
    parts: Parts,
    telling: watch::Sender<Status>,
    wishes: Wishes,
    now: bool,
    /// When anything was looked at.
    looked: Option<Instant>,
    /// When the repository on the network was: a stick that stays in puts no look at it off.
    network_looked: Option<Instant>,
    failures: u32,
    failed: Instant,
    offer: Option<(Offer, Origin, Arc<dyn Transport>)>,
    /// What can be passed on, and where it is from.
    newest: Option<(Wanted, Origin, Arc<dyn Transport>)>,
    /// Where the packs are from that are offered.
    packs_from: Option<(Origin, Arc<dyn Transport>)>,
    /// What is passed on.
    lending: Lending,
    packs_news: Option<watch::Receiver<Vec<PackStatus>>>,
    ready: Option<Version>,
    /// By the last look.
    withdrawn: Vec<Version>,
    trouble: Option<String>,
    unproven: bool,
    /// An install goes on: its progress is told by itself.
    installing: bool,
}

impl Loop {
    fn new(parts: Parts, telling: watch::Sender<Status>) -> Self {
        let wishes = read_wishes(&parts.folder);
        let packs_news = parts.packs.as_ref().map(|packs| packs.follow());
        Self {
            parts,
            telling,
            wishes,
            now: false,
            looked: None,
            network_looked: None,
            failures: 0,
            failed: Instant::now(),
            offer: None,
            newest: None,
            packs_from: None,
            lending: Lending::default(),
            packs_news,
            ready: None,
            withdrawn: Vec::new(),
            trouble: None,
            unproven: false,
            installing: false,
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            self.share();
            self.tell();
            match policy::next(&self.situation()) {
                Step::Look => self.look(Origin::Network).await,
                Step::Install => {
                    if !self.install(&mut orders).await {
                        return;
                    }
                }
                Step::Restart => {
                    let restarted = self.parts.privileged.restart().await;
                    self.now = false;
                    if let Err(error) = restarted {
                        self.fails(format!("the restart was refused: {error}"));
                    }
                    if !self.listen(&mut orders, policy::LONGEST_WAIT).await {
                        return;
                    }
                }
                Step::Wait(time) => {
                    if !self.listen(&mut orders, time).await {
                        return;
                    }
                }
            }
        }
    }

    /// Waits for an order, or for the copy to be made; `false` when nobody can give an order any more.
    async fn listen(&mut self, orders: &mut mpsc::Receiver<Order>, time: Duration) -> bool {
        // What can be passed on may be another then.
        let packs = async {
            let changed = match &mut self.packs_news {
                Some(news) => news.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => self.obey(order).await,
                None => return false,
            },
            () = packs => {}
            () = self.lending.ended() => {}
            () = tokio::time::sleep(time) => {}
        }
        true
    }

    /// Begins a copy for other hubs where one is wanted, or takes it away.
    fn share(&mut self) {
        let mirror = self.parts.folder.join(MIRROR);
        if !self.wishes.share {
            self.lending.take_away(&mirror);
            return;
        }
        let system =
            self.newest.as_ref().map(|(wanted, _, transport)| (wanted.clone(), Arc::clone(transport)));
        self.lending.keep(system, self.parts.packs.as_ref(), self.parts.folder.join(EVIDENCE), mirror);
    }

    fn known_bad(&self, version: Version) -> bool {
        self.parts.privileged.record().bad.iter().any(|bad| bad.release.version == version)
    }

    /// What was made ready before this process started counts too.
    fn ready(&self) -> Option<Version> {
        let attempt = self.parts.privileged.record().attempt.map(|attempt| attempt.release.version);
        let newer = |version: &Version| *version > self.parts.running;
        self.ready.or(attempt).filter(|version| newer(version) && !self.withdrawn.contains(version))
    }

    /// What was made ready and is withdrawn by now is tried at no start any more, whoever restarts the hub.
    async fn take_back(&mut self, withdrawn: Vec<Version>) {
        let Some(version) = self.ready().filter(|version| withdrawn.contains(version)) else {
            self.withdrawn = withdrawn;
            return;
        };
        // Whoever gets the handles finds the slot taken from trial.
        match self.parts.privileged.open().await {
            Ok(_) => {
                tracing::info!(%version, "what was made ready is withdrawn and is not tried");
                (self.ready, self.withdrawn) = (None, withdrawn);
            }
            Err(error) => {
                self.trouble = Some(format!("{version} is withdrawn and would still be tried: {error}"))
            }
        }
    }

    fn situation(&self) -> Situation {
        // What somebody brought waits for a keeper, who says so; it is in no rollout.
        let offer = self.offer.as_ref().map(|(offer, origin, _)| {
            let turn = if origin.by_hand() { Turn::Held } else { offer.turn.at(seconds()) };
            (offer.listing.version, turn)
        });
        // Without a repository on the network there is nothing to look at by oneself.
        let looked = if self.parts.repository.has_network() {
            self.network_looked.map(|looked| looked.elapsed())
        } else {
            Some(Duration::ZERO)
        };
        Situation {
            wishes: self.wishes,
            now: self.now,
            hour: (self.parts.time_known)().then(hour_of_day),
            looked,
            failures: self.failures,
            failed: self.failed.elapsed(),
            offer: offer.filter(|(version, _)| *version > self.parts.running && !self.known_bad(*version)),
            ready: self.ready(),
            settled: self.parts.privileged.settled(),
        }
    }

    async fn look(&mut self, origin: Origin) {
        let looked = self.parts.repository.check(self.parts.running, origin.clone()).await;
        match looked {
            Ok(Found { offer, newest, withdrawn, packs, transport, unproven }) => {
                self.looked = Some(Instant::now());
                if origin == Origin::Network {
                    self.network_looked = self.looked;
                }
                if let Some(told) = &self.parts.packs {
                    told.tell(Some(Offers { packs, transport: Arc::clone(&transport) }), self.wishes);
                }
                self.packs_from = Some((origin.clone(), Arc::clone(&transport)));
                self.unproven = unproven;
                let older = |offer: &Option<Offer>| {
                    let found = offer.as_ref().map(|offer| offer.listing.version);
                    self.offer
                        .as_ref()
                        .is_some_and(|(has, from, _)| *from != origin && Some(has.listing.version) > found)
                };
                // What came by hand stays on offer while the network knows nothing newer.
                if !older(&offer) {
                    self.offer = offer.map(|offer| (offer, origin.clone(), Arc::clone(&transport)));
                }
                if let Some(newest) = newest
                    && self.newest.as_ref().is_none_or(|(known, _, _)| *known != newest)
                {
                    self.newest = Some((newest, origin, transport));
                }
                // "Now" was about what there is, not about what may come one day.
                self.failures = 0;
                self.trouble = None;
                self.take_back(withdrawn).await;
                self.now &= self.offer.is_some() || self.ready().is_some();
            }
            Err(error) => {
                self.now = false;
                self.fails(error);
            }
        }
    }

    /// Offers nothing any more that is to be had from there only. What was written or copied already stays.
    fn gone(&mut self, origin: &Origin) {
        let offer = self.offer.take_if(|(_, from, _)| from == origin).is_some();
        let newest = self.newest.take_if(|(_, from, _)| from == origin).is_some();
        let packs = self.packs_from.take_if(|(from, _)| from == origin);
        if let (Some(told), Some((_, transport))) = (&self.parts.packs, &packs) {
            let transport = Arc::clone(transport);
            told.tell(Some(Offers { packs: Vec::new(), transport }), self.wishes);
        }
        if offer || newest || packs.is_some() {
            // Perhaps the network has the same.
            self.network_looked = None;
        }
    }

    /// `false` when nobody can give an order any more: the hub ends.
    async fn install(&mut self, orders: &mut mpsc::Receiver<Order>) -> bool {
        let Some((offer, _, transport)) = self.offer.clone() else { return true };
        let version = offer.listing.version;
        let (progress, mut following) = watch::channel(Progress::default());
        let evidence = self.parts.folder.join(EVIDENCE);
        let privileged = Arc::clone(&self.parts.privileged);
        let pace = self.parts.pace.clone();
        let work = async move {
            install(&offer, transport.as_ref(), privileged.as_ref(), evidence, &pace, &progress).await
        };
        let mut work = tokio::spawn(work);
        self.installing = true;
        let mut goes_on = true;
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                Ok(()) = following.changed() => {
                    let progress = *following.borrow_and_update();
                    self.telling.send_modify(|status| status.installing = Some((version, progress)));
                }
                order = orders.recv(), if goes_on => match order {
                    Some(order) => {
                        self.obey(order).await;
                        if self.wishes.paused && !self.now {
                            // What is written stays; the next install goes on from it.
                            work.abort();
                        }
                    }
                    None => {
                        goes_on = false;
                        work.abort();
                    }
                },
            }
        };
        self.installing = false;
        match outcome {
            Ok(Ok(())) => {
                tracing::info!(%version, "a new system is written and checked; it is tried at the next restart");
                self.ready = Some(version);
                self.failures = 0;
                self.trouble = None;
            }
            Ok(Err(error)) => {
                self.now = false;
                if error.of_the_version() {
                    self.parts.outcomes.refused(version, &error.to_string(), milliseconds());
                }
                self.fails(error.to_string());
            }
            Err(stopped) if stopped.is_cancelled() => tracing::info!("the install is paused"),
            Err(error) => self.fails(error.to_string()),
        }
        goes_on
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Now => {
                self.now = true;
                if self.offer.is_none() && self.ready().is_none() {
                    self.look(Origin::Network).await;
                }
            }
            Order::Look => self.look(Origin::Network).await,
            Order::LookAt(origin) => self.look(origin).await,
            Order::Gone(origin) => self.gone(&origin),
            Order::Heard => {}
            Order::Wish(wishes) => match keep_wishes(&self.parts.folder, wishes) {
                Ok(()) => {
                    self.wishes = wishes;
                    if let Some(packs) = &self.parts.packs {
                        packs.tell(None, wishes);
                    }
                    self.now &= !wishes.paused;
                }
                Err(error) => self.trouble = Some(format!("the settings could not be kept: {error}")),
            },
            Order::TryAgain(version) => {
                if let Err(error) = self.parts.privileged.try_again(version).await {
                    self.trouble = Some(error);
                }
                self.failures = 0;
            }
        }
        if !self.installing {
            self.tell();
        }
    }

    fn fails(&mut self, why: String) {
        tracing::warn!(why, "updates");
        self.failures = self.failures.saturating_add(1);
        self.failed = Instant::now();
        self.trouble = Some(why);
    }

    fn tell(&self) {
        let offered = self.offer.as_ref().filter(|(offer, _, _)| offer.listing.version > self.parts.running);
        let record = self.parts.privileged.record();
        self.parts.outcomes.take_over(&record, milliseconds());
        self.telling.send_replace(Status {
            wishes: self.wishes,
            offered: offered.map(|(offer, origin, _)| Offered {
                version: offer.listing.version,
                notes: offer.notes.clone(),
                turn: offer.turn.at(seconds()),
                origin: origin.clone(),
                bad: self.known_bad(offer.listing.version),
            }),
            installing: None,
            ready: self.ready(),
            last: record.last,
            bad: record.bad,
            trouble: self.trouble.clone(),
            looked: self.looked,
            unproven: self.unproven,
            sharing: self.lending.sharing.clone(),
        });
    }
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn milliseconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn hour_of_day() -> u8 {
    u8::try_from(seconds() / 3600 % 24).unwrap_or(0)
}

/// The wishes; what cannot be read counts as none.
fn read_wishes(folder: &std::path::Path) -> Wishes {
    let read = durable::Folder(folder.to_owned()).read(WISHES).unwrap_or_else(|error| {
        tracing::warn!(%error, "the settings of updates cannot be read");
        None
    });
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn keep_wishes(folder: &std::path::Path, wishes: Wishes) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let bytes = serde_json::to_vec(&wishes).map_err(std::io::Error::other)?;
    durable::replace(&durable::Folder(folder.to_owned()), WISHES, &bytes)
}
