//! The loop around the session: it carries out what the session decides, and tells it what came of it.
//!
//! One task per hub. It waits for the first of: the session's own time, a wish from the page or the command line, a
//! change in the store, an event of the held stream. Rounds are awaited where they are started, so that there is never
//! more than one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_store::{Fact, LogEntry, Store, SyncError, SyncFigures, TakenIn};
use cairn_sync::{
    backoff::Backoff,
    http::Event,
    session::{Command, Failure, Input, Session, Stop, Way, Why},
    wire::MAX_RECORDS,
};
use tokio::sync::{broadcast, mpsc, watch};

use super::{
    BestTime, Client, ClientError, Enrolment, GatewayUrl, Mode, SystemClock, Transport, Ways, enrol, events,
    files, random, report, time,
};

/// Wishes that may wait; more of them say nothing new.
const WISHES: usize = 16;
/// The first and the longest bound of the time until a lost stream is held again. The time itself is drawn from zero to
/// that: hubs that lost an instance together must not return together.
const STREAM_AGAIN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(300));
/// A live hub whose stream is down asks this often by itself, in milliseconds.
const POLL_MS: u64 = 60_000;
/// How often the gateway is asked for the time.
const TIME_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// Rounds in a row that go on at once because a scope did not add up. After that it waits for its time: a scope that
/// never adds up must not be read over and over.
const HEALING_ROUNDS: u32 = 2;
/// What synchronisation is doing, for pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The hub is not enrolled with a gateway.
    NotEnrolled,
    /// It is enrolled, and its keeper wants to work without the gateway.
    Local,
    /// Nothing to do until the next event.
    Idle,
    /// A round is under way.
    Busy,
    /// The last round failed; another one follows by itself.
    Waiting,
    /// It stopped until a person does something; why, in words.
    Stopped(String),
}

/// Where synchronisation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// The gateway's address, where the hub is enrolled.
    pub gateway: Option<String>,
    /// The community's name.
    pub community: Option<String>,
    /// When and how.
    pub ways: Ways,
    /// What is left.
    pub figures: SyncFigures,
    /// When the last round worked, by the best known time, in milliseconds since 1970.
    pub last_success_ms: Option<u64>,
    /// Why the last round failed, where it did.
    pub trouble: Option<String>,
    /// Whether a held stream stands.
    pub live: bool,
    /// Hubs that hold a stream too, by name.
    pub present: Vec<String>,
}

enum Wish {
    Round(Why),
    Reload,
}

/// A handle to the loop. Cheap to clone.
#[derive(Clone)]
pub struct Sync {
    wishes: mpsc::Sender<Wish>,
    status: watch::Receiver<Status>,
    clock: Arc<BestTime>,
    store: Store,
}

/// The loop's task; ends when it is dropped.
pub struct Running(tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sync {
    /// Starts the loop. It serves a hub that is not enrolled too, and begins when it is.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        store: Store,
        name: String,
        system: Option<Arc<dyn SystemClock>>,
    ) -> cairn_store::Result<(Self, Running)> {
        let clock = BestTime::load(&store).await?;
        let ways = store.sync_fact::<Ways>(Fact::Ways).await?.unwrap_or_default();
        let (wishes, wished) = mpsc::channel(WISHES);
        let (told, status) = watch::channel(Status {
            state: State::NotEnrolled,
            gateway: None,
            community: None,
            ways,
            figures: SyncFigures::default(),
            last_success_ms: None,
            trouble: None,
            live: false,
            present: Vec::new(),
        });
        let looping = Loop {
            store: store.clone(),
            name,
            system,
            clock: Arc::clone(&clock),
            began: Instant::now(),
            told,
            healing: 0,
            asked_time: None,
            exchange: files::Exchange::default(),
            reports: report::Reports::default(),
            change_key: false,
        };
        let task = tokio::spawn(looping.run(wished));
        Ok((Self { wishes, status, clock, store }, Running(task)))
    }

    /// Where it stands now.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Follows where it stands.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// A person asks for a round. Returns at once.
    pub fn now(&self) {
        self.wish(Wish::Round(Why::Person));
    }

    /// The network came back.
    pub fn reconnected(&self) {
        self.wish(Wish::Round(Why::Reconnected));
    }

    fn wish(&self, wish: Wish) {
        if self.wishes.try_send(wish).is_err() {
            tracing::debug!("enough wishes for synchronisation wait already");
        }
    }

    /// Sets when and how.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn set_ways(&self, ways: Ways) -> cairn_store::Result<()> {
        self.store.set_sync_fact(Fact::Ways, Some(&ways)).await?;
        self.wish(Wish::Reload);
        Ok(())
    }

    /// Enrols this hub with a gateway; synchronisation begins then.
    ///
    /// # Errors
    /// [`super::EnrolError`].
    pub async fn enrol(
        &self,
        token: &str,
        url: &str,
        transport: Transport,
        name: &str,
    ) -> Result<Enrolment, super::EnrolError> {
        let enrolment = enrol::enrol(&self.store, &self.clock, token, url, transport, name).await?;
        self.wish(Wish::Reload);
        Ok(enrolment)
    }

    /// The best known time.
    #[must_use]
    pub fn clock(&self) -> &Arc<BestTime> {
        &self.clock
    }
}

