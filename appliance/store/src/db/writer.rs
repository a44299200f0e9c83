//! The one thread that writes: three bounded lanes, a person's before synchronisation's before indexing's, and
//! group commit.
//!
//! Writes that wait while a commit reaches the disk share the next transaction, each in its own savepoint, so that
//! one that fails takes nobody with it. A lone write waits for nobody. A group takes at most [`GROUP_MS`] and
//! [`GROUP_LEN`] writes; an answer is given, and an event sent, only after the commit.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use cairn_sync::{Hlc, HubId};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{Semaphore, broadcast, oneshot};

use super::{deadline::Deadlines, lock};
use crate::{
    clock::LifeClock,
    error::{Result, StoreError},
    files::Files,
    record::RecordChanged,
};

/// Longest time one transaction gathers writes.
pub(crate) const GROUP_MS: Duration = Duration::from_millis(20);
/// Most writes in one transaction.
pub(crate) const GROUP_LEN: usize = 64;
/// Writes that may wait in each lane.
pub(crate) const LANE_LEN: [usize; 3] = [512, 256, 64];
/// How long a write may wait for a place in its lane.
const PLACE_WAIT: [Duration; 3] =
    [Duration::from_secs(10), Duration::from_secs(30), Duration::from_secs(120)];
/// How long one write may take.
const WRITE_ALLOWED: Duration = Duration::from_secs(20);

/// Whose write it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Somebody waits for it.
    Person = 0,
    /// Synchronisation.
    Sync = 1,
    /// Indexing and upkeep.
    Index = 2,
}

/// What a write to `records.db` works with.
pub(crate) struct Desk<'a> {
    /// Inside a transaction and a savepoint.
    pub(crate) connection: &'a Connection,
    pub(crate) hub: HubId,
    pub(crate) life: &'a LifeClock,
    pub(crate) files: &'a Files,
    clock: &'a mut Hlc,
    events: &'a mut Vec<RecordChanged>,
}

impl Desk<'_> {
    /// The next point in the order of changes.
    pub(crate) fn tick(&mut self) -> Hlc {
        let wall = u64::try_from(self.life.wall_ms()).unwrap_or(0);
        *self.clock = self.clock.tick(wall, self.hub);
        *self.clock
    }

    /// Another hub's change was seen: ours come after it, unless its clock is absurd. Says where our clock stands.
    pub(crate) fn observe(&mut self, other: Hlc) -> Hlc {
        let wall = u64::try_from(self.life.wall_ms()).unwrap_or(0);
        *self.clock = self.clock.observe(other, wall);
        *self.clock
    }

    /// Tells whoever listens, once the change is committed.
    pub(crate) fn tell(&mut self, event: RecordChanged) {
        self.events.push(event);
    }
}

/// What a write to `index.db` works with; it opens its own transaction.
pub(crate) type IndexWrite = Box<dyn FnOnce(&mut Connection) + Send>;

trait Write: Send {
    /// Does it; whether its savepoint is to be kept. `explain` finds out what an I/O error of SQLite means.
    fn run(&mut self, desk: &mut Desk<'_>, explain: &dyn Fn(StoreError) -> StoreError) -> bool;
    /// Answers after the commit, or with why there was none.
    fn answer(self: Box<Self>, committed: std::result::Result<(), StoreError>);
}

struct Waiting<F, T> {
    work: Option<F>,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Write for Waiting<F, T>
where
    F: FnOnce(&mut Desk<'_>) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, desk: &mut Desk<'_>, explain: &dyn Fn(StoreError) -> StoreError) -> bool {
        let outcome = self.work.take().map(|work| work(desk).map_err(explain));
        let keep = matches!(outcome, Some(Ok(_)));
        self.outcome = outcome;
        keep
    }

