//! Records: reading, writing, permissions, history.

pub(crate) mod access;
pub(crate) mod change;
pub(crate) mod codec;
pub(crate) mod head;
pub(crate) mod list;
mod read;
pub(crate) mod write;

use std::collections::BTreeMap;

use cairn_sync::{ChangeId, Fields, Kind, ProjectRole, RecordId};
use tokio::sync::broadcast;

use crate::{
    db::writer::Lane,
    error::{Result, StoreError},
    record::{Cursor, HistoryEntry, ListQuery, MAX_PAGE, Page, Record, RecordChanged},
    store::Store,
    viewer::{Action, Part, Viewer, Who},
};
use access::{Eyes, Subject, allowed};

/// What [`Store::may`] is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// A record that exists.
    Record(RecordId),
    /// A place where one of a kind could be made: a project, or the hub as a whole.
    Place(Kind, Option<RecordId>),
}

impl From<&Record> for On {
    fn from(record: &Record) -> Self {
        Self::Record(record.id)
    }
}

impl From<(Kind, Option<RecordId>)> for On {
    fn from((kind, project): (Kind, Option<RecordId>)) -> Self {
        Self::Place(kind, project)
    }
}

pub(crate) const fn lane(viewer: &Viewer) -> Lane {
    match viewer.who {
        Who::System(Part::Sync) => Lane::Sync,
        Who::System(Part::Index) => Lane::Index,
        _ => Lane::Person,
    }
}

impl Store {
    /// Makes a record. Whoever makes a project owns it. The same `change` again gives the first outcome.
    ///
    /// # Errors
    /// What the fields, the place or the permissions do not allow; see [`StoreError`].
    pub async fn create(
        &self,
        viewer: &Viewer,
        kind: Kind,
        project: Option<RecordId>,
        fields: Fields,
        change: Option<ChangeId>,
    ) -> Result<Record> {
        let viewer = viewer.clone();
        self.write(lane(&viewer), move |desk| write::create(desk, &viewer, kind, project, fields, change))
            .await
    }

    /// Changes the fields given and no others. `base` is the version that whoever changes it saw: a field that
    /// somebody else changed since is not overwritten.
    ///
    /// # Errors
    /// [`StoreError::Stale`] with the record as it is now; else as [`Store::create`].
    pub async fn update(
        &self,
        viewer: &Viewer,
        id: RecordId,
        fields: Fields,
        base: Option<u64>,
        change: Option<ChangeId>,
    ) -> Result<Record> {
        let viewer = viewer.clone();
        self.write(lane(&viewer), move |desk| write::update(desk, &viewer, id, fields, base, change)).await
    }

    /// Makes a record a tombstone.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it may not be read, [`StoreError::Forbidden`] when it may not be deleted.
    pub async fn delete(&self, viewer: &Viewer, id: RecordId, change: Option<ChangeId>) -> Result<()> {
        let viewer = viewer.clone();
        self.write(lane(&viewer), move |desk| write::set_deleted(desk, &viewer, id, true, change).map(drop))
            .await
    }

    /// Brings a tombstone back.
    ///
    /// # Errors
    /// As [`Store::delete`].
    pub async fn restore_record(
        &self,
        viewer: &Viewer,
        id: RecordId,
        change: Option<ChangeId>,
    ) -> Result<Record> {
        let viewer = viewer.clone();
        self.write(lane(&viewer), move |desk| write::set_deleted(desk, &viewer, id, false, change)).await
    }

    /// One record. Tombstones are given to those who may bring them back.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] also when it may not be read.
    pub async fn get(&self, viewer: &Viewer, id: RecordId) -> Result<Record> {
        let viewer = viewer.clone();
        self.ask(move |connection| read::get(connection, &viewer, id)).await
    }

    /// Those of at most [`MAX_PAGE`] records that exist and may be read, in the order asked.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when asked for more.
    pub async fn get_many(&self, viewer: &Viewer, ids: &[RecordId]) -> Result<Vec<Record>> {
        if ids.len() > usize::from(MAX_PAGE) {
            return Err(StoreError::invalid(format!("At most {MAX_PAGE} records at once.")));
        }
        let (viewer, ids) = (viewer.clone(), ids.to_vec());
        self.ask(move |connection| read::get_many(connection, &viewer, &ids)).await
    }

    /// One page of a list.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a condition that no index serves or a cursor of another list.
    pub async fn list(&self, viewer: &Viewer, query: ListQuery) -> Result<Page<Record>> {
        let viewer = viewer.clone();
        self.ask(move |connection| list::list(connection, &viewer, &query)).await
    }

    /// The changes of a record, newest first.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn history(
        &self,
        viewer: &Viewer,
        id: RecordId,
        after: Option<Cursor>,
        limit: u16,
    ) -> Result<Page<HistoryEntry>> {
        let viewer = viewer.clone();
        self.ask(move |connection| read::history(connection, &viewer, id, after.as_ref(), limit)).await
    }

    /// How many living records of each kind `viewer` may read.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn counts(&self, viewer: &Viewer) -> Result<BTreeMap<Kind, u64>> {
        let viewer = viewer.clone();
        self.ask(move |connection| read::counts(connection, &viewer)).await
    }

    /// Whether `viewer` may do something, for pages to show or hide a button. Every call checks for itself.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn may(&self, viewer: &Viewer, action: Action, on: impl Into<On>) -> Result<bool> {
        let (viewer, on) = (viewer.clone(), on.into());
        self.ask(move |connection| {
            let eyes = Eyes::of(connection, &viewer)?;
            let subject = match on {
                On::Place(kind, scope) => {
                    Subject { id: None, kind, scope, created_by: eyes.person, deleted: false }
                }
                On::Record(id) => match head::Head::find(connection, id)? {
                    Some(head) => head.subject(),
                    None => return Ok(false),
                },
            };
            allowed(connection, eyes, action, subject)
        })
        .await
    }

    /// The role of `viewer` in a project, where they have one.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the project may not be read.
    pub async fn project_role(&self, viewer: &Viewer, project: RecordId) -> Result<Option<ProjectRole>> {
        let viewer = viewer.clone();
        self.ask(move |connection| read::project_role(connection, &viewer, project)).await
    }

    /// Every change from now on. Ask [`Store::visible`] before showing one to somebody.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<RecordChanged> {
        self.inner.events.subscribe()
    }

    /// Whether `viewer` may know of a change.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn visible(&self, viewer: &Viewer, change: &RecordChanged) -> Result<bool> {
        let (viewer, change) = (viewer.clone(), change.clone());
        self.ask(move |connection| read::visible(connection, &viewer, &change)).await
    }

    /// How many changes the gateway has not confirmed.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbox_len(&self) -> Result<u64> {
        self.ask(|connection| Ok(connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0))?))
            .await
    }
}
