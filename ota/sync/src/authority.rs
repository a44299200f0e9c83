//! What becomes of a change: the one place that decides, run by the gateway (or by whichever side stands in
//! for it when two hubs exchange changes directly).
//!
//! Pure: the record as it is, the change, and what the past holds go in; the record as it becomes, the outcome
//! for the sender and the history to keep come out. The caller reads and writes it in one transaction, under
//! the lock that orders versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ChangeId, FieldDef, FieldType, Kind, RecordId, Scope, Strategy, Value, ValueError,
    change::{Action, Base, Change, Edit, FieldEdit, MAX_FIELDS, MAX_NAMED},
    merge::{self, Decision, Side},
    record::{
        Ancestor, Conflict, ConflictKey, ConflictSide, FieldState, RecordState, Stamp, Tombstone, Wish,
    },
    value::exact,
};

/// What was there before, as far as it is kept.
pub trait Past {
    /// The value that a field came to hold at `version`.
    fn value_at(&self, record: RecordId, field: &str, version: u64) -> Option<Value>;
    /// What an earlier change did to a field.
    fn trace(&self, record: RecordId, field: &str, change: ChangeId) -> Option<Trace>;
}

/// What a change did to one field; kept so that later changes built on it can be judged, and so that every
/// losing value stays readable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The field.
    pub field: String,
    /// The value as the change's maker saw the field afterwards.
    #[serde(with = "exact")]
    pub submitted: Value,
    /// The gateway's version that the change was, in the end, based on.
    pub base: u64,
    /// What became of it.
    pub outcome: FieldOutcome,
    /// What the field holds since, where it changed.
    pub became: Option<Standing>,
}

/// A value and the gateway's version since which a field holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The value.
    #[serde(with = "exact")]
    pub value: Value,
    /// The version.
    pub version: u64,
}

impl Trace {
    /// Whether the field came to hold just what was submitted.
    #[must_use]
    pub fn stood(&self) -> bool {
        matches!(self.outcome, FieldOutcome::Accepted | FieldOutcome::Same | FieldOutcome::Won)
    }
}

/// What became of one field's edit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldOutcome {
    /// Nobody else had changed the field.
    Accepted,
    /// Somebody else had changed it to the same.
    Same,
    /// The edit replaced somebody else's.
    Won,
    /// Somebody else's stands.
    Lost,
    /// The field holds what both did.
    Merged,
    /// A person has to choose.
    Conflict(ConflictKey),
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It took effect, at this version of the record.
    Applied {
        /// The record's version afterwards.
        version: u64,
        /// What became of each field's edit.
        fields: BTreeMap<String, FieldOutcome>,
        /// The conflict between a deletion and an edit that it raised.
        conflict: Option<ConflictKey>,
    },
    /// It cannot take effect, now or later. Nothing changed; the sender keeps it and shows why.
    Refused(Refusal),
}

/// Why a change cannot take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The record is of another kind or in another project.
    #[error("this record is of another kind or in another project")]
    OtherRecord,
    /// The record's kind cannot live there.
    #[error("a {0} cannot live there")]
    WrongScope(Kind),
    /// A value does not fit its field.
    #[error("{0}")]
    Value(String),
    /// The operation does not fit the field's type.
    #[error("{0} cannot be changed in this way")]
    WrongEdit(String),
    /// More fields or names than allowed.
    #[error("the change is too large")]
    TooLarge,
    /// The sender may not write there.
    #[error("this hub may not write there")]
    NotAllowed,
    /// The record was deleted so long ago that nothing of it is left.
    #[error("this record was deleted long ago")]
    Gone,
}

impl From<ValueError> for Refusal {
    fn from(error: ValueError) -> Self {
        Self::Value(error.to_string())
    }
}

/// What comes of a change that can take effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The record as it becomes.
    pub record: RecordState,
    /// The answer to the sender.
    pub outcome: Outcome,
    /// To be kept.
    pub traces: Vec<Trace>,
}

/// Decides on `change`, which will have version `next` (greater than every version given before).
///
/// # Errors
/// [`Refusal`] where the change can never take effect.
pub fn decide(
    record: Option<&RecordState>,
    change: &Change,
    next: u64,
    past: &impl Past,
) -> Result<Applied, Refusal> {
    check(record, change)?;
    let mut state =
        record.cloned().unwrap_or_else(|| RecordState::new(change.record, change.kind, change.project));
    let before = state.clone();
    let mut traces = Vec::new();
    let mut raised = None;
    for key in &change.settles {
        state.conflicts.remove(key);
    }
    match &change.action {
        Action::Put(edits) => {
            raised = revive(&mut state, change);
            for (name, edit) in edits {
                traces.push(put(&mut state, change, name, edit, next, past)?);
            }
            complete(&state)?;
        }
        Action::Delete => raised = delete(&mut state, change, next).or(raised),
    }
    if state != before {
        state.version = next;
    }
    let fields = traces.iter().map(|trace| (trace.field.clone(), trace.outcome.clone())).collect();
    let outcome = Outcome::Applied { version: state.version, fields, conflict: raised };
    Ok(Applied { record: state, outcome, traces })
}

