//! The record API served from the hub's store, for whoever the middleware found behind the request.

use std::collections::BTreeMap;

use axum::http::request::Parts;
use cairn_record_api::{Answer, Records, Server};
use cairn_store::{Cursor, HistoryEntry, ListQuery, Page, Record, StoreError, Viewer};
use cairn_sync::{ChangeId, Fields, Kind, RecordId};
use futures::TryFutureExt;

use crate::{hub::Hub, problem::Problem, session::Identity};

/// The hub as one viewer may use it.
pub(super) struct Seen {
    pub(super) hub: Hub,
    pub(super) viewer: Viewer,
}

impl Server for Hub {
    fn open<'a>(&'a self, request: &'a Parts) -> Answer<'a, Box<dyn Records>> {
        let viewer = request.extensions.get::<Identity>().map(|identity| identity.viewer.clone());
        let seen = Seen { hub: self.clone(), viewer: viewer.unwrap_or_else(Viewer::anonymous) };
        Box::pin(async move { Ok(Box::new(seen) as Box<dyn Records>) })
    }
}

/// The store's answer as the record API's.
fn answer<'a, T>(call: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Answer<'a, T> {
    Box::pin(call.map_err(|error| Problem::from(error).into()))
}

impl Records for Seen {
    fn counts(&self) -> Answer<'_, BTreeMap<Kind, u64>> {
        answer(self.hub.store.counts(&self.viewer))
    }

    fn list(&self, query: ListQuery) -> Answer<'_, Page<Record>> {
        answer(self.hub.store.list(&self.viewer, query))
    }

    fn get(&self, id: RecordId) -> Answer<'_, Record> {
        answer(self.hub.store.get(&self.viewer, id))
    }

    fn create(
        &self,
        kind: Kind,
        project: Option<RecordId>,
        fields: Fields,
        change: Option<ChangeId>,
    ) -> Answer<'_, Record> {
        answer(self.hub.store.create(&self.viewer, kind, project, fields, change))
    }

    fn update(
        &self,
        id: RecordId,
        fields: Fields,
        base: Option<u64>,
        change: Option<ChangeId>,
    ) -> Answer<'_, Record> {
        answer(self.hub.store.update(&self.viewer, id, fields, base, change))
    }

    fn delete(&self, id: RecordId, change: Option<ChangeId>) -> Answer<'_, ()> {
        answer(self.hub.store.delete(&self.viewer, id, change))
    }

    fn restore(&self, id: RecordId, change: Option<ChangeId>) -> Answer<'_, Record> {
        answer(self.hub.store.restore_record(&self.viewer, id, change))
    }

    fn history(&self, id: RecordId, after: Option<Cursor>, limit: u16) -> Answer<'_, Page<HistoryEntry>> {
        answer(self.hub.store.history(&self.viewer, id, after, limit))
    }
}
