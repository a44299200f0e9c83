//! Carrying out: starts processes, passes messages, feeds watchdogs, until told to end.
//!
//! Must run on a current-thread runtime: roles ask the kernel to end them with the thread that started them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    hash::{BuildHasher, RandomState},
    io,
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use cairn_device::{
    board::{self, Board},
    concern::Concern,
};
use cairn_slots::health::{Finding, Probe};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
};

use crate::{
    device::{Device, DeviceConfig},
    link::shortened,
    message::{FromRole, Role, ToRole},
    notify::Notify,
    policy::{self, Action, Event, Phase, Policy, State},
    running::{Heard, News, Running},
    status::{RoleHealth, RoleStatus, TreeStatus},
    system::{SystemConfig, SystemNews, SystemState, SystemThread, UpdateNews, UpdateOrder},
    watchdog::{self, Watchdog},
};

/// News that may wait for the loop.
const MAX_NEWS: usize = 64;
/// How often the hub is told how the tree is.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// So many failures of one role in a row are the end of a system's trial. It is counted again from each time that the role was well for long.
const CRASHES_ON_TRIAL: u32 = 6;
/// Longest sleep of the loop, so that it never depends on one timer being right.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// How to start and judge one role.
#[derive(Debug, Clone)]
pub struct RoleSpec {
    /// Arguments of this same binary.
    pub arguments: Vec<OsString>,
    /// Variables of its environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Its times.
    pub policy: Policy,
}

/// What the tree needs to know.
#[derive(Debug)]
pub struct TreeConfig {
    /// How to start the hub.
    pub hub: RoleSpec,
    /// How to start infer.
    pub infer: RoleSpec,
    /// A folder on the file system whose free space matters.
    pub data: PathBuf,
    /// The hardware watchdog's device; none is used without it.
    pub watchdog: Option<PathBuf>,
    /// The service manager.
    pub notify: Notify,
    /// The device, when the hub is its system and not a guest on a computer.
    pub device: Option<DeviceConfig>,
    /// The device's system, where it has two slots and can be updated.
    pub system: Option<SystemConfig>,
}

/// Why the tree could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] io::Error),
    /// A role had to be killed at the end instead of ending in order.
    #[error("{0} did not end in time and was killed; what it had confirmed is kept")]
    Unclean(Role),
}

/// How the tree ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to.
    Asked,
    /// The system wants a restart, and nobody here can make one: whoever started the tree starts it anew from the slot that boot
    /// control says, with this argument where the board needs one.
    Restart(Option<&'static str>),
}

/// The next of the system's news; never, where there is no system or no thread any more.
async fn next(news: &mut Option<mpsc::Receiver<SystemNews>>) -> Option<SystemNews> {
    let heard = match news {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    };
    if heard.is_none() {
        *news = None;
    }
    heard
}

struct Branch {
    spec: RoleSpec,
    state: State,
    running: Option<Running>,
    /// Why its process is about to end, by its own account.
    last_words: Option<String>,
    generations: u64,
    killed_at_end: bool,
}

/// The supervisor at work.
pub struct Tree {
    started: Instant,
    branches: BTreeMap<Role, Branch>,
    data: PathBuf,
    notify: Notify,
    watchdog: Option<Watchdog>,
    watchdogs: Vec<String>,
    device: Option<Device>,
    system: Option<SystemThread>,
    system_news: Option<mpsc::Receiver<SystemNews>>,
    /// The newest state of the system, for a hub that starts later.
    system_state: Option<Box<SystemState>>,
    /// A restart that the tree cannot make itself.
    restart: Option<Option<&'static str>>,
    /// The hub's end of the newest inference channel, until there is a hub to take it.
    for_hub: Option<UnixStream>,
    news: mpsc::Sender<News>,
    incoming: mpsc::Receiver<News>,
    ready_told: bool,
    random: RandomState,
    draws: u64,
}

