//! Stories of two hubs that change the same record without knowing of each other.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::collections::{BTreeMap, BTreeSet};

use cairn_sync::{
    ChangeId, Hlc, HubId, Kind, RecordId, Value,
    authority::{Applied, FieldOutcome, Outcome, Past, Refusal, Standing, Trace, decide},
    change::{Action, Base, Change, Edit, FieldEdit, Seen},
    record::{Ancestor, RecordState, Wish},
};

/// A gateway in memory.
#[derive(Default)]
struct Gateway {
    records: BTreeMap<RecordId, RecordState>,
    traces: BTreeMap<(RecordId, String, ChangeId), Trace>,
    values: BTreeMap<(RecordId, String, u64), Value>,
    version: u64,
}

impl Past for Gateway {
    fn value_at(&self, record: RecordId, field: &str, version: u64) -> Option<Value> {
        self.values.get(&(record, field.to_owned(), version)).cloned()
    }

    fn trace(&self, record: RecordId, field: &str, change: ChangeId) -> Option<Trace> {
        self.traces.get(&(record, field.to_owned(), change)).cloned()
    }
}

impl Gateway {
    fn push(&mut self, change: &Change) -> Result<BTreeMap<String, FieldOutcome>, Refusal> {
        let next = self.version + 1;
        let Applied { record, outcome, traces } =
            decide(self.records.get(&change.record), change, next, self)?;
        self.version = self.version.max(record.version);
        for trace in traces {
            if let Some(Standing { value, version }) = &trace.became {
                self.values.insert((change.record, trace.field.clone(), *version), value.clone());
            }
            self.traces.insert((change.record, trace.field.clone(), change.id), trace);
        }
        self.records.insert(change.record, record);
        match outcome {
            Outcome::Applied { fields, .. } => Ok(fields),
            Outcome::Refused(refusal) => Err(refusal),
        }
    }

    fn record(&self, id: RecordId) -> &RecordState {
        &self.records[&id]
    }

    fn text(&self, id: RecordId, field: &str) -> &str {
        self.record(id).fields[field].value.as_text().unwrap()
    }
}

/// Someone on one hub, with a clock of their own.
struct Person {
    hub: HubId,
    millis: u64,
}

impl Person {
    fn new(millis: u64) -> Self {
        Self { hub: HubId::new(), millis }
    }

    fn act(&mut self, record: RecordId, seen: Seen, action: Action) -> Change {
        self.millis += 1;
        Change {
            id: ChangeId::new(),
            record,
            kind: Kind::Notice,
            project: None,
            by: None,
            hlc: Hlc::at(self.millis, self.hub),
            seen,
            settles: BTreeSet::new(),
            action,
        }
    }

    fn edit(&mut self, record: RecordId, seen: u64, edits: &[(&str, &str, Base)]) -> Change {
        let edits = edits.iter().map(|(field, value, base)| {
            ((*field).to_owned(), FieldEdit { edit: Edit::Set(Value::from(*value)), base: *base })
        });
        let seen = Seen { version: seen, own: BTreeSet::new() };
        self.act(record, seen, Action::Put(edits.collect()))
    }

    fn notice(&mut self, gateway: &mut Gateway) -> RecordId {
        let new = Base::Version(0);
        let id = RecordId::new();
        let change =
            self.edit(id, 0, &[("title", "Well", new), ("body", "a\nb\nc\n", new), ("level", "info", new)]);
        gateway.push(&change).unwrap();
        id
    }
}

fn setting() -> (Gateway, Person, Person, RecordId) {
    let mut gateway = Gateway::default();
    let mut ana = Person::new(1_000);
    let notice = ana.notice(&mut gateway);
    (gateway, ana, Person::new(2_000), notice)
}

#[test]
fn different_fields_do_not_conflict() {
    let (mut gateway, mut ana, mut ben, notice) = setting();
    gateway.push(&ana.edit(notice, 1, &[("title", "The well", Base::Version(1))])).unwrap();
    gateway.push(&ben.edit(notice, 1, &[("level", "urgent", Base::Version(1))])).unwrap();
    assert_eq!(gateway.text(notice, "title"), "The well");
    assert_eq!(gateway.text(notice, "level"), "urgent");
    assert!(gateway.record(notice).conflicts.is_empty());
}

#[test]
fn the_later_clock_wins_where_the_table_says_so_and_the_loser_is_kept() {
    let (mut gateway, mut ana, mut ben, notice) = setting();
    gateway.push(&ben.edit(notice, 1, &[("level", "urgent", Base::Version(1))])).unwrap();
    let late = ana.edit(notice, 1, &[("level", "warning", Base::Version(1))]);
    assert_eq!(gateway.push(&late).unwrap()["level"], FieldOutcome::Lost);
    assert_eq!(gateway.text(notice, "level"), "urgent");
    let trace = gateway.trace(notice, "level", late.id).unwrap();
    assert_eq!(trace.submitted, Value::from("warning"));
}

#[test]
fn a_conflict_keeps_both_sides_until_a_person_settles_it() {
    let (mut gateway, mut ana, mut ben, notice) = setting();
    gateway.push(&ana.edit(notice, 1, &[("title", "North well", Base::Version(1))])).unwrap();
    let outcome = gateway.push(&ben.edit(notice, 1, &[("title", "Old well", Base::Version(1))])).unwrap();
    let FieldOutcome::Conflict(key) = outcome["title"].clone() else { panic!("{outcome:?}") };
    let conflict = &gateway.record(notice).conflicts[&key];
    assert_eq!(conflict.base, Ancestor::Known("Well".into()));
    assert_eq!(conflict.present.wish, Wish::Value("North well".into()));
    assert_eq!(conflict.incoming.wish, Wish::Value("Old well".into()));

    let seen = gateway.record(notice).version;
    let base = Base::Version(gateway.record(notice).fields["title"].version);
    let mut settle = ana.edit(notice, seen, &[("title", "Old north well", base)]);
    settle.settles.insert(key);
    gateway.push(&settle).unwrap();
    assert_eq!(gateway.text(notice, "title"), "Old north well");
    assert!(gateway.record(notice).conflicts.is_empty());
}