/// An edit of a deleted record brings it back; where its maker had not seen the deletion, a person decides
/// whether it stays.
fn revive(state: &mut RecordState, change: &Change) -> Option<ConflictKey> {
    let tombstone = state.deleted.take()?;
    if change.seen.covers(tombstone.version, tombstone.stamp.change) {
        return None;
    }
    let key = ConflictKey::new(change.id, None);
    let conflict = Conflict {
        base: Ancestor::Unknown,
        present: ConflictSide { wish: Wish::Delete, stamp: tombstone.stamp },
        incoming: ConflictSide { wish: Wish::Keep, stamp: change.stamp() },
    };
    state.conflicts.insert(key.clone(), conflict);
    Some(key)
}

/// A deletion by somebody who had not seen the newest edit waits for a person; the record stays until then.
fn delete(state: &mut RecordState, change: &Change, next: u64) -> Option<ConflictKey> {
    if state.deleted.is_some() {
        return None;
    }
    let unseen = state
        .fields
        .values()
        .filter(|field| !change.seen.covers(field.version, field.stamp.change))
        .max_by_key(|field| field.version);
    let Some(unseen) = unseen else {
        state.deleted = Some(Tombstone { version: next, stamp: change.stamp() });
        state.conflicts.clear();
        return None;
    };
    let key = ConflictKey::new(change.id, None);
    let conflict = Conflict {
        base: Ancestor::Unknown,
        present: ConflictSide { wish: Wish::Keep, stamp: unseen.stamp },
        incoming: ConflictSide { wish: Wish::Delete, stamp: change.stamp() },
    };
    state.conflicts.insert(key.clone(), conflict);
    Some(key)
}

fn put(
    state: &mut RecordState,
    change: &Change,
    name: &str,
    edit: &FieldEdit,
    next: u64,
    past: &impl Past,
) -> Result<Trace, Refusal> {
    let def = definition(change.kind, name)?;
    let present = state.fields.get(name);
    let Origin { base, value: base_value, knew_present } = origin(state, name, edit.base, past);
    let concurrent = !knew_present && present.is_some_and(|field| field.version > base);
    let side = present.map(|field| Side { value: &field.value, hlc: field.stamp.hlc });
    let decision = merge::decide(def.strategy, concurrent, base_value.as_ref(), side, &edit.edit, change.hlc);
    let submitted = submitted(&edit.edit, base_value.as_ref());
    // A merge that outgrows the field's limit is no merge; a person shortens it.
    let decision = match decision {
        Decision::Merged(value) if def.check(&value).is_err() && matches!(edit.edit, Edit::Set(_)) => {
            Decision::Ask
        }
        Decision::Accept(value) | Decision::Win(value) | Decision::Merged(value)
            if def.check(&value).is_err() =>
        {
            return Err(def.check(&value).err().map_or(Refusal::TooLarge, Refusal::from));
        }
        decision => decision,
    };
    let stamp = change.stamp();
    let mut becomes = None;
    let outcome = match decision {
        Decision::Same => FieldOutcome::Same,
        Decision::Lose => FieldOutcome::Lost,
        Decision::Accept(value) => {
            becomes = Some(value);
            FieldOutcome::Accepted
        }
        Decision::Win(value) => {
            becomes = Some(value);
            FieldOutcome::Won
        }
        Decision::Merged(value) => {
            becomes = Some(value);
            FieldOutcome::Merged
        }
        Decision::Ask => FieldOutcome::Conflict(ask(state, change, name, edit, base_value, &submitted)),
    };
    if let Some(value) = &becomes {
        state.fields.insert(name.to_owned(), FieldState { value: value.clone(), version: next, stamp });
    }
    let became = becomes.map(|value| Standing { value, version: next });
    Ok(Trace { field: name.to_owned(), submitted, base, outcome, became })
}

