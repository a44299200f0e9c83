//! The hub's side of synchronisation on its store: what goes into a round, what a reply does, and what a person then has
//! to decide. The rules are the engine's (`cairn_sync::round`, `replica`); here is where they read and write.
//!
//! The records that everybody reads are always the confirmed ones with the waiting changes on top; [`refresh`] makes
//! them so after every intake. Everything that a reply does happens in one transaction on the synchronisation lane.

mod conflicts;
mod facts;
mod files;
mod intake;
mod local;
mod log;
mod outgoing;
mod refresh;
mod scopes;

use std::collections::BTreeMap;

use cairn_sync::{
    checksum::Checksum,
    round::Nonsense,
    wire::{Cursor, Reply, Request, ScopeId},
};

use crate::{
    db::writer::Lane,
    error::{Result, StoreError},
    store::Store,
};

pub use conflicts::{Choice, OpenConflict};
pub use facts::Fact;
pub use files::FileState;
pub use log::{LogEntry, RefusedChange, SyncFigures};
pub use scopes::ScopeChoice;

/// What became of a reply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Changes that it answered.
    pub answered: usize,
    /// Of these, those that were refused.
    pub refused: usize,
    /// Records that it brought.
    pub records: usize,
    /// There is more to fetch.
    pub behind: bool,
    /// There is more to fetch or to send.
    pub more: bool,
    /// Scopes that did not add up and are read again from the beginning.
    pub healed: Vec<ScopeId>,
}

/// What [`Store::sync_take_in`] comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TakenIn {
    /// It was taken in.
    Done(Taken),
    /// It answers a request that was answered already: the same reply came twice.
    Stale,
}

/// Why a reply was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// No gateway that keeps the protocol would give it. Nothing was taken in.
    #[error(transparent)]
    Nonsense(#[from] Nonsense),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// The request to send next: the unanswered one word for word, or a new one, which is written down first.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn sync_request(&self, random: [u8; 16], limit: u32) -> Result<Request> {
        self.write(Lane::Sync, move |desk| local::request(desk, random, limit)).await
    }

    /// Takes a reply in, all of it in one transaction or nothing.
    ///
    /// # Errors
    /// [`SyncError::Nonsense`] where it does not answer what was asked.
    pub async fn sync_take_in(&self, reply: Reply) -> Result<TakenIn, SyncError> {
        let done = self.write(Lane::Sync, move |desk| {
            let Some(request) = local::unanswered(desk.connection)? else { return Ok(Ok(TakenIn::Stale)) };
            if request.request != reply.request {
                return Ok(Ok(TakenIn::Stale));
            }
            intake::reply(desk, &request, reply).map(|taken| taken.map(TakenIn::Done))
        });
        Ok(done.await??)
    }

    /// Takes in a page of a snapshot, which answers a request that was never sent and uses up no ticket.
    ///
    /// # Errors
    /// As [`Store::sync_take_in`].
    pub async fn sync_take_page(&self, page: cairn_sync::http::Page) -> Result<Taken, SyncError> {
        let done = self.write(Lane::Sync, move |desk| {
            let ticket = local::ticket(desk.connection)?;
            let asked = cairn_sync::http::Page::asked(
                local::hub(desk.connection, desk.hub)?,
                scopes::cursors(desk.connection)?,
                ticket,
            );
            let reply = page.into_reply(&asked);
            intake::reply(desk, &asked, reply)
        });
        Ok(done.await??)
    }

    /// Up to where each chosen scope is known.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sync_cursors(&self) -> Result<BTreeMap<ScopeId, Cursor>> {
        self.ask(scopes::cursors).await
    }

    /// What each chosen scope adds up to here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sync_checksums(&self) -> Result<BTreeMap<ScopeId, Checksum>> {
        self.ask(scopes::checksums).await
    }

    /// Marks everything held of a scope as stale until it comes again.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn sync_begin_anew(&self, scope: ScopeId) -> Result<()> {
        self.write(Lane::Sync, move |desk| scopes::begin_anew(desk.connection, scope)).await
    }
}

/// JSON as it is stored.
fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::invalid(error.to_string()))
}

fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Corrupt(format!("no sense of synchronisation: {error}")))
}
