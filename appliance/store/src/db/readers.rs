//! The reader pool: threads with read-only connections, a bounded queue, and one snapshot per question.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use super::{deadline::Deadlines, lock};
use crate::error::{Result, StoreError};

/// Questions that may wait; more are told that the hub is busy.
pub(crate) const QUEUE: usize = 512;
/// How long a question may wait for a place in the queue.
pub(crate) const PLACE_WAIT: Duration = Duration::from_secs(10);

type Question = Box<dyn FnOnce(&Connection) + Send>;

struct Shared {
    queue: Mutex<(VecDeque<Question>, bool)>,
    waiting: Condvar,
    room: Semaphore,
}

/// Closes the queue when the last reader has gone, so that nobody waits for an answer that cannot come.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) <= 2 {
            close(&self.0);
        }
    }
}

/// Threads that read.
pub(crate) struct Readers {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(crate) fn start(
        connections: Vec<Connection>,
        deadlines: &Deadlines,
        allowed: Duration,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            waiting: Condvar::new(),
            room: Semaphore::new(QUEUE),
        });
        let readers = Self { shared, threads: Mutex::default() };
        for connection in connections {
            let (shared, deadlines) = (readers.shared.clone(), deadlines.clone());
            let thread = std::thread::Builder::new().name("store-read".into()).spawn(move || {
                let leaving = Leaving(shared);
                serve(&leaving.0, &connection, &deadlines, allowed);
            })?;
            lock(&readers.threads).push(thread);
        }
        Ok(readers)
    }

    /// Asks in one snapshot of the database.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = tokio::time::timeout(PLACE_WAIT, self.shared.room.acquire())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Closed)?;
        permit.forget();
        let (answer, answered) = oneshot::channel();
        let question = Box::new(move |connection: &Connection| {
            if !answer.is_closed() && answer.send(in_snapshot(connection, question)).is_err() {
                tracing::trace!("nobody waited for an answer any more");
            }
        });
        {
            let mut queue = lock(&self.shared.queue);
            if queue.1 {
                return Err(StoreError::Closed);
            }
            queue.0.push_back(question);
        }
        self.shared.waiting.notify_one();
        answered.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) fn queued(&self) -> usize {
        lock(&self.shared.queue).0.len()
    }

    pub(crate) fn close(&self) {
        close(&self.shared);
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a reading thread had panicked");
            }
        }
    }
}

fn close(shared: &Shared) {
    let mut queue = lock(&shared.queue);
    queue.1 = true;
    queue.0.clear();
    drop(queue);
    shared.room.close();
    shared.waiting.notify_all();
}

fn in_snapshot<T>(connection: &Connection, question: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let snapshot = connection.unchecked_transaction()?;
    let answer = question(connection)?;
    snapshot.finish()?;
    Ok(answer)
}

fn serve(shared: &Shared, connection: &Connection, deadlines: &Deadlines, allowed: Duration) {
    let handle = Arc::new(connection.get_interrupt_handle());
    loop {
        let mut queue = lock(&shared.queue);
        let question = loop {
            if let Some(question) = queue.0.pop_front() {
                break question;
            }
            if queue.1 {
                return;
            }
            queue = shared.waiting.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
        };
        drop(queue);
        shared.room.add_permits(1);
        let _within = deadlines.within(&handle, allowed);
        question(connection);
    }
}