/// Opens a conflict. One on which the same person's earlier change waits already is replaced: they are one
/// train of thought, and the person is asked once.
fn ask(
    state: &mut RecordState,
    change: &Change,
    name: &str,
    edit: &FieldEdit,
    base: Option<Value>,
    submitted: &Value,
) -> ConflictKey {
    let key = ConflictKey::new(change.id, Some(name));
    let earlier = match edit.base {
        Base::Change(earlier) => state.conflicts.remove(&ConflictKey::new(earlier, Some(name))),
        Base::Version(_) => None,
    };
    let base = base.map_or(Ancestor::Unknown, Ancestor::Known);
    let base = earlier.map_or(base, |conflict| conflict.base);
    let present = state
        .fields
        .get(name)
        .map(|field| ConflictSide { wish: Wish::Value(field.value.clone()), stamp: field.stamp });
    let incoming = ConflictSide { wish: Wish::Value(submitted.clone()), stamp: change.stamp() };
    let present = present.unwrap_or_else(|| incoming.clone());
    state.conflicts.insert(key.clone(), Conflict { base, present, incoming });
    key
}

/// What an edit was, in the end, based on.
struct Origin {
    base: u64,
    value: Option<Value>,
    /// The present value is the very one that the editor's own earlier change put there.
    knew_present: bool,
}

fn origin(state: &RecordState, field: &str, base: Base, past: &impl Past) -> Origin {
    match base {
        Base::Version(version) => {
            let present = state.fields.get(field).filter(|field| field.version == version);
            let value = present
                .map(|field| field.value.clone())
                .or_else(|| past.value_at(state.id, field, version))
                // Version 0 is the field before anybody set it.
                .or_else(|| (version == 0).then_some(Value::Null));
            Origin { base: version, value, knew_present: false }
        }
        Base::Change(change) => match past.trace(state.id, field, change) {
            Some(trace) => {
                let knew_present = trace.stood()
                    && state.fields.get(field).is_some_and(|field| field.stamp.change == change);
                let stood_at =
                    trace.became.as_ref().filter(|_| trace.stood()).map(|standing| standing.version);
                Origin { base: stood_at.unwrap_or(trace.base), value: Some(trace.submitted), knew_present }
            }
            None => Origin { base: 0, value: None, knew_present: false },
        },
    }
}

/// The value as the editor saw the field after the edit.
fn submitted(edit: &Edit, base: Option<&Value>) -> Value {
    let base = base.unwrap_or(&Value::Null);
    match edit {
        Edit::Set(value) => value.clone(),
        Edit::Add(by) => Value::Int(base.as_int().unwrap_or(0).saturating_add(*by)),
        Edit::Elements { add, remove } => merge::with_elements(base, add, remove),
    }
}

fn check(record: Option<&RecordState>, change: &Change) -> Result<(), Refusal> {
    if record.is_none() && (change.seen.version > 0 || change.action == Action::Delete) {
        return Err(Refusal::Gone);
    }
    if record.is_some_and(|record| record.kind != change.kind || record.project != change.project) {
        return Err(Refusal::OtherRecord);
    }
    match (change.kind.def().scope, change.project) {
        (Scope::Hub, Some(_)) | (Scope::Project, None) => return Err(Refusal::WrongScope(change.kind)),
        _ => {}
    }
    if change.settles.len() > MAX_NAMED || change.seen.own.len() > MAX_NAMED {
        return Err(Refusal::TooLarge);
    }
    let Action::Put(edits) = &change.action else { return Ok(()) };
    if edits.len() > MAX_FIELDS {
        return Err(Refusal::TooLarge);
    }
    edits.iter().try_for_each(|(name, edit)| {
        let def = definition(change.kind, name)?;
        match (&edit.edit, def.ty, def.strategy) {
            (Edit::Add(_), FieldType::Counter, _)
            | (Edit::Elements { .. }, FieldType::Set, Strategy::Merge) => Ok(()),
            (Edit::Set(value), ty, _) if !matches!(ty, FieldType::Counter | FieldType::Set) => {
                Ok(def.check(value)?)
            }
            _ => Err(Refusal::WrongEdit(name.clone())),
        }
    })
}

/// A record must have what its kind requires, however it came about.
fn complete(state: &RecordState) -> Result<(), Refusal> {
    for field in state.kind.def().fields.iter().filter(|field| field.required) {
        let value = state.fields.get(field.name).map_or(&Value::Null, |field| &field.value);
        field.check(value)?;
    }
    Ok(())
}

fn definition(kind: Kind, name: &str) -> Result<&'static FieldDef, Refusal> {
    kind.def().field(name).ok_or_else(|| ValueError::UnknownField(name.chars().take(64).collect()).into())
}

impl Change {
    /// Who did it, and when.
    #[must_use]
    pub const fn stamp(&self) -> Stamp {
        Stamp { change: self.id, by: self.by, hlc: self.hlc }
    }
}
