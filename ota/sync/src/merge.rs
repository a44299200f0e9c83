//! Two changes of one field that did not know of each other, brought together by the field's strategy.
//!
//! Pure: what was there, what came, what the strategy says → what becomes of it. The strategies are declared
//! per field in [`crate::kinds`].

pub mod text;

use std::collections::BTreeSet;

use crate::{Hlc, Strategy, Value, change::Edit};

/// What becomes of an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing changed since the editor looked: the edit's value stands.
    Accept(Value),
    /// Both changed to the same value.
    Same,
    /// Both changed; the edit's value stands, the present one goes to the history.
    Win(Value),
    /// Both changed; the present value stands, the edit's goes to the history.
    Lose,
    /// Both changed; the value holds what both did.
    Merged(Value),
    /// Both changed; a person has to choose. Until then the present value stands.
    Ask,
}

/// One side of a merge: a value and its place in the order of changes.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The value.
    pub value: &'a Value,
    /// When it was set.
    pub hlc: Hlc,
}

/// Decides on `edit` of a field whose present state is `present`.
///
/// `concurrent` says whether the present value was set without the editor knowing; `base` is the value that
/// the editor saw, where it is still known.
#[must_use]
pub fn decide(
    strategy: Strategy,
    concurrent: bool,
    base: Option<&Value>,
    present: Option<Side<'_>>,
    edit: &Edit,
    edit_hlc: Hlc,
) -> Decision {
    let present_value = present.map_or(&Value::Null, |side| side.value);
    let value = match edit {
        // Deltas say what was done, not what came out: they hold whatever the other side did.
        Edit::Add(by) => {
            return delta(concurrent, Value::Int(present_value.as_int().unwrap_or(0).saturating_add(*by)));
        }
        Edit::Elements { add, remove } => {
            return delta(concurrent, with_elements(present_value, add, remove));
        }
        Edit::Set(value) => value,
    };
    if !concurrent {
        return Decision::Accept(value.clone());
    }
    if value == present_value {
        return Decision::Same;
    }
    match strategy {
        Strategy::LastWriteWins => {
            if present.is_none_or(|side| edit_hlc > side.hlc) {
                Decision::Win(value.clone())
            } else {
                Decision::Lose
            }
        }
        Strategy::GatewayWins => Decision::Lose,
        Strategy::HubWins => Decision::Win(value.clone()),
        Strategy::Merge => merge_text(base, present_value, value),
        Strategy::Add | Strategy::Manual => Decision::Ask,
    }
}

const fn delta(concurrent: bool, value: Value) -> Decision {
    if concurrent { Decision::Merged(value) } else { Decision::Accept(value) }
}

fn merge_text(base: Option<&Value>, present: &Value, edit: &Value) -> Decision {
    let (Some(present), Some(edit)) = (present.as_text(), edit.as_text()) else { return Decision::Ask };
    // Without the common ancestor nobody can tell an addition from a removal.
    let Some(base) = base else { return Decision::Ask };
    let base = base.as_text().unwrap_or_default();
    text::merge(base, present, edit).map_or(Decision::Ask, |merged| Decision::Merged(Value::Text(merged)))
}

/// `value` as a set, with elements added and removed.
#[must_use]
pub fn with_elements(value: &Value, add: &BTreeSet<String>, remove: &BTreeSet<String>) -> Value {
    let mut set = value.as_set().cloned().unwrap_or_default();
    set.retain(|element| !remove.contains(element));
    set.extend(add.iter().cloned());
    Value::Set(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HubId;

    fn at(millis: u64) -> Hlc {
        Hlc::at(millis, HubId::from_bytes([7; 16]))
    }

    fn set(items: &[&str]) -> BTreeSet<String> {
        items.iter().map(|item| (*item).to_owned()).collect()
    }

    /// One row of the table: strategy, what came, and what becomes of it, on a field that somebody else
    /// set to "theirs" at 10 while the editor saw "base".
    #[test]
    fn concurrent_edits_follow_the_strategy() {
        let mine = || Edit::Set(Value::from("mine"));
        let rows = [
            (Strategy::LastWriteWins, mine(), 11, Decision::Win("mine".into())),
            (Strategy::LastWriteWins, mine(), 9, Decision::Lose),
            (Strategy::GatewayWins, mine(), 11, Decision::Lose),
            (Strategy::HubWins, mine(), 9, Decision::Win("mine".into())),
            (Strategy::Manual, mine(), 11, Decision::Ask),
            (Strategy::Merge, mine(), 11, Decision::Ask),
            (Strategy::Manual, Edit::Set("theirs".into()), 11, Decision::Same),
        ];
        for (strategy, edit, millis, expected) in rows {
            let (base, theirs) = (Value::from("base"), Value::from("theirs"));
            let present = Side { value: &theirs, hlc: at(10) };
            let got = decide(strategy, true, Some(&base), Some(present), &edit, at(millis));
            assert_eq!(got, expected, "{strategy:?} at {millis}");
        }
    }

    #[test]
    fn an_edit_that_knew_the_present_value_stands() {
        let theirs = Value::from("theirs");
        for strategy in [Strategy::LastWriteWins, Strategy::GatewayWins, Strategy::Manual, Strategy::Merge] {
            let present = Side { value: &theirs, hlc: at(10) };
            let got = decide(strategy, false, None, Some(present), &Edit::Set("mine".into()), at(1));
            assert_eq!(got, Decision::Accept("mine".into()));
        }
    }

    #[test]
    fn counters_add_and_sets_keep_both_sides_changes() {
        let present = Value::Int(5);
        let side = Side { value: &present, hlc: at(10) };
        let got = decide(Strategy::Add, true, None, Some(side), &Edit::Add(3), at(1));
        assert_eq!(got, Decision::Merged(Value::Int(8)));

        let present = Value::Set(set(&["well", "pump"]));
        let side = Side { value: &present, hlc: at(10) };
        let edit = Edit::Elements { add: set(&["tank"]), remove: set(&["well"]) };
        let got = decide(Strategy::Merge, true, None, Some(side), &edit, at(1));
        assert_eq!(got, Decision::Merged(Value::Set(set(&["pump", "tank"]))));
    }

    #[test]
    fn text_is_merged_three_ways_and_asks_without_its_ancestor() {
        let base = Value::from("one\ntwo\nthree\n");
        let theirs = Value::from("ONE\ntwo\nthree\n");
        let mine = Edit::Set(Value::from("one\ntwo\nTHREE\n"));
        let present = Side { value: &theirs, hlc: at(10) };
        let got = decide(Strategy::Merge, true, Some(&base), Some(present), &mine, at(11));
        assert_eq!(got, Decision::Merged("ONE\ntwo\nTHREE\n".into()));
        assert_eq!(decide(Strategy::Merge, true, None, Some(present), &mine, at(11)), Decision::Ask);
    }
}
