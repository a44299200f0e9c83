//! How kinds, roles and values are stored. Numbers here are for ever.

use std::collections::BTreeSet;

use cairn_sync::{FieldDef, FieldType, Hlc, Kind, RecordId, Role, Value};
pub(crate) use cairn_sync::{
    access::{project_role_code, project_role_named, role_code, role_named},
    lookup::lookup_keys,
};
use rusqlite::{
    Row,
    types::{ToSqlOutput, Value as Stored, ValueRef},
};

use crate::{
    error::{Result, StoreError},
    record::{ChangeKind, SyncState},
};

pub(crate) const fn kind_code(kind: Kind) -> i64 {
    match kind {
        Kind::Notice => 1,
        Kind::Document => 2,
        Kind::Project => 3,
        Kind::Assessment => 4,
        Kind::Response => 5,
        Kind::Person => 6,
        Kind::Team => 7,
        Kind::Membership => 8,
        Kind::Message => 9,
    }
}

/// `None` for a kind that a later release added.
pub(crate) fn kind_of(code: i64) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| kind_code(*kind) == code)
}

pub(crate) const fn role_of(code: i64) -> Role {
    match code {
        2 => Role::Keeper,
        1 => Role::Volunteer,
        _ => Role::Guest,
    }
}

pub(crate) const fn role_name(role: Role) -> &'static str {
    match role {
        Role::Guest => "guest",
        Role::Volunteer => "volunteer",
        Role::Keeper => "keeper",
    }
}

pub(crate) const fn sync_code(state: SyncState) -> i64 {
    match state {
        SyncState::Synced => 0,
        SyncState::Pending => 1,
        SyncState::Conflict => 2,
    }
}

pub(crate) const fn sync_of(code: i64) -> SyncState {
    match code {
        0 => SyncState::Synced,
        2 => SyncState::Conflict,
        _ => SyncState::Pending,
    }
}

pub(crate) const fn change_code(kind: ChangeKind) -> i64 {
    match kind {
        ChangeKind::Created => 0,
        ChangeKind::Changed => 1,
        ChangeKind::Deleted => 2,
        ChangeKind::Restored => 3,
    }
}

pub(crate) const fn change_of(code: i64) -> ChangeKind {
    match code {
        0 => ChangeKind::Created,
        2 => ChangeKind::Deleted,
        3 => ChangeKind::Restored,
        _ => ChangeKind::Changed,
    }
}

/// A value on its way into a column.
pub(crate) fn to_stored(value: &Value) -> Result<ToSqlOutput<'_>> {
    Ok(match value {
        Value::Null => ToSqlOutput::Owned(Stored::Null),
        Value::Bool(flag) => ToSqlOutput::Owned(Stored::Integer(i64::from(*flag))),
        Value::Int(number) => ToSqlOutput::Owned(Stored::Integer(*number)),
        Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::Set(set) => ToSqlOutput::Owned(Stored::Text(json(set)?)),
        Value::Json(value) => ToSqlOutput::Owned(Stored::Text(json(value)?)),
    })
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::invalid(error.to_string()))
}

/// A value from a column, read by its field's type.
pub(crate) fn from_stored(def: &FieldDef, stored: ValueRef<'_>) -> Result<Value> {
    let strange = || StoreError::Corrupt(format!("a value of {} that does not fit it", def.name));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| strange());
    Ok(match (def.ty, stored) {
        (_, ValueRef::Null) => Value::Null,
        (FieldType::Bool, ValueRef::Integer(number)) => Value::Bool(number != 0),
        (FieldType::Int | FieldType::Time | FieldType::Counter, ValueRef::Integer(number)) => {
            Value::Int(number)
        }
        (FieldType::Set, ValueRef::Text(bytes)) => {
            Value::Set(serde_json::from_slice::<BTreeSet<String>>(bytes).map_err(|_| strange())?)
        }
        (FieldType::Json, ValueRef::Text(bytes)) => {
            Value::Json(serde_json::from_slice(bytes).map_err(|_| strange())?)
        }
        (
            FieldType::Line | FieldType::Text | FieldType::Choice(_) | FieldType::Ref(_) | FieldType::Blob,
            ValueRef::Text(bytes),
        ) => Value::Text(text(bytes)?),
        _ => return Err(strange()),
    })
}

/// A 16-byte identity from a column.
pub(crate) fn id(row: &Row<'_>, column: usize) -> rusqlite::Result<RecordId> {
    row.get(column).map(RecordId::from_bytes)
}

/// A 16-byte identity from a column that may be NULL.
pub(crate) fn id_or_none(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<RecordId>> {
    row.get::<_, Option<[u8; 16]>>(column).map(|bytes| bytes.map(RecordId::from_bytes))
}

/// A clock from a column.
pub(crate) fn hlc(row: &Row<'_>, column: usize) -> rusqlite::Result<Hlc> {
    row.get(column).map(Hlc::from_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_numbers_read_back_and_are_unique() {
        let mut seen = BTreeSet::new();
        for kind in Kind::ALL {
            assert!(seen.insert(kind_code(kind)));
            assert_eq!(kind_of(kind_code(kind)), Some(kind));
        }
        assert_eq!(kind_of(99), None);
        for role in [Role::Guest, Role::Volunteer, Role::Keeper] {
            assert_eq!(role_of(role_code(role)), role);
            assert_eq!(role_named(role_name(role)), role);
        }
        for state in [SyncState::Synced, SyncState::Pending, SyncState::Conflict] {
            assert_eq!(sync_of(sync_code(state)), state);
        }
        for kind in [ChangeKind::Created, ChangeKind::Changed, ChangeKind::Deleted, ChangeKind::Restored] {
            assert_eq!(change_of(change_code(kind)), kind);
        }
    }
}
