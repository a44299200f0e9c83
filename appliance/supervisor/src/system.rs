//! The privileged side of updates, on a thread of its own: gives out handles, reads a written slot back, flips, judges a system on trial,
//! and says when to restart.
//!
//! A thread, because reading a slot back takes minutes on a slow card and the watchdogs must be fed meanwhile. Steps and their order stand in
//! `cairn-slots`; who signed what is said by a [`Vouch`].

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use cairn_bundle::{Digest, Manifest, PayloadKind, Version};
use cairn_slots::{
    BootControl, BootFlow, FileDevice, Partitions, SlotId, System, SystemError,
    boot_control::Places,
    durable::Folder,
    health::{Checkup, Failure, Finding, Probe, Verdict},
    record::{Record, Then},
    tryboot::{Numbers, Tryboot},
};
use serde::{Deserialize, Serialize};

/// Orders that may wait.
const MAX_ORDERS: usize = 32;
/// News that may wait.
const MAX_NEWS: usize = 32;
/// Longest wait for an order, so that no deadline depends on one timer.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What the hub asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateOrder {
    /// Handles of both slots.
    Open,
    /// The slot is written: check it against what is signed in this folder, and try it at the next start.
    Try(PathBuf),
    /// Restart into it.
    Restart,
    /// Forget that this version failed.
    TryAgain(Version),
    /// What a probe of the hub's found.
    Probe(Probe, Finding),
}

/// A partition of one of the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotPart {
    /// Of the slot that is written, or of the one that runs.
    pub target: bool,
    /// Which of its two.
    pub kind: PayloadKind,
}

/// What the hub is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateNews {
    /// A handle comes with this message. Four of them answer [`UpdateOrder::Open`].
    Part(SlotPart),
    /// The answer to [`UpdateOrder::Try`].
    Ready,
    /// Something was refused.
    Refused(String),
    /// What is remembered, and whether this start is a trial. At the start and after every change.
    State(Box<SystemState>),
}

/// How the system is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemState {
    /// The slot that runs.
    pub running: SlotId,
    /// Whether it has yet to prove itself.
    pub on_trial: bool,
    /// What is remembered.
    pub record: Record,
}

/// Says what was signed. The supervisor does not take the hub's word for it.
pub trait Vouch: Send {
    /// The manifest in `evidence`, where enough keys that this device trusts have signed it for this board, and its hash.
    ///
    /// # Errors
    /// In words for people.
    fn vouch(&mut self, evidence: &Path) -> Result<(Manifest, Digest), String>;
}

/// How this board chooses its slot.
#[derive(Debug, Clone)]
pub enum Choice {
    /// The block on the card's raw sectors.
    Block {
        /// The whole card.
        card: PathBuf,
        /// Where the copies lie.
        places: Places,
    },
    /// The firmware's file.
    Tryboot {
        /// `autoboot.txt`, of exactly 512 bytes.
        file: PathBuf,
        /// Partitions by number.
        numbers: Numbers,
    },
}

/// What the thread needs to know.
pub struct SystemConfig {
    /// How this board chooses its slot.
    pub choice: Choice,
    /// The partitions of slots A and B.
    pub partitions: [Partitions<PathBuf>; 2],
    /// A folder for the record.
    pub state: PathBuf,
    /// The slot that the kernel runs, from its command line.
    pub running: SlotId,
    /// Whether the boot loader said that this is a trial.
    pub trial: bool,
    /// The version that runs.
    pub version: Version,
    /// Who signed what.
    pub vouch: Box<dyn Vouch>,
}

impl std::fmt::Debug for SystemConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SystemConfig")
            .field("choice", &self.choice)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// What comes from the thread.
#[derive(Debug)]
pub enum SystemNews {
    /// For the hub, with a descriptor.
    ToHub(UpdateNews, Option<OwnedFd>),
    /// Restart the device now, with this argument.
    Restart(Option<&'static str>),
}

/// The thread's handle. It ends with it.
#[derive(Debug)]
pub struct SystemThread {
    orders: mpsc::SyncSender<UpdateOrder>,
}

impl SystemThread {
    /// Starts it. What an earlier trial left behind is settled first.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(config: SystemConfig) -> io::Result<(Self, tokio::sync::mpsc::Receiver<SystemNews>)> {
        let (orders, incoming) = mpsc::sync_channel(MAX_ORDERS);
        let (news, hear) = tokio::sync::mpsc::channel(MAX_NEWS);
        std::thread::Builder::new().name("system".to_owned()).spawn(move || {
            match Work::new(config, news) {
                Ok(work) => work.run(&incoming),
                Err(error) => tracing::error!(%error, "this device cannot be updated"),
            }
        })?;
        Ok((Self { orders }, hear))
    }

    /// Gives an order; `false` when the thread has too much to do, or is gone.
    #[must_use]
    pub fn order(&self, order: UpdateOrder) -> bool {
        self.orders.try_send(order).is_ok()
    }
}

struct Work {
    system: System<Box<dyn BootFlow + Send>, Folder>,
    partitions: [Partitions<PathBuf>; 2],
    vouch: Box<dyn Vouch>,
    news: tokio::sync::mpsc::Sender<SystemNews>,
    started: Instant,
    /// Of a system on trial.
    checkup: Option<Checkup>,
}

fn device(path: &Path, write: bool) -> io::Result<FileDevice> {
    let file = OpenOptions::new().read(true).write(write).open(path)?;
    FileDevice::new(file).map_err(io::Error::other)
}

