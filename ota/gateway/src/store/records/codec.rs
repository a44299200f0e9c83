//! Records as they lie in the database.

use cairn_sync::{
    Hlc, Kind, RecordId, Value,
    record::RecordState,
    shown::{ChangeKind, Record, SyncState},
};
use sqlx_core::row::Row;
use sqlx_postgres::PgRow;
use uuid::Uuid;

use crate::db::{DbError, from_cbor};

/// The columns of [`Stored`].
pub(super) const COLUMNS: &str = "state, created_hlc, created_by, changed_hlc, changed_by";

/// A record with who made and changed it.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) state: RecordState,
    created: Hlc,
    pub(super) created_by: Option<RecordId>,
    changed: Hlc,
    changed_by: Option<RecordId>,
}

/// What a decision is about: a record, or a place where one is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) id: Option<RecordId>,
    pub(super) kind: Kind,
    pub(super) scope: Option<RecordId>,
    pub(super) created_by: Option<RecordId>,
    pub(super) deleted: bool,
}

impl Stored {
    pub(super) fn of(row: &PgRow) -> Result<Self, DbError> {
        let hlc = |column| row.try_get::<Vec<u8>, _>(column).map_err(DbError::from).and_then(|b| clock(&b));
        Ok(Self {
            state: from_cbor("record", row.try_get("state")?)?,
            created: hlc("created_hlc")?,
            created_by: person(row.try_get("created_by")?),
            changed: hlc("changed_hlc")?,
            changed_by: person(row.try_get("changed_by")?),
        })
    }

    /// The project that it lies in; a project lies in itself.
    pub(super) fn scope(&self) -> Option<RecordId> {
        if self.state.kind == Kind::Project { Some(self.state.id) } else { self.state.project }
    }

    pub(super) fn subject(&self) -> Subject {
        Subject {
            id: Some(self.state.id),
            kind: self.state.kind,
            scope: self.scope(),
            created_by: self.created_by,
            deleted: self.state.deleted.is_some(),
        }
    }

    /// As it is shown.
    pub(super) fn record(&self) -> Record {
        let state = &self.state;
        // A field of a later release stays where it is and is not shown.
        let known = state.fields.iter().filter(|(name, _)| state.kind.def().field(name).is_some());
        let fields = known.map(|(name, field)| (name.clone(), field.value.clone()));
        Record {
            id: state.id,
            kind: state.kind,
            project: state.project,
            fields: fields.filter(|(_, value)| *value != Value::Null).collect(),
            version: state.version,
            created_by: self.created_by,
            created_at_ms: when(self.created),
            changed_by: self.changed_by,
            changed_at_ms: when(self.changed),
            sync: if state.conflicts.is_empty() { SyncState::Synced } else { SyncState::Conflict },
            gateway_version: Some(state.version),
            deleted: state.deleted.is_some(),
        }
    }

    pub(super) fn text(&self, field: &str) -> &str {
        self.state.fields.get(field).and_then(|field| field.value.as_text()).unwrap_or_default()
    }
}

/// A person from a column.
pub(super) fn person(column: Option<Uuid>) -> Option<RecordId> {
    column.map(|id| RecordId::from_bytes(*id.as_bytes()))
}

/// Milliseconds since 1970.
pub(super) fn when(hlc: Hlc) -> i64 {
    i64::try_from(hlc.millis()).unwrap_or(i64::MAX)
}

/// A clock from a column.
pub(super) fn clock(bytes: &[u8]) -> Result<Hlc, DbError> {
    let bytes = bytes
        .try_into()
        .map_err(|_| DbError::Damaged { what: "clock", why: "it is not 16 bytes long".to_owned() })?;
    Ok(Hlc::from_bytes(bytes))
}

/// How a kind of change is stored.
pub(super) const fn what_name(what: ChangeKind) -> &'static str {
    match what {
        ChangeKind::Created => "created",
        ChangeKind::Changed => "changed",
        ChangeKind::Deleted => "deleted",
        ChangeKind::Restored => "restored",
    }
}

/// A kind of change from its column.
pub(super) fn what_named(name: &str) -> ChangeKind {
    match name {
        "created" => ChangeKind::Created,
        "deleted" => ChangeKind::Deleted,
        "restored" => ChangeKind::Restored,
        _ => ChangeKind::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_changes_read_back() {
        for what in [ChangeKind::Created, ChangeKind::Changed, ChangeKind::Deleted, ChangeKind::Restored] {
            assert_eq!(what_named(what_name(what)), what);
        }
    }
}