struct Loop {
    store: Store,
    name: String,
    system: Option<Arc<dyn SystemClock>>,
    clock: Arc<BestTime>,
    began: Instant,
    told: watch::Sender<Status>,
    healing: u32,
    asked_time: Option<Instant>,
    exchange: files::Exchange,
    reports: report::Reports,
    /// The gateway wants this hub to change its key.
    change_key: bool,
}

/// What woke the loop.
enum Woken {
    Time,
    Wish(Option<Wish>),
    Changed,
    Event(Event),
    StreamEnded,
}

/// What came of one life of a session.
enum Next {
    /// Read the enrolment and the ways again.
    Again,
    /// Nobody holds a handle any more.
    End,
}

impl Loop {
    async fn run(mut self, mut wished: mpsc::Receiver<Wish>) {
        loop {
            match self.serve(&mut wished).await {
                Ok(Next::Again) => {}
                Ok(Next::End) => return,
                Err(error) => {
                    tracing::warn!(%error, "synchronisation stops for a while");
                    self.tell(State::Stopped(error.to_string()));
                    // Whoever asks, or half a minute, makes it try again.
                    let pause = tokio::time::timeout(Duration::from_secs(30), wished.recv());
                    if let Ok(None) = pause.await {
                        return;
                    }
                }
            }
        }
    }

