//! The HTTP API of records and their files, defined once: routes, requests, answers, schemas, problems and limits. The hub's `web` serves it
//! from its store, the gateway from PostgreSQL; each says with [`Server`] whose records a request may see and change.
//!
//! Stands on `sync` (kinds, checks, what is shown of a record). It knows no database and does no I/O.

#![forbid(unsafe_code)]

pub mod cors;
pub mod extract;
pub mod files;
pub mod openapi;
pub mod problem;
pub mod query;
mod records;
pub mod schemas;

use std::collections::BTreeMap;

use axum::{extract::FromRequestParts, http::request::Parts};
use cairn_sync::{
    ChangeId, Fields, Kind, RecordId,
    shown::{Cursor, HistoryEntry, ListQuery, Page, Record},
};
use futures::future::BoxFuture;

pub use problem::{FieldError, Problem, ProblemKind};
pub use records::{created_with, made, parse_fields};

/// Largest body of a request, in bytes: every field of a record at its limit, as JSON.
pub const MAX_BODY: usize = 2 << 20;

/// The answer to a call, when it comes.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Problem>>;

/// The records as whoever sent a request may see and change them. What they may not see does not exist for them.
pub trait Records: files::Files {
    /// How many living records of each kind there are.
    fn counts(&self) -> Answer<'_, BTreeMap<Kind, u64>>;
    /// One page of a list.
    fn list(&self, query: ListQuery) -> Answer<'_, Page<Record>>;
    /// One record; a tombstone for those who may bring it back.
    fn get(&self, id: RecordId) -> Answer<'_, Record>;
    /// Makes a record. The same change again gives the first outcome.
    fn create(
        &self,
        kind: Kind,
        project: Option<RecordId>,
        fields: Fields,
        change: Option<ChangeId>,
    ) -> Answer<'_, Record>;
    /// Changes fields. One that somebody else changed since `base` is not overwritten.
    fn update(
        &self,
        id: RecordId,
        fields: Fields,
        base: Option<u64>,
        change: Option<ChangeId>,
    ) -> Answer<'_, Record>;
    /// Makes a record a tombstone.
    fn delete(&self, id: RecordId, change: Option<ChangeId>) -> Answer<'_, ()>;
    /// Brings a tombstone back.
    fn restore(&self, id: RecordId, change: Option<ChangeId>) -> Answer<'_, Record>;
    /// One page of a record's changes, newest first.
    fn history(&self, id: RecordId, after: Option<Cursor>, limit: u16) -> Answer<'_, Page<HistoryEntry>>;
}

/// The routes, with their descriptions.
pub fn routes<S: Server + Clone + 'static>() -> utoipa_axum::router::OpenApiRouter<S> {
    records::routes().merge(files::file_routes())
}

/// A server of the record API.
pub trait Server: Send + Sync {
    /// The records for whoever sent this request.
    fn open<'a>(&'a self, request: &'a Parts) -> Answer<'a, Box<dyn Records>>;
}

impl<T: Server> Server for std::sync::Arc<T> {
    fn open<'a>(&'a self, request: &'a Parts) -> Answer<'a, Box<dyn Records>> {
        T::open(self, request)
    }
}

/// What a handler works on.
pub(crate) struct Asked(pub(crate) Box<dyn Records>);

impl<S: Server> FromRequestParts<S> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &S) -> Result<Self, Problem> {
        server.open(parts).await.map(Self)
    }
}
