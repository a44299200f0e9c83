//! The store's handle and what stands behind it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_sync::HubId;
use rusqlite::Connection;
use tokio::sync::broadcast;

use crate::{
    accounts::claim::ClaimGuard,
    clock::LifeClock,
    db::{
        deadline::Watch,
        readers::Readers,
        writer::{Desk, Lane, Writer},
    },
    error::Result,
    files::Files,
    index::vectors::Vectors,
    record::RecordChanged,
    upkeep::Upkeep,
};

/// Events that a slow listener may lag behind before it is told that it missed some.
pub(crate) const EVENTS: usize = 1024;

/// The hub's memory. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) hub: HubId,
    pub(crate) life: LifeClock,
    pub(crate) files: Files,
    pub(crate) vectors: Arc<Vectors>,
    pub(crate) claim: ClaimGuard,
    pub(crate) events: broadcast::Sender<RecordChanged>,
    pub(crate) watch: Watch,
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
    pub(crate) upkeep: Upkeep,
    /// Held for as long as the store is open, so that no second process opens it.
    pub(crate) _lock: std::fs::File,
}

impl Store {
    /// The hub's identity in this storage epoch.
    #[must_use]
    pub fn hub_id(&self) -> HubId {
        self.inner.hub
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    pub(crate) async fn write<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&mut Desk<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.writer.write(lane, work).await
    }

    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.inner.readers.ask(question).await
    }

    /// Finishes every write that waits, then closes. Later calls say that the hub is shutting down.
    pub fn close(&self) {
        self.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        self.upkeep.close();
        // The writer goes last: whoever closes the database last and may write puts the log back into it.
        self.readers.close();
        self.writer.close();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.inner.dir)
            .field("hub", &self.inner.hub)
            .finish_non_exhaustive()
    }
}