    fn answer(self: Box<Self>, committed: std::result::Result<(), StoreError>) {
        let outcome = match (self.outcome, committed) {
            (Some(Ok(_)) | None, Err(error)) => Err(error),
            (Some(outcome), _) => outcome,
            (None, Ok(())) => Err(StoreError::Closed),
        };
        if self.reply.send(outcome).is_err() {
            tracing::trace!("whoever asked for a write had left");
        }
    }
}

enum Task {
    Records(Box<dyn Write>),
    Index(IndexWrite),
}

struct Lanes {
    tasks: Mutex<([VecDeque<Task>; 3], bool)>,
    waiting: Condvar,
    room: [Semaphore; 3],
}

impl Lanes {
    fn pop(&self) -> Option<Task> {
        let mut tasks = lock(&self.tasks);
        loop {
            for (lane, room) in tasks.0.iter_mut().zip(&self.room) {
                if let Some(task) = lane.pop_front() {
                    room.add_permits(1);
                    return Some(task);
                }
            }
            if tasks.1 {
                return None;
            }
            tasks = self.waiting.wait(tasks).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// A person's write that waits already, to share the transaction.
    fn pop_person(&self) -> Option<Box<dyn Write>> {
        let mut tasks = lock(&self.tasks);
        let ([person, ..], _) = &mut *tasks;
        match person.pop_front()? {
            Task::Records(write) => {
                self.room.first()?.add_permits(1);
                Some(write)
            }
            other => {
                person.push_front(other);
                None
            }
        }
    }

    fn close(&self) {
        lock(&self.tasks).1 = true;
        self.room.iter().for_each(Semaphore::close);
        self.waiting.notify_all();
    }
}

/// The writing thread's other end.
pub(crate) struct Writer {
    lanes: Arc<Lanes>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the writing thread starts with.
pub(crate) struct WriterStart {
    pub(crate) dir: PathBuf,
    pub(crate) records: Connection,
    pub(crate) index: Connection,
    pub(crate) hub: HubId,
    pub(crate) clock: Hlc,
    pub(crate) life: LifeClock,
    pub(crate) files: Files,
    pub(crate) events: broadcast::Sender<RecordChanged>,
    pub(crate) deadlines: Deadlines,
}

impl Writer {
    pub(crate) fn start(start: WriterStart) -> std::io::Result<Self> {
        let [person, sync, index] = LANE_LEN;
        let lanes = Arc::new(Lanes {
            tasks: Mutex::default(),
            waiting: Condvar::new(),
            room: [Semaphore::new(person), Semaphore::new(sync), Semaphore::new(index)],
        });
        let theirs = lanes.clone();
        let thread = std::thread::Builder::new().name("store-write".into()).spawn(move || {
            let leaving = Leaving(theirs);
            Thread::new(start).serve(&leaving.0);
        })?;
        Ok(Self { lanes, thread: Mutex::new(Some(thread)) })
    }

    /// Writes to `records.db`; answered after the commit.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&mut Desk<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, replied) = oneshot::channel();
        let task = Task::Records(Box::new(Waiting { work: Some(work), outcome: None, reply }));
        self.push(lane, task).await?;
        replied.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes to `index.db`.
    pub(crate) async fn write_index<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, replied) = oneshot::channel();
        let task = Task::Index(Box::new(move |index| {
            if reply.send(work(index)).is_err() {
                tracing::trace!("whoever asked for an index write had left");
            }
        }));
        self.push(Lane::Index, task).await?;
        replied.await.map_err(|_| StoreError::Closed)?
    }

    async fn push(&self, lane: Lane, task: Task) -> Result<()> {
        let number = lane as usize;
        let (Some(room), Some(wait)) = (self.lanes.room.get(number), PLACE_WAIT.get(number)) else {
            return Err(StoreError::Closed);
        };
        tokio::time::timeout(*wait, room.acquire())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Closed)?
            .forget();
        let mut tasks = lock(&self.lanes.tasks);
        if tasks.1 {
            return Err(StoreError::Closed);
        }
        if let Some(queue) = tasks.0.get_mut(number) {
            queue.push_back(task);
        }
        drop(tasks);
        self.lanes.waiting.notify_one();
        Ok(())
    }

    /// How many writes wait in each lane.
    pub(crate) fn queued(&self) -> [usize; 3] {
        let tasks = lock(&self.lanes.tasks);
        let [person, sync, index] = &tasks.0;
        [person.len(), sync.len(), index.len()]
    }

    /// Finishes what waits, then ends the thread.
    pub(crate) fn close(&self) {
        self.lanes.close();
        if let Some(thread) = lock(&self.thread).take()
            && thread.join().is_err()
        {
            tracing::error!("the writing thread had panicked");
        }
    }
}

/// Answers everybody who still waits when the writing thread ends, however it ends.
struct Leaving(Arc<Lanes>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.close();
        let left: Vec<VecDeque<Task>> = lock(&self.0.tasks).0.iter_mut().map(std::mem::take).collect();
        for task in left.into_iter().flatten() {
            if let Task::Records(write) = task {
                write.answer(Err(StoreError::Closed));
            }
        }
    }
}

