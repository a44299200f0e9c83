//! A batch of changes against the part of the past that it needs.
//!
//! The gateway's store (PostgreSQL, or the simulator's) loads what [`needs`] names, [`WorkingSet::apply`]
//! decides, and the store writes what came of it: three steps in one transaction that holds the community's
//! version, with no decision in SQL and no I/O here.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ChangeId, RecordId, Value,
    authority::{self, Applied, Outcome, Past, Refusal, Standing, Trace},
    change::{Action, Base, Change},
    record::{RecordState, Stamp},
    shown::ChangeKind,
};

/// What has to be known to decide on a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    /// Whether these changes were answered before, and how.
    pub changes: BTreeSet<ChangeId>,
    /// These records.
    pub records: BTreeSet<RecordId>,
    /// What these changes did to these fields.
    pub traces: BTreeSet<(RecordId, String, ChangeId)>,
    /// What these fields came to hold at these versions.
    pub values: BTreeSet<(RecordId, String, u64)>,
}

/// What has to be known to decide on `changes`.
#[must_use]
pub fn needs(changes: &[Change]) -> Needs {
    let mut needs = Needs::default();
    for change in changes {
        needs.changes.insert(change.id);
        needs.records.insert(change.record);
        let Action::Put(edits) = &change.action else { continue };
        for (field, edit) in edits {
            match edit.base {
                Base::Version(0) => {}
                Base::Version(version) => {
                    needs.values.insert((change.record, field.clone(), version));
                }
                Base::Change(earlier) => {
                    needs.traces.insert((change.record, field.clone(), earlier));
                }
            }
        }
    }
    needs
}

/// What was loaded, and what has become of it so far.
#[derive(Debug, Clone, Default)]
pub struct WorkingSet {
    /// The newest version that was ever given in the community.
    pub version: u64,
    /// How changes were answered before.
    pub answered: BTreeMap<ChangeId, Outcome>,
    /// Records.
    pub records: BTreeMap<RecordId, RecordState>,
    /// What changes did to fields.
    pub traces: BTreeMap<(RecordId, String, ChangeId), Trace>,
    /// What fields came to hold.
    pub values: BTreeMap<(RecordId, String, u64), Value>,
}

/// What is to be written, all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Answers, in the order of the batch; repeated ones included.
    pub outcomes: Vec<(ChangeId, Outcome)>,
    /// Which of them are new and have to be remembered.
    pub answered: BTreeSet<ChangeId>,
    /// Records that became different, as they were and as they are.
    pub records: BTreeMap<RecordId, Became>,
    /// What was done to fields.
    pub traces: Vec<(RecordId, ChangeId, Trace)>,
    /// What changes did to records, in their order: what a record's history consists of.
    pub steps: Vec<Step>,
    /// The newest version given.
    pub version: u64,
}

/// What one change did to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The record.
    pub record: RecordId,
    /// The version that it made.
    pub version: u64,
    /// Who did it, and when.
    pub stamp: Stamp,
    /// What it did to the record as a whole.
    pub what: ChangeKind,
    /// The fields that came to hold something else.
    pub fields: Vec<String>,
}

impl Step {
    /// None where nothing but a conflict came of it.
    fn of(before: Option<&RecordState>, after: &RecordState, stamp: Stamp, traces: &[Trace]) -> Option<Self> {
        let became = traces.iter().filter(|trace| trace.became.is_some());
        let fields: Vec<String> = became.map(|trace| trace.field.clone()).collect();
        let was = before.map(|before| before.deleted.is_some());
        let what = match (was, after.deleted.is_some()) {
            (None, _) => ChangeKind::Created,
            (Some(false), true) => ChangeKind::Deleted,
            (Some(true), false) => ChangeKind::Restored,
            _ if fields.is_empty() => return None,
            _ => ChangeKind::Changed,
        };
        Some(Self { record: after.id, version: after.version, stamp, what, fields })
    }
}

/// A record before and after a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Became {
    /// As it was; none where it is new.
    pub before: Option<RecordState>,
    /// As it is.
    pub after: RecordState,
}

impl Past for WorkingSet {
    fn value_at(&self, record: RecordId, field: &str, version: u64) -> Option<Value> {
        self.values.get(&(record, field.to_owned(), version)).cloned()
    }

    fn trace(&self, record: RecordId, field: &str, change: ChangeId) -> Option<Trace> {
        self.traces.get(&(record, field.to_owned(), change)).cloned()
    }
}

impl WorkingSet {
    /// Decides on every change in turn. `may_write` says whether the sender may write into a project (none:
    /// the hub as a whole).
    pub fn apply(&mut self, changes: &[Change], may_write: impl Fn(Option<RecordId>) -> bool) -> Written {
        let mut written = Written::default();
        for change in changes {
            let outcome = match self.answered.get(&change.id) {
                Some(outcome) => outcome.clone(),
                None => {
                    let outcome = if may_write(change.project) {
                        self.decide(change, &mut written).unwrap_or_else(Outcome::Refused)
                    } else {
                        Outcome::Refused(Refusal::NotAllowed)
                    };
                    self.answered.insert(change.id, outcome.clone());
                    written.answered.insert(change.id);
                    outcome
                }
            };
            written.outcomes.push((change.id, outcome));
        }
        written.version = self.version;
        written
    }

    fn decide(&mut self, change: &Change, written: &mut Written) -> Result<Outcome, Refusal> {
        let before = self.records.get(&change.record).cloned();
        let next = self.version + 1;
        let Applied { record, outcome, traces } = authority::decide(before.as_ref(), change, next, self)?;
        written.steps.extend(Step::of(before.as_ref(), &record, change.stamp(), &traces));
        for trace in traces {
            if let Some(Standing { value, version }) = &trace.became {
                self.values.insert((change.record, trace.field.clone(), *version), value.clone());
            }
            self.traces.insert((change.record, trace.field.clone(), change.id), trace.clone());
            written.traces.push((change.record, change.id, trace));
        }
        if before.as_ref() != Some(&record) {
            self.version = next;
            let became = written.records.entry(change.record);
            became
                .and_modify(|became| became.after = record.clone())
                .or_insert_with(|| Became { before, after: record.clone() });
            self.records.insert(change.record, record);
        }
        Ok(outcome)
    }
}
