//! Interrupts statements that take longer than they may, and counts them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rusqlite::InterruptHandle;

use super::lock;

#[derive(Default)]
struct Running {
    by_deadline: BTreeMap<(Instant, u64), Arc<InterruptHandle>>,
    next: u64,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    running: Mutex<Running>,
    changed: Condvar,
    interrupted: AtomicU64,
}

/// One thread that watches what every connection is doing.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Hands out deadlines.
#[derive(Clone)]
pub(crate) struct Deadlines(Arc<Shared>);

impl Watch {
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let watched = shared.clone();
        let thread = std::thread::Builder::new().name("store-watch".into()).spawn(move || watch(&watched))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        Deadlines(self.shared.clone())
    }

    pub(crate) fn interrupted(&self) -> u64 {
        self.shared.interrupted.load(Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        lock(&self.shared.running).closed = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that interrupts slow statements had panicked");
        }
    }
}

impl Deadlines {
    /// Until the returned guard is dropped, whatever `handle`'s connection runs is interrupted once `allowed` has
    /// passed.
    pub(crate) fn within(&self, handle: &Arc<InterruptHandle>, allowed: Duration) -> Guard<'_> {
        let mut running = lock(&self.0.running);
        running.next += 1;
        let key = (Instant::now() + allowed, running.next);
        let is_first = running.by_deadline.first_key_value().is_none_or(|(first, _)| key < *first);
        running.by_deadline.insert(key, handle.clone());
        drop(running);
        if is_first {
            self.0.changed.notify_one();
        }
        Guard { shared: &self.0, key }
    }
}

/// A statement under a deadline.
pub(crate) struct Guard<'a> {
    shared: &'a Shared,
    key: (Instant, u64),
}

impl Drop for Guard<'_> {
    /// The watching thread interrupts while it holds the same lock, so that after this no interrupt comes that was
    /// meant for this statement.
    fn drop(&mut self) {
        lock(&self.shared.running).by_deadline.remove(&self.key);
    }
}

fn watch(shared: &Shared) {
    let mut running = lock(&shared.running);
    while !running.closed {
        let now = Instant::now();
        let wait = match running.by_deadline.first_key_value() {
            Some(((deadline, _), handle)) if *deadline <= now => {
                handle.interrupt();
                shared.interrupted.fetch_add(1, Ordering::Relaxed);
                running.by_deadline.pop_first();
                continue;
            }
            Some(((deadline, _), _)) => *deadline - now,
            None => Duration::from_secs(3600),
        };
        running = match shared.changed.wait_timeout(running, wait) {
            Ok((running, _)) => running,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}
