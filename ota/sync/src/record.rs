//! A record as the gateway holds it and as hubs receive it: per field who set what when, at which version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ChangeId, Hlc, Kind, RecordId, Value, value::exact};

/// Names a conflict: the change that came second, and the field on which it met another one (none where one
/// side deleted the record). Text, so that it can be a key: `CHANGE/field` or `CHANGE`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConflictKey(String);

impl ConflictKey {
    /// The conflict that `change` raised.
    #[must_use]
    pub fn new(change: ChangeId, field: Option<&str>) -> Self {
        Self(field.map_or_else(|| change.to_string(), |field| format!("{change}/{field}")))
    }

    /// The field; none where one side deleted the record.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.split_once('/').map(|(_, field)| field)
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who did something, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The change that did it.
    pub change: ChangeId,
    /// The person; none for a hub itself.
    pub by: Option<RecordId>,
    /// Its place in the order of changes.
    pub hlc: Hlc,
}

/// One field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldState {
    /// What it holds.
    #[serde(with = "exact")]
    pub value: Value,
    /// The gateway's version at which it came to hold it.
    pub version: u64,
    /// Who set it.
    pub stamp: Stamp,
}

/// What one side of a conflict wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// The field to hold this.
    Value(#[serde(with = "exact")] Value),
    /// The record to stay.
    Keep,
    /// The record to go.
    Delete,
}

/// What both sides of a conflict started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ancestor {
    /// It is not known any more, or the conflict is about the whole record.
    Unknown,
    /// This.
    Known(#[serde(with = "exact")] Value),
}

/// One side of a conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConflictSide {
    /// What it wants.
    pub wish: Wish,
    /// Who wants it.
    pub stamp: Stamp,
}

/// Two changes that only a person can bring together. Stays with the record until one does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// What both started from.
    pub base: Ancestor,
    /// What the record holds.
    pub present: ConflictSide,
    /// What came second.
    pub incoming: ConflictSide,
}

/// A deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// The gateway's version at which the record was deleted.
    pub version: u64,
    /// Who deleted it.
    pub stamp: Stamp,
}

/// A record with everything that decides on changes to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordState {
    /// Its identity.
    pub id: RecordId,
    /// Its kind.
    pub kind: Kind,
    /// Its project.
    pub project: Option<RecordId>,
    /// The gateway's version at which anything of it last changed.
    pub version: u64,
    /// Its fields.
    pub fields: BTreeMap<String, FieldState>,
    /// Set where it is deleted. Its fields stay, so that an edit that did not know can bring it back whole.
    pub deleted: Option<Tombstone>,
    /// What waits for a person.
    pub conflicts: BTreeMap<ConflictKey, Conflict>,
}

impl RecordState {
    /// A record that nobody has written to.
    #[must_use]
    pub const fn new(id: RecordId, kind: Kind, project: Option<RecordId>) -> Self {
        Self {
            id,
            kind,
            project,
            version: 0,
            fields: BTreeMap::new(),
            deleted: None,
            conflicts: BTreeMap::new(),
        }
    }

    /// Conflicts on one field.
    pub fn conflicts_on<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a Conflict> {
        self.conflicts.iter().filter(move |(key, _)| key.field() == Some(field)).map(|(_, conflict)| conflict)
    }
}
