//! A hub's side of a record: what the gateway has confirmed, what a person changed since, and what that looks
//! like together.
//!
//! What a person sees is always the confirmed record with the waiting changes on top. It is derived, so that no
//! order of answers, repetitions and losses can leave it wrong.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Value,
    change::{Action, Change, Edit},
    merge,
    record::RecordState,
};

/// A record as a person sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible {
    /// Its fields.
    pub fields: BTreeMap<String, Value>,
    /// Whether it is deleted.
    pub deleted: bool,
}

/// The confirmed record with the waiting changes on top, in the order in which they were made.
#[must_use]
pub fn visible(confirmed: Option<&RecordState>, waiting: &[Change]) -> Visible {
    let mut seen = confirmed.map_or_else(Visible::default, |record| Visible {
        fields: record.fields.iter().map(|(name, field)| (name.clone(), field.value.clone())).collect(),
        deleted: record.deleted.is_some(),
    });
    for change in waiting {
        match &change.action {
            Action::Delete => seen.deleted = true,
            Action::Put(edits) => {
                seen.deleted = false;
                for (name, edit) in edits {
                    let field = seen.fields.entry(name.clone()).or_insert(Value::Null);
                    *field = edited(field, &edit.edit);
                }
            }
        }
    }
    seen
}

fn edited(value: &Value, edit: &Edit) -> Value {
    match edit {
        Edit::Set(value) => value.clone(),
        Edit::Add(by) => Value::Int(value.as_int().unwrap_or(0).saturating_add(*by)),
        Edit::Elements { add, remove } => merge::with_elements(value, add, remove),
    }
}

/// What an incoming record is to a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Situation {
    /// The hub has this version or a newer one.
    Known,
    /// The hub does not have the record.
    New,
    /// Newer than the hub's, and nobody here changed it since.
    Newer,
    /// Newer than the hub's, while changes made here wait; these fields are touched by both.
    NewerUnderWaiting(BTreeSet<String>),
}

/// Classifies an incoming record.
#[must_use]
pub fn classify(confirmed: Option<&RecordState>, waiting: &[Change], incoming: &RecordState) -> Situation {
    match confirmed {
        Some(ours) if ours.version >= incoming.version => Situation::Known,
        _ if !waiting.is_empty() => {
            Situation::NewerUnderWaiting(touched_by_both(confirmed, waiting, incoming))
        }
        Some(_) => Situation::Newer,
        None => Situation::New,
    }
}

fn touched_by_both(
    confirmed: Option<&RecordState>,
    waiting: &[Change],
    incoming: &RecordState,
) -> BTreeSet<String> {
    let known = confirmed.map_or(0, |record| record.version);
    let own: BTreeSet<_> = waiting.iter().map(|change| change.id).collect();
    let touched_here = waiting.iter().filter_map(|change| match &change.action {
        Action::Put(edits) => Some(edits.keys()),
        Action::Delete => None,
    });
    touched_here
        .flatten()
        .filter(|name| {
            let theirs = incoming.fields.get(*name);
            theirs.is_some_and(|field| field.version > known && !own.contains(&field.stamp.change))
        })
        .cloned()
        .collect()
}