#[test]
fn text_changed_in_two_places_merges() {
    let (mut gateway, mut ana, mut ben, notice) = setting();
    gateway.push(&ana.edit(notice, 1, &[("body", "A\nb\nc\n", Base::Version(1))])).unwrap();
    let outcome = gateway.push(&ben.edit(notice, 1, &[("body", "a\nb\nC\n", Base::Version(1))])).unwrap();
    assert_eq!(outcome["body"], FieldOutcome::Merged);
    assert_eq!(gateway.text(notice, "body"), "A\nb\nC\n");
}

#[test]
fn an_edit_on_ones_own_unanswered_edit_is_no_conflict_with_oneself() {
    let (mut gateway, mut ana, _, notice) = setting();
    let first = ana.edit(notice, 1, &[("title", "Well one", Base::Version(1))]);
    let second = ana.edit(notice, 1, &[("title", "Well two", Base::Change(first.id))]);
    gateway.push(&first).unwrap();
    assert_eq!(gateway.push(&second).unwrap()["title"], FieldOutcome::Accepted);
    assert_eq!(gateway.text(notice, "title"), "Well two");
}

#[test]
fn an_edit_on_ones_own_edit_that_met_another_asks_once() {
    let (mut gateway, mut ana, mut ben, notice) = setting();
    gateway.push(&ben.edit(notice, 1, &[("title", "Pump", Base::Version(1))])).unwrap();
    let first = ana.edit(notice, 1, &[("title", "Well one", Base::Version(1))]);
    let second = ana.edit(notice, 1, &[("title", "Well two", Base::Change(first.id))]);
    gateway.push(&first).unwrap();
    gateway.push(&second).unwrap();
    let conflicts: Vec<_> = gateway.record(notice).conflicts.values().collect();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].incoming.wish, Wish::Value("Well two".into()));
    assert_eq!(conflicts[0].base, Ancestor::Known("Well".into()));
    assert_eq!(gateway.text(notice, "title"), "Pump");
}

#[test]
fn a_text_typed_on_after_it_was_merged_keeps_both_sides_and_the_rest() {
    let (mut gateway, mut ana, mut ben, notice) = setting();
    gateway.push(&ben.edit(notice, 1, &[("body", "B\nb\nc\n", Base::Version(1))])).unwrap();
    let first = ana.edit(notice, 1, &[("body", "a\nb\nc\nd\n", Base::Version(1))]);
    let second = ana.edit(notice, 1, &[("body", "a\nb\nc\nd\ne\n", Base::Change(first.id))]);
    gateway.push(&first).unwrap();
    assert_eq!(gateway.push(&second).unwrap()["body"], FieldOutcome::Merged);
    assert_eq!(gateway.text(notice, "body"), "B\nb\nc\nd\ne\n");
}

#[test]
fn a_deletion_that_knew_everything_deletes() {
    let (mut gateway, mut ana, _, notice) = setting();
    let seen = Seen { version: 1, own: BTreeSet::new() };
    gateway.push(&ana.act(notice, seen, Action::Delete)).unwrap();
    assert!(gateway.record(notice).deleted.is_some());
}

#[test]
fn a_deletion_against_an_unseen_edit_waits_for_a_person_in_either_order() {
    for delete_first in [true, false] {
        let (mut gateway, mut ana, mut ben, notice) = setting();
        let delete = ana.act(notice, Seen { version: 1, own: BTreeSet::new() }, Action::Delete);
        let edit = ben.edit(notice, 1, &[("title", "Deep well", Base::Version(1))]);
        let (first, second) = if delete_first { (&delete, &edit) } else { (&edit, &delete) };
        gateway.push(first).unwrap();
        gateway.push(second).unwrap();
        let record = gateway.record(notice);
        assert!(record.deleted.is_none());
        assert_eq!(record.conflicts.len(), 1);
        assert_eq!(gateway.text(notice, "title"), "Deep well");
    }
}

#[test]
fn a_deletion_may_be_undone_by_whoever_saw_it() {
    let (mut gateway, mut ana, _, notice) = setting();
    let delete = ana.act(notice, Seen { version: 1, own: BTreeSet::new() }, Action::Delete);
    gateway.push(&delete).unwrap();
    let own = BTreeSet::from([delete.id]);
    let back = ana.act(notice, Seen { version: 1, own }, Action::Put(BTreeMap::new()));
    gateway.push(&back).unwrap();
    assert!(gateway.record(notice).deleted.is_none());
    assert!(gateway.record(notice).conflicts.is_empty());
}

#[test]
fn what_can_never_fit_is_refused_and_changes_nothing() {
    let (mut gateway, mut ana, _, notice) = setting();
    let before = gateway.record(notice).clone();
    let unknown = ana.edit(notice, 1, &[("colour", "blue", Base::Version(1))]);
    let choice = ana.edit(notice, 1, &[("level", "loud", Base::Version(1))]);
    let mut kind = ana.edit(notice, 1, &[("title", "x", Base::Version(1))]);
    kind.kind = Kind::Message;
    let incomplete = ana.edit(RecordId::new(), 0, &[("body", "no title", Base::Version(0))]);
    for change in [unknown, choice, kind, incomplete] {
        assert!(gateway.push(&change).is_err());
    }
    assert_eq!(gateway.record(notice), &before);
}
