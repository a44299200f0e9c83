//! The loop: looks, waits, installs, restarts; tells how it is; takes a keeper's orders.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cairn_bundle::Version;
use cairn_slots::{
    durable::{self, Files},
    record::Ended,
};
use tokio::sync::{mpsc, watch};

use super::{
    Offer, Privileged, Repository, Turn,
    fetch::Transport,
    install::{Pace, Progress, install},
    policy::{self, Situation, Step, Wishes},
};

/// The file with the keeper's wishes.
const WISHES: &str = "wishes.json";
/// Orders that may wait.
const MAX_ORDERS: usize = 8;

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
}

/// How updates are, for the page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// What the keeper decided.
    pub wishes: Wishes,
    /// What is offered, with what is new in it.
    pub offered: Option<(Version, String, bool)>,
    /// An install that goes on.
    pub installing: Option<(Version, Progress)>,
    /// What waits for the restart.
    pub ready: Option<Version>,
    /// How the last attempt ended.
    pub last: Option<Ended>,
    /// Why the last look or install failed.
    pub trouble: Option<String>,
    /// Whether the repository was looked at since the start, and how many seconds ago.
    pub looked: Option<u64>,
}

/// Everything that the loop stands on.
pub struct Parts {
    /// Whom to believe.
    pub repository: Arc<dyn Repository>,
    /// Where files are.
    pub transport: Arc<dyn Transport>,
    /// The supervisor.
    pub privileged: Arc<dyn Privileged>,
    /// The version that runs.
    pub running: Version,
    /// A folder of our own: wishes, and the evidence for the supervisor.
    pub folder: PathBuf,
    /// Consideration for people on the page.
    pub pace: Pace,
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
    looked: Option<Instant>,
    failures: u32,
    failed: Instant,
    offer: Option<Offer>,
    ready: Option<Version>,
    trouble: Option<String>,
}

impl Loop {
    fn new(parts: Parts, telling: watch::Sender<Status>) -> Self {
        let wishes = read_wishes(&parts.folder);
        Self {
            parts,
            telling,
            wishes,
            now: false,
            looked: None,
            failures: 0,
            failed: Instant::now(),
            offer: None,
            ready: None,
            trouble: None,
        }
    }

    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            self.tell();
            match policy::next(&self.situation()) {
                Step::Look => self.look().await,
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

    /// Waits for an order; `false` when nobody can give one any more.
    async fn listen(&mut self, orders: &mut mpsc::Receiver<Order>, time: Duration) -> bool {
        match tokio::time::timeout(time, orders.recv()).await {
            Ok(Some(order)) => {
                self.obey(order).await;
                true
            }
            Ok(None) => false,
            Err(_) => true,
        }
    }

    fn situation(&self) -> Situation {
        let known_bad = |version: Version| {
            self.parts.privileged.record().bad.iter().any(|bad| bad.release.version == version)
        };
        let offer = self.offer.as_ref().map(|offer| (offer.listing.version, offer.turn));
        Situation {
            wishes: self.wishes,
            now: self.now,
            hour: (self.parts.time_known)().then(hour_of_day),
            looked: self.looked.map(|looked| looked.elapsed()),
            failures: self.failures,
            failed: self.failed.elapsed(),
            offer: offer.filter(|(version, _)| *version > self.parts.running && !known_bad(*version)),
            ready: self.ready,
        }
    }

    async fn look(&mut self) {
        match self.parts.repository.check(self.parts.running).await {
            Ok(offer) => {
                self.offer = offer;
                self.looked = Some(Instant::now());
                self.failures = 0;
                self.trouble = None;
            }
            Err(error) => {
                self.looked = Some(Instant::now());
                self.fails(error);
            }
        }
    }

    /// `false` when nobody can give an order any more: the hub ends.
    async fn install(&mut self, orders: &mut mpsc::Receiver<Order>) -> bool {
        let Some(offer) = self.offer.clone() else { return true };
        let version = offer.listing.version;
        let (progress, mut following) = watch::channel(Progress::default());
        let evidence = self.parts.folder.join("evidence");
        let (transport, privileged) = (Arc::clone(&self.parts.transport), Arc::clone(&self.parts.privileged));
        let pace = self.parts.pace.clone();
        let work = async move {
            install(&offer, transport.as_ref(), privileged.as_ref(), evidence, &pace, &progress).await
        };
        let mut work = tokio::spawn(work);
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
        match outcome {
            Ok(Ok(())) => {
                tracing::info!(%version, "a new system is written and checked; it is tried at the next restart");
                self.ready = Some(version);
                self.failures = 0;
                self.trouble = None;
            }
            Ok(Err(error)) => {
                self.now = false;
                self.fails(error.to_string());
            }
            Err(stopped) if stopped.is_cancelled() => tracing::info!("the install is paused"),
            Err(error) => self.fails(error.to_string()),
        }
        goes_on
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Now => self.now = true,
            Order::Look => self.looked = None,
            Order::Wish(wishes) => match keep_wishes(&self.parts.folder, wishes) {
                Ok(()) => {
                    self.wishes = wishes;
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
        self.tell();
    }

    fn fails(&mut self, why: String) {
        tracing::warn!(why, "updates");
        self.failures = self.failures.saturating_add(1);
        self.failed = Instant::now();
        self.trouble = Some(why);
    }

    fn tell(&self) {
        let offered = self.offer.as_ref().filter(|offer| offer.listing.version > self.parts.running);
        self.telling.send_replace(Status {
            wishes: self.wishes,
            offered: offered
                .map(|offer| (offer.listing.version, offer.notes.clone(), offer.turn == Turn::Come)),
            installing: None,
            ready: self.ready,
            last: self.parts.privileged.record().last,
            trouble: self.trouble.clone(),
            looked: self.looked.map(|looked| looked.elapsed().as_secs()),
        });
    }
}

fn hour_of_day() -> u8 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u8::try_from(since.as_secs() / 3600 % 24).unwrap_or(0)
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
