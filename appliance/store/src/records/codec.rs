//! How kinds, roles and values are stored. Numbers here are for ever.

use std::collections::BTreeSet;

use cairn_sync::{FieldDef, FieldType, Hlc, Kind, RecordId, Role, Value};
use rusqlite::{
    Row,
    types::{ToSqlOutput, Value as Stored, ValueRef},
};

use crate::{
    error::{Result, StoreError},
    record::{ChangeKind, SyncState},
};

/// Most bytes of a line that the lookup index keeps.
pub(crate) const LOOKUP_LEN: usize = 96;

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

pub(crate) const fn role_code(role: Role) -> i64 {
    match role {
        Role::Guest => 0,
        Role::Volunteer => 1,
        Role::Keeper => 2,
    }
}

pub(crate) const fn role_of(code: i64) -> Role {
    match code {
        2 => Role::Keeper,
        1 => Role::Volunteer,
        _ => Role::Guest,
    }
}

pub(crate) fn role_named(name: &str) -> Role {
    match name {
        "keeper" => Role::Keeper,
        "volunteer" => Role::Volunteer,
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

/// Under which keys a living record's field stands in `lookup`; none for types that lists do not search by.
pub(crate) fn lookup_keys(def: &FieldDef, value: &Value) -> Vec<String> {
    match (def.ty, value) {
        (FieldType::Bool, Value::Bool(flag)) => vec![if *flag { "1" } else { "0" }.to_owned()],
        (FieldType::Choice(_) | FieldType::Ref(_) | FieldType::Blob, Value::Text(text)) => vec![text.clone()],
        (FieldType::Line, Value::Text(text)) => vec![folded(text)],
        (FieldType::Set, Value::Set(set)) => set.iter().cloned().collect(),
        _ => Vec::new(),
    }
}

/// A line as lists find it: whatever the case and the accents, cut to [`LOOKUP_LEN`] bytes.
pub(crate) fn folded(text: &str) -> String {
    use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};
    let mut folded = String::with_capacity(text.len().min(LOOKUP_LEN));
    let plain = text.trim().nfkd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase);
    for c in plain {
        if folded.len() + c.len_utf8() > LOOKUP_LEN {
            break;
        }
        folded.push(c);
    }
    folded
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

    #[test]
    fn a_line_is_found_whatever_its_case_and_accents() {
        assert_eq!(folded(" Équipe de l'Eau "), "equipe de l'eau");
        assert_eq!(folded(&"é".repeat(500)).len(), LOOKUP_LEN);
    }
}