struct Thread {
    start: WriterStart,
    records_handle: Arc<rusqlite::InterruptHandle>,
    index_handle: Arc<rusqlite::InterruptHandle>,
}

impl Thread {
    fn new(start: WriterStart) -> Self {
        let records_handle = Arc::new(start.records.get_interrupt_handle());
        let index_handle = Arc::new(start.index.get_interrupt_handle());
        Self { start, records_handle, index_handle }
    }

    fn serve(&mut self, lanes: &Lanes) {
        while let Some(task) = lanes.pop() {
            match task {
                Task::Index(work) => {
                    let _within = self.start.deadlines.within(&self.index_handle, WRITE_ALLOWED);
                    work(&mut self.start.index);
                }
                Task::Records(first) => self.group(first, lanes),
            }
        }
    }

    /// Runs one transaction with everything that waits already.
    fn group(&mut self, first: Box<dyn Write>, lanes: &Lanes) {
        if let Err(error) = self.start.records.execute_batch("BEGIN IMMEDIATE") {
            first.answer(Err(self.tell_apart(error)));
            return;
        }
        let began = Instant::now();
        let mut done = Vec::new();
        let mut events = Vec::new();
        let mut next = Some(first);
        let mut whole = Ok(());
        while let Some(mut write) = next.take() {
            whole = self.in_savepoint(write.as_mut(), &mut events);
            done.push(write);
            if whole.is_ok() && done.len() < GROUP_LEN && began.elapsed() < GROUP_MS {
                next = lanes.pop_person();
            }
        }
        let whole = whole.and_then(|()| self.start.records.execute_batch("COMMIT"));
        match whole {
            Ok(()) => {
                for event in events {
                    if self.start.events.send(event).is_err() {
                        tracing::trace!("nobody listens to changes");
                    }
                }
                done.into_iter().for_each(|write| write.answer(Ok(())));
            }
            Err(error) => {
                if !self.start.records.is_autocommit()
                    && let Err(error) = self.start.records.execute_batch("ROLLBACK")
                {
                    tracing::error!(%error, "a transaction could not be rolled back");
                }
                for write in done {
                    write.answer(Err(self.tell_apart(same(&error))));
                }
            }
        }
    }

    /// An error here means that the transaction as a whole is lost, as SQLite does when the disk is full or a
    /// statement was interrupted.
    fn in_savepoint(
        &mut self,
        write: &mut dyn Write,
        events: &mut Vec<RecordChanged>,
    ) -> std::result::Result<(), rusqlite::Error> {
        let WriterStart { dir, records, hub, clock, life, files, deadlines, .. } = &mut self.start;
        let _within = deadlines.within(&self.records_handle, WRITE_ALLOWED);
        records.execute_batch("SAVEPOINT one")?;
        let told = events.len();
        let mut desk = Desk { connection: records, hub: *hub, life, files, clock, events };
        let keep = write.run(&mut desk, &|error| explain(error, dir));
        if records.is_autocommit() {
            // Whoever else was in the group is told to try again, unless the disk says why that is of no use.
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                Some("the transaction was rolled back by SQLite".to_owned()),
            ));
        }
        if keep {
            records.execute_batch("RELEASE one")
        } else {
            events.truncate(told);
            records.execute_batch("ROLLBACK TO one; RELEASE one")
        }
    }

    fn tell_apart(&self, error: rusqlite::Error) -> StoreError {
        explain(StoreError::from(error), &self.start.dir)
    }
}

/// An I/O error of SQLite carries no reason; the file system knows whether it is full or read-only.
fn explain(error: StoreError, dir: &Path) -> StoreError {
    let unclear = match &error {
        StoreError::Busy => true,
        StoreError::Database(error) => error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure),
        _ => false,
    };
    match nix::sys::statvfs::statvfs(dir) {
        Ok(stat) if unclear && stat.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY) => {
            StoreError::ReadOnly
        }
        Ok(stat) if unclear && stat.blocks_available() == 0 => StoreError::DiskFull,
        _ => error,
    }
}

fn same(error: &rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqliteFailure(code, text) => rusqlite::Error::SqliteFailure(*code, text.clone()),
        other => rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR),
            Some(other.to_string()),
        ),
    }
}