impl Work {
    fn new(config: SystemConfig, news: tokio::sync::mpsc::Sender<SystemNews>) -> io::Result<Self> {
        let boot: Box<dyn BootFlow + Send> = match &config.choice {
            Choice::Block { card, places } => Box::new(BootControl::new(device(card, true)?, *places)),
            Choice::Tryboot { file, numbers } => Box::new(Tryboot::new(device(file, true)?, *numbers)),
        };
        std::fs::create_dir_all(&config.state)?;
        let system = System::new(boot, Folder(config.state), config.running, config.version);
        let mut work = Self {
            system,
            partitions: config.partitions,
            vouch: config.vouch,
            news,
            started: Instant::now(),
            checkup: None,
        };
        match work.system.start() {
            Ok(Then::ProveItself) => {
                let mut checkup = Checkup::default();
                let slot = if config.trial {
                    Finding::Passed
                } else {
                    Finding::Failed("the boot loader did not say that this start is a trial".to_owned())
                };
                checkup.note(Probe::Slot, slot);
                tracing::info!(slot = %work.system.running(), "this system is on trial");
                work.checkup = Some(checkup);
            }
            Ok(Then::GiveUp) => tracing::warn!("a new system failed; the old one is back"),
            Ok(Then::Nothing) => {}
            Err(error) => tracing::error!(%error, "what an earlier update left behind could not be settled"),
        }
        Ok(work)
    }

    fn run(mut self, orders: &mpsc::Receiver<UpdateOrder>) {
        self.tell_state();
        loop {
            let wait = self.judge().unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
            match orders.recv_timeout(wait) {
                Ok(order) => {
                    if let Err(refused) = self.obey(order) {
                        tracing::warn!(refused, "update");
                        self.tell(UpdateNews::Refused(refused), None);
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tell(&self, news: UpdateNews, descriptor: Option<OwnedFd>) {
        // A supervisor that ends does not listen any more.
        drop(self.news.blocking_send(SystemNews::ToHub(news, descriptor)));
    }

    fn tell_state(&self) {
        match self.system.record() {
            Ok(record) => {
                let (running, on_trial) = (self.system.running(), self.checkup.is_some());
                self.tell(UpdateNews::State(Box::new(SystemState { running, on_trial, record })), None);
            }
            Err(error) => tracing::error!(%error, "the record of updates"),
        }
    }

    /// Looks at the checkup; how long until it is to be looked at again.
    fn judge(&mut self) -> Option<Duration> {
        let age = self.started.elapsed();
        match self.checkup.as_ref()?.verdict(age) {
            Verdict::WaitUntil(deadline) => return Some(deadline.saturating_sub(age)),
            Verdict::Healthy => match self.system.confirm() {
                Ok(()) => tracing::info!("this system has proved itself and stays"),
                Err(error) => {
                    let reason = format!("it could not be confirmed: {error}");
                    self.give_back(&Failure { probe: None, reason });
                }
            },
            Verdict::Failed(failure) => self.give_back(&failure),
        }
        self.checkup = None;
        self.tell_state();
        None
    }

    fn give_back(&self, failure: &Failure) {
        tracing::error!(%failure, "this system is unfit; the old one comes back");
        if let Err(error) = self.system.fail(failure.clone()) {
            tracing::error!(%error, "the reason could not be written down");
        }
        // The default is the old system: any restart goes there.
        drop(self.news.blocking_send(SystemNews::Restart(None)));
    }

    fn obey(&mut self, order: UpdateOrder) -> Result<(), String> {
        match order {
            UpdateOrder::Open => self.open().map_err(|error| error.to_string())?,
            UpdateOrder::Try(evidence) => {
                let (manifest, hash) = self.vouch.vouch(&evidence)?;
                let slot = self.system.running().other();
                let fresh =
                    self.fresh(slot).map_err(|error| format!("slot {slot} cannot be read: {error}"))?;
                self.system.try_new(&fresh, &manifest, hash, || {}).map_err(|error| error.to_string())?;
                tracing::info!(version = %manifest.version, %slot, "checked; the next start tries it");
                self.tell(UpdateNews::Ready, None);
            }
            UpdateOrder::Restart => {
                self.system.arm().map_err(|error| error.to_string())?;
                let argument = self.system.capabilities().restart_argument;
                drop(self.news.blocking_send(SystemNews::Restart(argument)));
                return Ok(());
            }
            UpdateOrder::TryAgain(version) => {
                self.system.try_again(version).map_err(|error| error.to_string())?
            }
            UpdateOrder::Probe(probe, finding) => {
                if let Some(checkup) = &mut self.checkup {
                    tracing::info!(%probe, ?finding, "health");
                    checkup.note(probe, finding);
                }
                return Ok(());
            }
        }
        self.tell_state();
        Ok(())
    }

    fn paths(&self, slot: SlotId) -> &Partitions<PathBuf> {
        let [a, b] = &self.partitions;
        if slot == SlotId::A { a } else { b }
    }

    /// Handles that read from the card, not from what was just written to it.
    fn fresh(&self, slot: SlotId) -> io::Result<Partitions<FileDevice>> {
        let open = |kind| {
            let opened = device(self.paths(slot).of(kind), false)?;
            opened.forget_cached();
            Ok::<_, io::Error>(opened)
        };
        Ok(Partitions { boot: open(PayloadKind::Boot)?, root: open(PayloadKind::Root)? })
    }

    fn open(&self) -> Result<(), SystemError> {
        let target = self.system.open_for_writing()?;
        for kind in PayloadKind::ALL {
            let running = File::open(self.paths(target.other()).of(kind))?;
            self.tell(UpdateNews::Part(SlotPart { target: false, kind }), Some(running.into()));
            let writing = OpenOptions::new().read(true).write(true).open(self.paths(target).of(kind))?;
            self.tell(UpdateNews::Part(SlotPart { target: true, kind }), Some(writing.into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