impl Tree {
    /// Prepares the tree and opens the hardware watchdog. A watchdog that cannot be opened is told, not fatal.
    #[must_use]
    pub fn new(config: TreeConfig) -> Self {
        let (news, incoming) = mpsc::channel(MAX_NEWS);
        let mut watchdogs = Vec::new();
        if let Some(interval) = config.notify.interval() {
            watchdogs.push(format!("service manager, every {} ms", interval.as_millis()));
        }
        let path = config.watchdog.unwrap_or_else(|| PathBuf::from(watchdog::DEVICE));
        let watchdog = match Watchdog::open(&path) {
            Ok(Some(watchdog)) => {
                watchdogs.push(format!("hardware, every {} ms", watchdog.interval().as_millis()));
                Some(watchdog)
            }
            Ok(None) => None,
            // As on the appliance: systemd took it over from the initramfs, and feeds it as long as it lives itself.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                watchdogs.push("hardware, by the service manager".to_owned());
                None
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the hardware watchdog is not fed by us");
                None
            }
        };
        let started = config.system.and_then(|system| {
            SystemThread::start(system)
                .inspect_err(|error| tracing::error!(%error, "this device cannot be updated"))
                .ok()
        });
        let (system, system_news) = started.unzip();
        let branch = |spec| Branch {
            spec,
            state: State::NEW,
            running: None,
            last_words: None,
            generations: 0,
            killed_at_end: false,
        };
        let branches = [(Role::Hub, branch(config.hub)), (Role::Infer, branch(config.infer))];
        Self {
            started: Instant::now(),
            branches: BTreeMap::from(branches),
            data: config.data,
            notify: config.notify,
            watchdog,
            watchdogs,
            device: config.device.map(Device::new),
            system,
            system_news,
            system_state: None,
            restart: None,
            for_hub: None,
            news,
            incoming,
            ready_told: false,
            random: RandomState::new(),
            draws: 0,
        }
    }

    /// Runs until SIGTERM or SIGINT, then ends the roles in order. A second signal ends them at once.
    ///
    /// # Errors
    /// [`TreeError::Unclean`] when a role had to be killed at the end.
    pub async fn run(mut self) -> Result<End, TreeError> {
        let mut terminate = signal(SignalKind::terminate()).map_err(TreeError::Signals)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(TreeError::Signals)?;
        for role in Role::ALL {
            self.happens(role, Event::Start);
        }
        let mut next_status = Instant::now();
        let mut next_sign_of_life = Instant::now();
        let mut ending = false;
        loop {
            let now = Instant::now();
            if now >= next_sign_of_life {
                next_sign_of_life = now + self.give_sign_of_life();
            }
            if now >= next_status {
                next_status = now + STATUS_EVERY;
                self.tell_status();
            }
            for role in Role::ALL {
                let due =
                    self.branches.get(&role).and_then(|branch| branch.state.wake_at(&branch.spec.policy));
                if due.is_some_and(|due| due <= self.age()) {
                    self.happens(role, Event::Tick);
                }
            }
            if self.restart.is_some() && !ending {
                self.asked_to_end(&mut ending);
            }
            if ending && !self.end_next() {
                return self.finish();
            }
            let wake = self.next_wake().min(next_status).min(next_sign_of_life);
            tokio::select! {
                Some(news) = self.incoming.recv() => self.hear(news),
                Some(news) = next(&mut self.system_news) => self.hear_system(news),
                _ = terminate.recv() => self.asked_to_end(&mut ending),
                _ = interrupt.recv() => self.asked_to_end(&mut ending),
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn age(&self) -> policy::Instant {
        self.started.elapsed()
    }

    fn next_wake(&self) -> Instant {
        let dues = self.branches.values().filter_map(|branch| branch.state.wake_at(&branch.spec.policy));
        dues.map(|due| self.started + due).min().unwrap_or(self.started + self.age() + LONGEST_SLEEP)
    }

    /// Lets `event` happen to `role` and does what follows from it, until nothing more follows.
    fn happens(&mut self, role: Role, event: Event) {
        let mut next = Some(event);
        // Each round either starts or ends something; a spawn that fails adds one.
        while let Some(event) = next.take() {
            let (now, jitter) = (self.age(), self.draw());
            let Some(branch) = self.branches.get_mut(&role) else { return };
            let before = branch.state.clone();
            let (state, actions) = policy::step(before.clone(), event, now, &branch.spec.policy, jitter);
            branch.state = state;
            say(role, &before, &branch.state);
            for action in actions {
                next = match action {
                    Action::Spawn => self
                        .spawn(role)
                        .err()
                        .map(|error| Event::NotStarted(format!("it could not be started: {error}"))),
                    Action::Ping(number) => self.tell(role, ToRole::Ping(number)),
                    Action::AskToStop => self.tell(role, ToRole::Shutdown),
                    Action::Kill => {
                        self.kill(role);
                        None
                    }
                };
            }
        }
    }

    /// Sends a message; a role that does not read any more has broken its channel.
    fn tell(&mut self, role: Role, message: ToRole) -> Option<Event> {
        let running = self.branches.get(&role)?.running.as_ref()?;
        (!running.tell(message, None))
            .then(|| Event::Broken("it has stopped reading its messages".to_owned()))
    }

    fn kill(&mut self, role: Role) {
        if let Some(branch) = self.branches.get_mut(&role) {
            branch.killed_at_end |= matches!(branch.state.phase, Phase::Stopping { .. });
            if let Some(running) = &mut branch.running {
                running.kill();
            }
        }
    }

    fn spawn(&mut self, role: Role) -> io::Result<()> {
        let inference = match role {
            Role::Hub => None,
            Role::Infer => {
                let (hub, infer) = UnixStream::pair()?;
                self.for_hub = Some(hub);
                Some(infer)
            }
        };
        let Some(branch) = self.branches.get_mut(&role) else { return Ok(()) };
        branch.generations += 1;
        let running = Running::start(role, branch.generations, &branch.spec, inference, self.news.clone())?;
        tracing::info!(%role, pid = running.pid, "started");
        branch.running = Some(running);
        branch.last_words = None;
        if role == Role::Infer {
            self.connect_hub();
        }
        Ok(())
    }

    /// Hands the hub its end of the inference channel, once both are there.
    fn connect_hub(&mut self) {
        let hub = self.branches.get(&Role::Hub).and_then(|branch| branch.running.as_ref());
        let Some(hub) = hub.filter(|hub| hub.confinement.is_some()) else { return };
        if let Some(stream) = self.for_hub.take()
            && !hub.tell(ToRole::Inference, Some(stream.into()))
        {
            self.happens(Role::Hub, Event::Broken("it has stopped reading its messages".to_owned()));
        }
    }

    /// A hub that died took its end of the inference channel with it: a running infer gets another.
    fn renew_inference(&mut self) {
        let infer = self.branches.get(&Role::Infer).and_then(|branch| branch.running.as_ref());
        let Some(infer) = infer else { return };
        match UnixStream::pair() {
            Ok((hub, theirs)) => {
                if infer.tell(ToRole::Inference, Some(theirs.into())) {
                    self.for_hub = Some(hub);
                } else {
                    self.happens(
                        Role::Infer,
                        Event::Broken("it has stopped reading its messages".to_owned()),
                    );
                }
            }
            Err(error) => self.happens(Role::Infer, Event::Broken(format!("no new channel for it: {error}"))),
        }
    }

    fn hear(&mut self, news: News) {
        let News { role, generation, heard } = news;
        let Some(branch) = self.branches.get_mut(&role) else { return };
        let Some(running) = branch.running.as_mut().filter(|running| running.generation == generation) else {
            return;
        };
        match heard {
            Heard::Message(FromRole::Hello(report)) => {
                for lack in &report.lacking {
                    tracing::warn!(%role, measure = %lack.measure, reason = lack.detail, "not fully confined");
                }
                running.confinement = Some(report);
                if role == Role::Hub {
                    self.connect_hub();
                }
            }
            Heard::Message(FromRole::Busy(why)) => {
                tracing::info!(%role, why, "still starting");
                self.notify.status(&why);
                self.happens(role, Event::Busy);
            }
            Heard::Message(FromRole::Ready) => {
                self.happens(role, Event::Ready);
                if role == Role::Hub && !std::mem::replace(&mut self.ready_told, true) {
                    self.notify.ready("serving the page");
                }
                self.tell_probes();
                if role == Role::Hub
                    && let Some(state) = self.system_state.clone()
                {
                    self.tell(role, ToRole::Update(UpdateNews::State(state)));
                }
                self.tell_status();
            }
            Heard::Message(FromRole::LastWords(why)) => branch.last_words = Some(shortened(&why)),
            Heard::Message(FromRole::Pong(_)) => self.happens(role, Event::Alive),
            Heard::Message(FromRole::Restart(which)) => {
                tracing::info!(%role, %which, "a restart was asked for");
                self.happens(which, Event::RestartAsked);
            }
            Heard::Message(FromRole::Update(order)) => match &self.system {
                Some(system) if role == Role::Hub => {
                    if !system.order(order) {
                        tracing::error!("the thread of the device's system does not take orders");
                    }
                }
                Some(_) => tracing::warn!(%role, "only the hub may ask for updates"),
                None => tracing::debug!(?order, "this hub's system has no slots of ours"),
            },
            Heard::Message(FromRole::Device(order)) => match &mut self.device {
                Some(device) if role == Role::Hub => {
                    device.obey(order);
                    self.tell_status();
                }
                Some(_) => tracing::warn!(%role, ?order, "only the hub may ask this of the device"),
                None => tracing::warn!(?order, "this hub is a guest on a computer: nothing is done to it"),
            },
            Heard::Broken(why) => self.happens(role, Event::Broken(why)),
            Heard::Exited(why) => {
                branch.running = None;
                let why = match branch.last_words.take() {
                    Some(words) => format!("{why}: {words}"),
                    None => why,
                };
                let ending = matches!(branch.state.phase, Phase::Stopping { .. });
                self.happens(role, Event::Exited(why));
                self.tell_crashes(role);
                if role == Role::Hub && !ending {
                    self.renew_inference();
                }
                self.tell_status();
            }
        }
    }

    fn hear_system(&mut self, news: SystemNews) {
        match news {
            SystemNews::ToHub(news, descriptor) => {
                if let UpdateNews::State(state) = &news {
                    self.system_state = Some(state.clone());
                }
                let hub = self.branches.get(&Role::Hub).and_then(|branch| branch.running.as_ref());
                // What it did not hear it asks for again; a queue that is full is noticed by the next ping.
                if !hub.is_some_and(|hub| hub.tell(ToRole::Update(news), descriptor)) {
                    tracing::warn!("the hub could not be told of its update");
                }
            }
            SystemNews::Restart(argument) => match &self.device {
                Some(device) => device.restart(argument),
                None => self.restart = Some(argument),
            },
        }
    }

    /// What the supervisor itself knows of a system on trial.
    fn tell_probes(&self) {
        let Some(system) = &self.system else { return };
        let ready = |role| {
            self.branches.get(&role).is_some_and(|branch| health(&branch.state.phase) == RoleHealth::Ready)
        };
        let (hub, infer) = (ready(Role::Hub), ready(Role::Infer));
        for (probe, holds) in [(Probe::Inference, infer), (Probe::Supervisor, hub && infer)] {
            if holds && !system.order(UpdateOrder::Probe(probe, Finding::Passed)) {
                tracing::error!(%probe, "the thread of the device's system does not take orders");
            }
        }
    }

    /// A part of a system on trial that dies again and again does not get well by waiting.
    fn tell_crashes(&self, role: Role) {
        let Some((system, branch)) = self.system.as_ref().zip(self.branches.get(&role)) else { return };
        if branch.state.failures < CRASHES_ON_TRIAL {
            return;
        }
        let why = branch.state.last_failure.as_deref().unwrap_or("it died");
        let reason = format!("{role} failed {} times in a row: {why}", branch.state.failures);
        if !system.order(UpdateOrder::Probe(Probe::Supervisor, Finding::Failed(reason))) {
            tracing::error!("the thread of the device's system does not take orders");
        }
    }

    fn asked_to_end(&mut self, ending: &mut bool) {
        if std::mem::replace(ending, true) {
            tracing::warn!("asked again to end: ending at once");
            for role in Role::ALL {
                self.happens(role, Event::Kill);
            }
        } else {
            tracing::info!("ending in order");
            self.notify.stopping();
        }
    }

    /// Ends the first role that still runs. `false` when all have ended.
    fn end_next(&mut self) -> bool {
        for role in Role::ALL {
            let Some(phase) = self.branches.get(&role).map(|branch| branch.state.phase) else { continue };
            match phase {
                Phase::Stopped => {}
                Phase::Stopping { .. } => return true,
                _ => {
                    self.happens(role, Event::Stop);
                    if self.branches.get(&role).is_some_and(|branch| branch.state.phase != Phase::Stopped) {
                        return true;
                    }
                }
            }
        }
        false
    }

    fn finish(mut self) -> Result<End, TreeError> {
        if let Some(watchdog) = self.watchdog.take()
            && let Err(error) = watchdog.disarm()
        {
            tracing::error!(%error, "the hardware watchdog could not be switched off; it will reset the board");
        }
        match self.branches.iter().find(|(_, branch)| branch.killed_at_end) {
            Some((role, _)) => Err(TreeError::Unclean(*role)),
            None => Ok(self.restart.map_or(End::Asked, End::Restart)),
        }
    }

    /// Feeds the watchdogs; returns when they are due again.
    fn give_sign_of_life(&mut self) -> Duration {
        self.notify.alive();
        if let Some(watchdog) = &mut self.watchdog
            && let Err(error) = watchdog.feed()
        {
            tracing::error!(%error, "the hardware watchdog could not be fed");
        }
        let hardware = self.watchdog.as_ref().map(Watchdog::interval);
        [self.notify.interval(), hardware].into_iter().flatten().min().unwrap_or(LONGEST_SLEEP)
    }

    /// How the tree is now.
    fn status(&self) -> TreeStatus {
        let roles = self.branches.iter().map(|(role, branch)| {
            let pid = branch.running.as_ref().and_then(|running| running.pid);
            RoleStatus {
                role: *role,
                health: health(&branch.state.phase),
                pid,
                restarts: branch.state.restarts,
                last_failure: branch.state.last_failure.clone(),
                memory: pid.and_then(board::memory_of),
                confinement: branch.running.as_ref().and_then(|running| running.confinement.clone()),
            }
        });
        let board = Board::read(&self.data);
        TreeStatus {
            uptime_s: self.age().as_secs(),
            memory: board::memory_of(std::process::id()),
            roles: roles.collect(),
            concerns: Concern::of(&board),
            board,
            watchdogs: self.watchdogs.clone(),
        }
    }

    fn tell_status(&mut self) {
        let status = self.status();
        if let Some(device) = &mut self.device {
            device.show(&status);
        }
        let hub = self.branches.get(&Role::Hub).and_then(|branch| branch.running.as_ref());
        if let Some(hub) = hub.filter(|hub| hub.confinement.is_some())
            && !hub.tell(ToRole::Status(Box::new(status)), None)
        {
            // Its silence will be noticed by the pings; a status is no reason to end a hub.
            tracing::debug!("the hub did not take the status");
        }
    }

    /// A number in 0..1 for jitter: nothing depends on its quality.
    fn draw(&mut self) -> f64 {
        self.draws = self.draws.wrapping_add(1);
        (self.random.hash_one(self.draws) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const fn health(phase: &Phase) -> RoleHealth {
    match phase {
        Phase::Stopped | Phase::Stopping { .. } => RoleHealth::Stopped,
        Phase::Starting { .. } => RoleHealth::Starting,
        Phase::Ready { .. } => RoleHealth::Ready,
        Phase::Killed | Phase::Waiting { .. } => RoleHealth::Failing,
    }
}

/// Logs what changed, once.
fn say(role: Role, before: &State, after: &State) {
    if std::mem::discriminant(&before.phase) == std::mem::discriminant(&after.phase) {
        return;
    }
    match after.phase {
        Phase::Ready { .. } => tracing::info!(%role, restarts = after.restarts, "ready"),
        Phase::Stopped => tracing::info!(%role, "ended"),
        Phase::Killed => {
            tracing::warn!(%role, reason = after.last_failure.as_deref().unwrap_or_default(), "killed");
        }
        Phase::Waiting { until } => tracing::warn!(
            %role,
            reason = after.last_failure.as_deref().unwrap_or_default(),
            failures = after.failures,
            again_at_s = until.as_secs_f32(),
            "failed; it will be started again"
        ),
        Phase::Starting { .. } | Phase::Stopping { .. } => {}
    }
}
