//! What must be true when everything has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use cairn_sync::{
    ChangeId, RecordId,
    authority::{Outcome, Refusal},
    change::{Action, Edit},
    wire::ScopeId,
};

use super::world::World;

type Check = fn(&World) -> Result<(), String>;

/// Every rule; the first that is broken is the finding.
pub(super) fn everything(world: &World) -> Result<(), String> {
    let rules: [Check; 8] = [
        nothing_leaks,
        everybody_is_one,
        no_queue_is_stuck,
        replicas_are_equal,
        nothing_acknowledged_is_lost,
        nothing_is_forgotten_too_early,
        counters_add_up,
        nothing_needed_healing,
    ];
    rules.into_iter().try_for_each(|rule| rule(world))
}

fn nothing_leaks(world: &World) -> Result<(), String> {
    world.leaks.first().map_or(Ok(()), |leak| Err(leak.clone()))
}

/// No two cards share an identity any more.
fn everybody_is_one(world: &World) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    let twice = world.hubs.iter().find(|hub| !seen.insert(hub.card.hub));
    twice.map_or(Ok(()), |hub| Err(format!("two cards are {}", hub.card.hub)))
}

/// A hub that was there all the time is never told that what it changed was deleted long ago: the gateway keeps a
/// deletion until every hub's changes that do not know of it have come. Only whoever knew of it, and brings back what is
/// forgotten meanwhile, comes too late; and what was made on top of a refused change, such as the deletion of a record
/// that was never accepted, has nothing to stand on.
fn nothing_is_forgotten_too_early(world: &World) -> Result<(), String> {
    for hub in world.hubs.iter().filter(|hub| !hub.late) {
        let refused: BTreeSet<ChangeId> = hub.card.refused.iter().map(|(change, _)| change.id).collect();
        for (change, refusal) in &hub.card.refused {
            let brings_back = matches!(&change.action, Action::Put(edits) if edits.is_empty());
            let stands = change.seen.own.is_disjoint(&refused);
            if *refusal == Refusal::Gone && stands && !brings_back {
                return Err(format!("change {} came after its record was forgotten", change.id));
            }
        }
    }
    Ok(())
}

fn no_queue_is_stuck(world: &World) -> Result<(), String> {
    let stuck = world.hubs.iter().find(|hub| !hub.card.waiting.is_empty());
    stuck.map_or(Ok(()), |hub| Err(format!("{} changes wait on {}", hub.card.waiting.len(), hub.card.hub)))
}

fn replicas_are_equal(world: &World) -> Result<(), String> {
    for hub in &world.hubs {
        let Some(enrolled) = world.gateway.hubs.get(&hub.card.hub) else {
            return Err(format!("{} is not enrolled", hub.card.hub));
        };
        for scope in enrolled.scopes.iter().filter(|scope| hub.card.cursors.contains_key(scope)) {
            let theirs: BTreeMap<RecordId, _> =
                world.gateway.in_scope(*scope).map(|record| (record.id, record)).collect();
            let in_scope = hub.card.confirmed.iter().filter(|record| ScopeId::from(record.project) == *scope);
            let ours: BTreeMap<RecordId, _> = in_scope.map(|record| (record.id, record)).collect();
            if ours != theirs {
                let all: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
                let first = all.into_iter().find(|id| ours.get(id) != theirs.get(id));
                let (our, their) = (first.and_then(|id| ours.get(id)), first.and_then(|id| theirs.get(id)));
                return Err(format!(
                    "{} differs from the gateway in {scope}: {our:?} here, {their:?} there",
                    hub.card.hub
                ));
            }
            let sums = [world.gateway.checksum(*scope), hub.card.confirmed.recomputed(*scope)];
            if sums.iter().any(|sum| *sum != hub.card.checksum(*scope)) {
                return Err(format!("the checksums of {scope} differ on {}", hub.card.hub));
            }
        }
    }
    Ok(())
}

/// Every write that somebody was told is saved took effect with a trace of every value, or lies aside on the
/// hub that made it with the reason.
fn nothing_acknowledged_is_lost(world: &World) -> Result<(), String> {
    let aside: BTreeSet<_> =
        world.hubs.iter().flat_map(|hub| &hub.card.refused).map(|(change, _)| change.id).collect();
    for change in world.acknowledged.values() {
        match world.gateway.answered.get(&change.id) {
            Some(Outcome::Refused(_)) if aside.contains(&change.id) => continue,
            Some(Outcome::Applied { .. }) => {}
            answer => return Err(format!("change {} is lost; the gateway's answer: {answer:?}", change.id)),
        }
        let Action::Put(edits) = &change.action else { continue };
        for field in edits.keys() {
            if !world.gateway.traces.contains_key(&(change.record, field.clone(), change.id)) {
                return Err(format!("what change {} did to {field} cannot be read any more", change.id));
            }
        }
    }
    Ok(())
}

/// A counter is the sum of everything that was ever added to it, each addition once.
fn counters_add_up(world: &World) -> Result<(), String> {
    let mut sums: BTreeMap<(RecordId, &str), i64> = BTreeMap::new();
    for change in world.acknowledged.values().chain(world.undone.values()) {
        if !matches!(world.gateway.answered.get(&change.id), Some(Outcome::Applied { .. })) {
            continue;
        }
        let Action::Put(edits) = &change.action else { continue };
        for (field, edit) in edits {
            if let Edit::Add(by) = edit.edit {
                *sums.entry((change.record, field)).or_default() += by;
            }
        }
    }
    for ((record, field), sum) in sums {
        // A record whose deletion is forgotten has no counter left to compare.
        let Some(state) = world.gateway.records.get(record) else { continue };
        let counter = state.fields.get(field).and_then(|field| field.value.as_int());
        if counter != Some(sum) {
            return Err(format!("{field} of {record} is {counter:?}, but {sum} was added to it"));
        }
    }
    Ok(())
}

/// The checksums are a net; without mistakes nothing falls into it.
fn nothing_needed_healing(world: &World) -> Result<(), String> {
    if world.healed_scopes == 0 {
        Ok(())
    } else {
        Err(format!("{} scopes had to be read again", world.healed_scopes))
    }
}
