//! The loop around the session: it carries out what the session decides, and tells it what came of it.
//!
//! One task per hub. It waits for the first of: the session's own time, a wish from the page or the command line, a
//! change in the store, an event of the held stream. Rounds are awaited where they are started, so that there is never
//! more than one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_store::{Fact, Store, SyncFigures};
use cairn_sync::{
    backoff::Backoff,
    http::Event,
    session::{Command, Input, Session, Stop, Way, Why},
};
use tokio::sync::{broadcast, mpsc, watch};

use super::{
    About, BestTime, Client, ClientError, Enrolment, GatewayUrl, Mode, SystemClock, Transport, Ways, enrol,
    events, files, random, report,
    status::{State, Status},
};

/// Wishes that may wait; more of them say nothing new.
const WISHES: usize = 16;
/// The first and the longest bound of the time until a lost stream is held again. The time itself is drawn from zero to
/// that: hubs that lost an instance together must not return together.
const STREAM_AGAIN: (Duration, Duration) = (Duration::from_secs(4), Duration::from_secs(300));
/// What waits for a gateway's answer looks at the store this often at least: the queue may empty without a word about it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How fast the loop's own clockwork goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tempo {
    /// A live hub whose stream is down asks this often by itself, in milliseconds.
    pub poll_ms: u64,
}

impl Default for Tempo {
    fn default() -> Self {
        Self { poll_ms: 60_000 }
    }
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
        Self::start_with(store, name, system, About::default(), Tempo::default()).await
    }

    /// As [`Self::start`], on a device that can say more of itself, at a tempo.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start_with(
        store: Store,
        name: String,
        system: Option<Arc<dyn SystemClock>>,
        about: About,
        tempo: Tempo,
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
            tempo,
            told,
            healing: 0,
            asked_time: None,
            exchange: files::Exchange::default(),
            reports: report::Reports::new(about),
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

    /// Waits until the gateway has taken in what was written here, and at most `within`. Where the gateway cannot be reached,
    /// or was not a moment ago, it does not wait: the queue keeps what was written, and nobody's page stands still for it.
    /// Says whether the queue is empty.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn through(&self, within: Duration) -> cairn_store::Result<bool> {
        let mut status = self.status.clone();
        let deadline = tokio::time::Instant::now() + within;
        let mut asked = false;
        loop {
            if self.store.sync_figures().await?.queue == 0 {
                return Ok(true);
            }
            // What was said up to here belongs to an earlier moment than the queue.
            let state = status.borrow_and_update().state.clone();
            if !matches!(state, State::Idle | State::Busy) || tokio::time::Instant::now() >= deadline {
                return Ok(false);
            }
            if !asked {
                asked = true;
                self.now();
            }
            let next = deadline.min(tokio::time::Instant::now() + LOOK_AGAIN);
            if let Ok(Err(_)) = tokio::time::timeout_at(next, status.changed()).await {
                return Ok(false);
            }
        }
    }

    /// There is something that the next report should say: a round, as after a change of a record.
    pub fn has_news(&self) {
        self.wish(Wish::Round(Why::LocalChange));
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

/// Everything that the loop knows beyond the store.
pub(super) struct Loop {
    pub(super) store: Store,
    pub(super) name: String,
    pub(super) system: Option<Arc<dyn SystemClock>>,
    pub(super) clock: Arc<BestTime>,
    pub(super) began: Instant,
    tempo: Tempo,
    pub(super) told: watch::Sender<Status>,
    /// Rounds in a row in which a scope did not add up.
    pub(super) healing: u32,
    pub(super) asked_time: Option<Instant>,
    pub(super) exchange: files::Exchange,
    pub(super) reports: report::Reports,
    /// The gateway wants this hub to change its key.
    pub(super) change_key: bool,
}

/// What woke the loop.
enum Woken {
    Time,
    Wish(Option<Wish>),
    Changed,
    Event(Event),
    StreamEnded,
    /// A run of the exchange of files is over.
    Files,
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

    pub(super) fn tell(&self, state: State) {
        self.told.send_modify(|status| status.state = state);
    }

    /// Milliseconds since the start.
    pub(super) fn now(&self) -> u64 {
        since(self.began)
    }

    async fn figures(&self) {
        if let Ok(figures) = self.store.sync_figures().await {
            self.told.send_modify(|status| status.figures = figures);
        }
    }

    /// One life of a session: until the enrolment, the ways or the identity change.
    async fn serve(&mut self, wished: &mut mpsc::Receiver<Wish>) -> Result<Next, Trouble> {
        self.exchange.stop();
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
        let mut next_poll = self.now().saturating_add(self.tempo.poll_ms);
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
                    self.exchange.start(client, &self.store, ways);
                    continue;
                }
                Woken::Files => continue,
                Woken::Time if session.next_tick().is_none_or(|due| due > self.now()) => {
                    next_poll = self.now().saturating_add(self.tempo.poll_ms);
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
                        Event::Files => {
                            // What is wanted is said in the answer to a report, which follows a round.
                            self.reports.ask();
                            self.exchange.changed();
                            Input::Wanted(Why::Newer)
                        }
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
                    next_poll = self.now().saturating_add(self.tempo.poll_ms);
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
        &mut self,
        due: Option<u64>,
        wished: &mut mpsc::Receiver<Wish>,
        changes: &mut broadcast::Receiver<cairn_store::RecordChanged>,
        events: &mut mpsc::Receiver<Event>,
        stream: &mut Option<tokio::task::JoinHandle<()>>,
    ) -> Woken {
        let (now, began) = (self.now(), self.began);
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
            () = self.exchange.ended(|| since(began)) => Woken::Files,
            changed = changes.recv() => match changed {
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => Woken::Changed,
                Err(broadcast::error::RecvError::Closed) => Woken::Wish(None),
            },
        }
    }
}

fn since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
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
pub(super) enum Trouble {
    /// The store's.
    #[error(transparent)]
    Store(#[from] cairn_store::StoreError),
    /// Nothing that the gateway said.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// In words.
    #[error("{0}")]
    Said(String),
}