    fn tell(&self, state: State) {
        self.told.send_modify(|status| status.state = state);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn figures(&self) {
        if let Ok(figures) = self.store.sync_figures().await {
            self.told.send_modify(|status| status.figures = figures);
        }
    }

    /// One life of a session: until the enrolment, the ways or the identity change.
    async fn serve(&mut self, wished: &mut mpsc::Receiver<Wish>) -> Result<Next, Trouble> {
        let ways = self.store.sync_fact::<Ways>(Fact::Ways).await?.unwrap_or_default();
        let enrolment = self.store.sync_fact::<Enrolment>(Fact::Enrolment).await?;
        self.told.send_modify(|status| {
            status.ways = ways;
            status.gateway = enrolment.as_ref().map(|enrolment| enrolment.url.clone());
            status.community = enrolment.as_ref().map(|enrolment| enrolment.community_name.clone());
        });
        self.figures().await;
        let Some(enrolment) = enrolment.filter(|_| ways.mode != Mode::Local) else {
            self.tell(if ways.mode == Mode::Local { State::Local } else { State::NotEnrolled });
            return Ok(match wished.recv().await {
                Some(_) => Next::Again,
                None => Next::End,
            });
        };
        let url = GatewayUrl::parse(&enrolment.url, enrolment.transport())
            .map_err(|error| Trouble::Said(error.to_string()))?;
        let client = Client::of(&enrolment, url, &self.clock)?;
        if enrolment.epoch != self.store.hub_id() {
            // A restored backup: the gateway has seen things of the old identity that are not known here.
            enrol::new_identity(&self.store, &client, &enrolment, &self.name)
                .await
                .map_err(|error| Trouble::Said(error.to_string()))?;
            return Ok(Next::Again);
        }
        self.session(&enrolment, &client, ways, wished).await
    }

    async fn session(
        &mut self,
        enrolment: &Enrolment,
        client: &Client,
        ways: Ways,
        wished: &mut mpsc::Receiver<Wish>,
    ) -> Result<Next, Trouble> {
        let backoff = self.store.sync_fact::<Backoff>(Fact::Backoff).await?.unwrap_or_default();
        let way = ways.in_force();
        let mut session = Session::new(way, backoff, self.now(), chance()?);
        let mut changes = self.store.subscribe();
        let (tell, mut events) = mpsc::channel(8);
        let mut stream = (way == Way::Live).then(|| hold(client, &tell));
        let mut stream_again = STREAM_AGAIN.0;
        let mut next_poll = self.now().saturating_add(POLL_MS);
        self.tell(State::Idle);
        loop {
            let live = stream.is_some();
            let due = session.next_tick();
            // Without its stream a live hub asks by itself.
            let due = if way == Way::Live && session.stopped().is_none() && !self.told.borrow().live {
                Some(due.map_or(next_poll, |due| due.min(next_poll)))
            } else {
                due
            };
            let due = self.exchange.due().map_or(due, |files| Some(due.map_or(files, |due| due.min(files))));
            let input = match self.wake(due, wished, &mut changes, &mut events, &mut stream).await {
                Woken::Time if self.exchange.due().is_some_and(|due| due <= self.now()) => {
                    let now = self.now();
                    self.exchange.run(client, &self.store, ways, now).await;
                    continue;
                }
                Woken::Time if session.next_tick().is_none_or(|due| due > self.now()) => {
                    next_poll = self.now().saturating_add(POLL_MS);
                    Input::Wanted(Why::Newer)
                }
                Woken::Time => Input::Tick,
                Woken::Wish(None) => return Ok(Next::End),
                Woken::Wish(Some(Wish::Reload)) => return Ok(Next::Again),
                Woken::Wish(Some(Wish::Round(_))) if session.stopped().is_some() => Input::Restart,
                Woken::Wish(Some(Wish::Round(why))) => Input::Wanted(why),
                Woken::Changed => {
                    self.figures().await;
                    if self.told.borrow().figures.queue == 0 {
                        continue;
                    }
                    Input::Wanted(Why::LocalChange)
                }
                Woken::Event(event) => {
                    stream_again = STREAM_AGAIN.0;
                    let first = !self.told.borrow().live;
                    self.told.send_modify(|status| status.live = true);
                    if let Event::Present(hubs) = &event {
                        let names = hubs.iter().map(|hub| hub.name.clone()).collect();
                        self.told.send_modify(|status| status.present = names);
                    }
                    match event {
                        // The gateway is there again: what failed before is no reason to wait any longer.
                        _ if first => Input::Wanted(Why::Reconnected),
                        Event::Newer(_) => Input::Wanted(Why::Newer),
                        Event::Present(_) | Event::Beat | Event::Drain => continue,
                    }
                }
                Woken::StreamEnded => {
                    debug_assert!(live);
                    self.told.send_modify(|status| {
                        status.live = false;
                        status.present.clear();
                    });
                    stream = Some(hold_after(client, &tell, drawn(stream_again, chance()?)));
                    stream_again = (stream_again * 2).min(STREAM_AGAIN.1);
                    next_poll = self.now().saturating_add(POLL_MS);
                    continue;
                }
            };
            let mut commands = session.handle(input, self.now(), chance()?);
            while let Some(command) = commands.pop() {
                match command {
                    Command::Send => {
                        let outcome = self.round(client, enrolment, ways).await?;
                        commands = session.handle(outcome, self.now(), chance()?);
                        self.store.set_sync_fact(Fact::Backoff, Some(&session.backoff())).await?;
                    }
                    // Rounds end by themselves within the session's deadline.
                    Command::Abandon => {}
                    Command::NewIdentity => {
                        enrol::new_identity(&self.store, client, enrolment, &self.name)
                            .await
                            .map_err(|error| Trouble::Said(error.to_string()))?;
                        return Ok(Next::Again);
                    }
                }
            }
            if std::mem::take(&mut self.change_key) {
                match enrol::new_key(&self.store, client, enrolment).await {
                    // From here on the new key is shown, which ends the old one.
                    Ok(()) => return Ok(Next::Again),
                    Err(error) => tracing::warn!(%error, "the key was not changed; the old one goes on"),
                }
            }
            self.figures().await;
            self.tell(match session.stopped() {
                Some(Stop::Revoked) => {
                    State::Stopped("the gateway does not know this hub's key any more".to_owned())
                }
                Some(Stop::Copy) => State::Stopped("another card uses this hub's identity".to_owned()),
                Some(Stop::Protocol(sentence)) => State::Stopped(sentence.clone()),
                None if session.backoff().failures() > 0 => State::Waiting,
                None => State::Idle,
            });
        }
    }

    async fn wake(
        &self,
        due: Option<u64>,
        wished: &mut mpsc::Receiver<Wish>,
        changes: &mut broadcast::Receiver<cairn_store::RecordChanged>,
        events: &mut mpsc::Receiver<Event>,
        stream: &mut Option<tokio::task::JoinHandle<()>>,
    ) -> Woken {
        let now = self.now();
        let timer = async {
            match due {
                Some(due) => tokio::time::sleep(Duration::from_millis(due.saturating_sub(now))).await,
                None => std::future::pending().await,
            }
        };
        let ended = async {
            match stream.as_mut() {
                Some(task) => {
                    // However it ended, it is held again.
                    let _how = task.await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            wish = wished.recv() => Woken::Wish(wish),
            () = timer => Woken::Time,
            Some(event) = events.recv() => Woken::Event(event),
            () = ended => Woken::StreamEnded,
            changed = changes.recv() => match changed {
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => Woken::Changed,
                Err(broadcast::error::RecvError::Closed) => Woken::Wish(None),
            },
        }
    }

    /// One round and what belongs to it. An error is the store's; everything else is for the session.
    async fn round(&mut self, client: &Client, enrolment: &Enrolment, ways: Ways) -> Result<Input, Trouble> {
        self.tell(State::Busy);
        let began = Instant::now();
        self.keep_time(client, enrolment).await;
        let request = self.store.sync_request(random()?, MAX_RECORDS).await?;
        let up = request.changes.len();
        let outcome = match client.round(&request).await {
            Ok(reply) => match self.store.sync_take_in(reply).await {
                Ok(TakenIn::Done(taken)) => Ok(taken),
                // Nothing is under way that it could answer: as if nothing had come.
                Ok(TakenIn::Stale) => {
                    Err((Failure::Nonsense, "the answer belongs to another request".to_owned()))
                }
                Err(SyncError::Nonsense(nonsense)) => Err((Failure::Nonsense, nonsense.to_string())),
                Err(SyncError::Store(error)) => return Err(error.into()),
            },
            Err(error) => Err((error.failure(), error.to_string())),
        };
        let mut entry = LogEntry {
            at_ms: i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX),
            up: u32::try_from(up).unwrap_or(u32::MAX),
            took_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            ..LogEntry::default()
        };
        let input = match outcome {
            Ok(taken) => {
                entry.down = u32::try_from(taken.records).unwrap_or(u32::MAX);
                entry.worked = true;
                if !taken.healed.is_empty() {
                    let scopes: Vec<String> = taken.healed.iter().map(ToString::to_string).collect();
                    entry.note = format!("did not add up and is read again: {}", scopes.join(", "));
                    tracing::warn!(note = entry.note, "checksums differ");
                    self.healing += 1;
                } else if !taken.more {
                    self.healing = 0;
                }
                if taken.refused > 0 {
                    entry.note = format!("{} changes were refused and lie aside", taken.refused);
                }
                let now = self.clock.now_ms();
                self.told.send_modify(|status| {
                    status.last_success_ms = Some(now);
                    status.trouble = None;
                });
                if taken.answered > 0 || taken.records > 0 {
                    self.exchange.changed();
                }
                if !taken.more {
                    let now = self.now();
                    self.exchange.run(client, &self.store, ways, now).await;
                    self.change_key |= self.reports.send(client, &self.store, &self.name, now).await;
                }
                let again = !taken.healed.is_empty() && self.healing <= HEALING_ROUNDS;
                Input::Done { more: taken.more || again }
            }
            Err((failure, why)) => {
                self.told.send_modify(|status| status.trouble = Some(why.clone()));
                entry.note = why;
                Input::Failed(failure)
            }
        };
        // An idle hub's log would be full of rounds in which nothing happened, and its card would wear.
        if up > 0 || entry.down > 0 || !entry.worked || !entry.note.is_empty() {
            self.store.sync_log_add(entry).await?;
        }
        Ok(input)
    }

    /// Asks for the time now and then. Without an answer everything goes on with what is known.
    async fn keep_time(&mut self, client: &Client, enrolment: &Enrolment) {
        if self.asked_time.is_some_and(|at| at.elapsed() < TIME_EVERY) {
            return;
        }
        match time::ask(client, &self.store, &self.clock, &enrolment.time_key).await {
            Ok(unix_ms) => {
                self.asked_time = Some(Instant::now());
                if let Some(system) = &self.system {
                    system.learnt(unix_ms);
                }
            }
            Err(error) => tracing::debug!(%error, "the gateway did not say what time it is"),
        }
    }
}

fn hold(client: &Client, tell: &mpsc::Sender<Event>) -> tokio::task::JoinHandle<()> {
    hold_after(client, tell, Duration::ZERO)
}

fn hold_after(client: &Client, tell: &mpsc::Sender<Event>, wait: Duration) -> tokio::task::JoinHandle<()> {
    let (client, tell) = (client.clone(), tell.clone());
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        events::follow(&client, &tell).await;
    })
}

/// A time between zero and `most`; `chance` is uniform over all of `u64`.
fn drawn(most: Duration, chance: u64) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(chance.checked_rem(millis.saturating_add(1)).unwrap_or(0))
}

fn chance() -> Result<u64, ClientError> {
    random().map(u64::from_le_bytes)
}

/// What ends a session's life.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] cairn_store::StoreError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Said(String),
}
