//! What people and programs see of a record, its history and lists of it: one shape, whichever of hub and gateway is
//! asked. Both stores answer with it and the record API sends it as it is.

use serde::{Deserialize, Serialize};

use crate::{ChangeId, Fields, Hlc, Kind, RecordId, Value};

/// Where a record stands with the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// The gateway holds the same.
    Synced,
    /// Changes made here wait to be sent.
    Pending,
    /// A person has to decide between two values.
    Conflict,
}

/// One record as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Its identity on every hub.
    pub id: RecordId,
    /// What it is.
    pub kind: Kind,
    /// The project it belongs to, or none: the hub as a whole.
    pub project: Option<RecordId>,
    /// Its fields. What is not set is absent.
    pub fields: Fields,
    /// Grows with every change, by whatever counts where it was read: the changes of this record on a hub, those of the
    /// community on the gateway. Numbers of two servers cannot be compared.
    pub version: u64,
    /// The person who created it, where a person did.
    pub created_by: Option<RecordId>,
    /// When, by the clock of where it was created on, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// The person who changed it last, where a person did.
    pub changed_by: Option<RecordId>,
    /// When, by the clock of where it was changed on, in milliseconds since 1970.
    pub changed_at_ms: i64,
    /// Where it stands with the gateway.
    pub sync: SyncState,
    /// The version that the gateway confirmed last.
    pub gateway_version: Option<u64>,
    /// Whether it is a tombstone.
    pub deleted: bool,
}

impl Record {
    /// A field's text, or "" where it has none.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_text).unwrap_or_default()
    }

    /// A field's number, where it has one.
    #[must_use]
    pub fn int(&self, field: &str) -> Option<i64> {
        self.fields.get(field).and_then(Value::as_int)
    }

    /// Whether a yes-or-no field is set to yes.
    #[must_use]
    pub fn flag(&self, field: &str) -> bool {
        self.fields.get(field).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The record that a field refers to, where it does.
    #[must_use]
    pub fn reference(&self, field: &str) -> Option<RecordId> {
        self.text(field).parse().ok()
    }
}

/// What a change did to the record as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It came to be.
    Created,
    /// Fields changed.
    Changed,
    /// It became a tombstone.
    Deleted,
    /// It came back.
    Restored,
}

/// One field's change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// The field.
    pub field: String,
    /// Its value before; `Null` where it had none.
    pub before: Value,
    /// Its value after; `Null` where it was cleared.
    pub after: Value,
}

/// One change of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// The version that the change made.
    pub version: u64,
    /// The change's identity.
    pub change: ChangeId,
    /// When, by the clock of where it was made on, in milliseconds since 1970.
    pub at_ms: i64,
    /// Its place in the order of changes.
    #[serde(skip)]
    pub hlc: Hlc,
    /// The person who made it, where a person did.
    pub by: Option<RecordId>,
    /// What it did to the record as a whole.
    pub kind: ChangeKind,
    /// What it did to the fields.
    pub changes: Vec<FieldChange>,
}

/// In which order a list comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Last created first.
    #[default]
    Newest,
    /// First created first.
    Oldest,
    /// Last changed first.
    Changed,
}

/// Most records on one page of a list.
pub const MAX_PAGE: u16 = 200;
/// Records on one page where nobody says how many.
pub const DEFAULT_PAGE: u16 = 50;
/// Most conditions in one list query.
pub const MAX_CONDITIONS: usize = 4;

/// Which records to list.
///
/// `equals` and `text_prefix` take fields of type choice, reference, set, yes-or-no, file and line; they are
/// kept in an index. Other fields are refused, because finding them would read every record.
#[derive(Debug, Clone, PartialEq)]
pub struct ListQuery {
    /// Of which kind.
    pub kind: Kind,
    /// `None`: wherever they are; `Some(None)`: on the hub as a whole; `Some(Some(id))`: in that project.
    pub project: Option<Option<RecordId>>,
    /// Fields that must hold these values; of a set: that must contain it.
    pub equals: Vec<(String, Value)>,
    /// A line that must start so, whatever the case and the accents, in alphabetical order instead of `order`.
    pub text_prefix: Option<(String, String)>,
    /// In which order.
    pub order: Order,
    /// After where the page before ended.
    pub after: Option<Cursor>,
    /// How many, at most [`MAX_PAGE`]; 0 stands for [`DEFAULT_PAGE`].
    pub limit: u16,
    /// Tombstones instead of living records: those that whoever asks may bring back.
    pub deleted: bool,
}

impl ListQuery {
    /// All of a kind, newest first.
    #[must_use]
    pub fn of(kind: Kind) -> Self {
        Self {
            kind,
            project: None,
            equals: Vec::new(),
            text_prefix: None,
            order: Order::Newest,
            after: None,
            limit: DEFAULT_PAGE,
            deleted: false,
        }
    }

    /// Only those in a project, or with `None` on the hub as a whole.
    #[must_use]
    pub fn project(self, project: Option<RecordId>) -> Self {
        Self { project: Some(project), ..self }
    }

    /// Only those whose field holds this value.
    #[must_use]
    pub fn equals(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.equals.push((field.to_owned(), value.into()));
        self
    }

    /// In this order.
    #[must_use]
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// At most so many on a page.
    #[must_use]
    pub fn limit(self, limit: u16) -> Self {
        Self { limit, ..self }
    }

    /// After where the page before ended.
    #[must_use]
    pub fn after(self, after: Option<Cursor>) -> Self {
        Self { after, ..self }
    }
}

/// Where a page ended: opaque text, made by the store and given back as it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// From text that came from outside; it is checked when it is used.
    #[must_use]
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one starts; `None` on the last page.
    pub next: Option<Cursor>,
}
