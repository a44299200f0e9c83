//! Changes: what a hub tells the gateway that a person did.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{ChangeId, Hlc, Kind, RecordId, Value, record::ConflictKey, value::exact};

/// Most fields in one change.
pub const MAX_FIELDS: usize = 64;
/// Most conflicts that one change may settle, and most changes of one's own that it may build on.
pub const MAX_NAMED: usize = 256;

/// One change of one record. Takes effect exactly once however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Given by whoever made the change.
    pub id: ChangeId,
    /// The record.
    pub record: RecordId,
    /// Its kind.
    pub kind: Kind,
    /// Its project; never changes in a record's life.
    pub project: Option<RecordId>,
    /// The person who made it; none for the hub itself.
    pub by: Option<RecordId>,
    /// Its place in the order of changes.
    pub hlc: Hlc,
    /// What of the record its maker had before their eyes.
    pub seen: Seen,
    /// Conflicts that the person settled with it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub settles: BTreeSet<ConflictKey>,
    /// What was done.
    pub action: Action,
}

/// How much of a record somebody had seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The gateway's version of the record; 0 where it had none.
    pub version: u64,
    /// Changes of one's own beyond that, which the gateway may not have answered yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub own: BTreeSet<ChangeId>,
}

impl Seen {
    /// Whether what `stamp` did at `version` had been seen.
    #[must_use]
    pub fn covers(&self, version: u64, change: ChangeId) -> bool {
        version <= self.version || self.own.contains(&change)
    }
}

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Creates the record, edits fields of it, or brings it back.
    Put(BTreeMap<String, FieldEdit>),
    /// Deletes the record.
    Delete,
}

/// One field's edit and what the editor had before their eyes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldEdit {
    /// What was done.
    pub edit: Edit,
    /// What it was done to.
    pub base: Base,
}

/// What was done to a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edit {
    /// Set to a value.
    Set(#[serde(with = "exact")] Value),
    /// Added to a counter.
    Add(i64),
    /// Elements put into and taken out of a set.
    Elements {
        /// Put in.
        add: BTreeSet<String>,
        /// Taken out.
        remove: BTreeSet<String>,
    },
}

/// The state of a field that an editor had seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// The field as the gateway had it at this version; 0 where it had none.
    Version(u64),
    /// The field as an earlier change of one's own left it, which the gateway may not have answered yet.
    Change(ChangeId),
}
