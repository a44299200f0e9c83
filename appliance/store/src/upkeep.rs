//! What goes on by itself: the life clock's checkpoints, a daily snapshot, garbage collection, tidying the index.

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    db::{lock, writer::Lane},
    error::Result,
    schema,
    store::{Inner, Store},
};

/// How often the clock is looked at.
const ROUND: Duration = Duration::from_secs(10 * 60);
/// The first round comes this long after the start, so that it does not slow the start down.
const FIRST: Duration = Duration::from_secs(60);
/// Changes of the library are gathered for this long before the index is tidied.
const GATHER: Duration = Duration::from_millis(500);
/// Time between two snapshots, and between two collections of garbage, on the life clock.
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Default)]
struct Shared {
    closed: AtomicBool,
    /// The library changed.
    library: AtomicBool,
    wake: Notify,
}

/// The thread that keeps up.
#[derive(Default)]
pub(crate) struct Upkeep {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Upkeep {
    pub(crate) fn start(&self, store: &Store) -> std::io::Result<()> {
        let (inner, shared) = (Arc::downgrade(&store.inner), self.shared.clone());
        let mut events = store.inner.events.subscribe();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let thread = thread::Builder::new().name("store-upkeep".into()).spawn(move || {
            runtime.block_on(async {
                let listen = async {
                    loop {
                        use tokio::sync::broadcast::error::RecvError;
                        match events.recv().await {
                            Ok(event) if event.kind != cairn_sync::Kind::Document => {}
                            // A new document has nothing in the index to be tidied.
                            Ok(event) if event.version == 1 => {}
                            Ok(_) | Err(RecvError::Lagged(_)) => {
                                shared.library.store(true, Ordering::SeqCst);
                                shared.wake.notify_one();
                            }
                            Err(RecvError::Closed) => break,
                        }
                    }
                };
                tokio::select! {
                    () = rounds(&inner, &shared) => {}
                    () = listen => {}
                }
            });
        })?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.wake.notify_one();
        let Some(thread) = lock(&self.thread).take() else { return };
        // The last handle of the store may have been this thread's own.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the upkeep thread had panicked");
        }
    }
}

async fn rounds(inner: &Weak<Inner>, shared: &Shared) {
    let mut next = tokio::time::Instant::now() + FIRST;
    loop {
        let woken = tokio::time::timeout_at(next, shared.wake.notified()).await.is_ok();
        if shared.closed.load(Ordering::SeqCst) {
            return;
        }
        if woken {
            tokio::time::sleep(GATHER).await;
        }
        let Some(inner) = inner.upgrade() else { return };
        let store = Store { inner };
        if shared.library.swap(false, Ordering::SeqCst) {
            tell("tidying the index", store.tidy_index().await);
        }
        if tokio::time::Instant::now() >= next {
            next = tokio::time::Instant::now() + ROUND;
            tell("keeping the clock", store.keep_clock().await);
            tell("taking the daily snapshot", store.daily_snapshot().await);
            tell("collecting garbage", store.daily_garbage().await);
            tell("tidying the index", store.tidy_index().await);
        }
    }
}

fn tell(what: &str, outcome: Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "{what}");
    }
}

impl Store {
    /// Writes the life clock down while something runs out by it; an idle hub writes nothing.
    async fn keep_clock(&self) -> Result<()> {
        let needed = self
            .ask(|connection| {
                let sql = "SELECT EXISTS (SELECT 1 FROM sessions) OR EXISTS (SELECT 1 FROM api_tokens) \
                           OR EXISTS (SELECT 1 FROM invitations)";
                Ok(connection.query_row(sql, [], |row| row.get(0))?)
            })
            .await?;
        if needed { self.write(Lane::Index, |desk| desk.checkpoint_life()).await } else { Ok(()) }
    }

    /// Takes a snapshot when the last one is a day old and something changed since.
    pub(crate) async fn daily_snapshot(&self) -> Result<()> {
        let now = self.inner.life.now_ms();
        let (last, before, mark) = self
            .ask(|connection| {
                let mark: i64 = connection.query_row(
                    "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outbox'), 0)",
                    [],
                    |row| row.get(0),
                )?;
                Ok((
                    schema::fact::<i64>(connection, "snapshot_life")?,
                    schema::fact::<i64>(connection, "snapshot_mark")?,
                    mark,
                ))
            })
            .await?;
        let due = last.is_none_or(|last| now - last >= DAY_MS);
        if !due || before == Some(mark) {
            return Ok(());
        }
        self.snapshot().await?;
        self.write(Lane::Index, move |desk| {
            schema::set_fact(desk.connection, "snapshot_life", now)?;
            schema::set_fact(desk.connection, "snapshot_mark", mark)
        })
        .await
    }

    async fn daily_garbage(&self) -> Result<()> {
        let now = self.inner.life.now_ms();
        let last = self.ask(|connection| schema::fact::<i64>(connection, "garbage_life")).await?;
        if last.is_some_and(|last| now - last < DAY_MS) {
            return Ok(());
        }
        self.collect_garbage().await?;
        self.write(Lane::Index, move |desk| schema::set_fact(desk.connection, "garbage_life", now)).await
    }
}
