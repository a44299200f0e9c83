//! The contents of a round: what a hub sends, and what it may take in of the answer.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    ChangeId,
    authority::Outcome,
    change::{Change, Seen},
    checksum::Checksum,
    record::RecordState,
    wire::{Cursor, MAX_CHANGES, MAX_RECORDS, Reply, Request, RequestId, ScopeId},
};

/// What a round needs to know of a hub's store.
pub trait Local {
    /// The request that was written down and not answered yet.
    fn unanswered(&self) -> Option<Request>;
    /// This hub.
    fn hub(&self) -> crate::HubId;
    /// The ticket of the last reply taken in; 0 at first.
    fn ticket(&self) -> u64;
    /// The oldest waiting changes, at most `limit`, oldest first.
    fn waiting(&self, limit: usize) -> Vec<Change>;
    /// What the makers of waiting changes of chosen scopes had seen: of all that were put into words, not only of those
    /// that fit into a request.
    fn seen(&self) -> Vec<(ChangeId, Seen)>;
    /// Up to where each chosen scope is known.
    fn cursors(&self) -> BTreeMap<ScopeId, Cursor>;
}

/// The request to send next: the unanswered one again, or a new one. The caller writes a new one down before
/// sending it.
#[must_use]
pub fn request(local: &impl Local, random: [u8; 16], limit: u32) -> Request {
    local.unanswered().unwrap_or_else(|| {
        let changes = local.waiting(MAX_CHANGES);
        let cursors = local.cursors();
        let floor = floor(&cursors, &local.seen());
        Request {
            protocol: crate::wire::PROTOCOL,
            hub: local.hub(),
            request: RequestId::from_random(random),
            ticket: local.ticket(),
            changes,
            cursors,
            floor,
            limit: limit.min(MAX_RECORDS),
        }
    })
}

/// Up to where deletions may be forgotten for all that waits here: a record on which changes wait is not forgotten, since
/// another change may be made on top of them before they are answered. The deletion that a change's maker had seen is
/// kept too, and so is what was done to a record since the gateway took it from here, which nobody had seen. A record
/// that the gateway does not have yet cannot be forgotten by it.
fn floor(cursors: &BTreeMap<ScopeId, Cursor>, waiting: &[(ChangeId, Seen)]) -> u64 {
    let known = cursors.values().map(|cursor| cursor.version).min().unwrap_or(0);
    let unanswered: BTreeSet<ChangeId> = waiting.iter().map(|(change, _)| *change).collect();
    let bounds = waiting.iter().filter_map(|(_, seen)| match seen.version {
        0 => (!seen.own.is_subset(&unanswered)).then_some(0),
        version => Some(version - 1),
    });
    bounds.fold(known, u64::min)
}

/// What a hub's store does with a reply, all of it in one transaction or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// These scopes start from the beginning: what is held of them is stale until it comes again.
    pub reread: Vec<ScopeId>,
    /// These changes are answered: they leave the queue; refused ones are kept aside and shown.
    pub answered: Vec<(ChangeId, Outcome)>,
    /// These records are confirmed.
    pub records: Vec<RecordState>,
    /// Up to where each scope is known then.
    pub cursors: BTreeMap<ScopeId, Cursor>,
    /// Deletions up to these versions are forgotten.
    pub horizons: BTreeMap<ScopeId, u64>,
    /// These scopes are complete: what is still stale in them is gone.
    pub complete: Vec<ScopeId>,
    /// The hub may not have these scopes; asking for them again is of no use until somebody allows it.
    pub withheld: Vec<ScopeId>,
    /// For the next request.
    pub ticket: u64,
}

/// A reply that no gateway that keeps the protocol would give.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// It answers something else.
    #[error("the reply answers another request")]
    OtherRequest,
    /// It answers changes that were not sent, or not in their order.
    #[error("the reply answers changes that were not sent")]
    OtherChanges,
    /// It holds records of a scope that was not asked for.
    #[error("the reply holds records that were not asked for")]
    OtherScope,
    /// More records than asked for.
    #[error("the reply holds more records than asked for")]
    TooMany,
    /// A cursor went back, or stands before a record of the reply.
    #[error("the reply's cursors do not fit its records")]
    Cursors,
}

/// Checks a reply against the request that it answers.
///
/// # Errors
/// [`Nonsense`]; nothing of such a reply may be taken in.
pub fn take_in(request: &Request, reply: Reply) -> Result<Intake, Nonsense> {
    if reply.request != request.request {
        return Err(Nonsense::OtherRequest);
    }
    let sent = request.changes.iter().map(|change| change.id);
    if !sent.eq(reply.outcomes.iter().map(|(id, _)| *id)) {
        return Err(Nonsense::OtherChanges);
    }
    if reply.records.len() > request.limit as usize {
        return Err(Nonsense::TooMany);
    }
    let reread: BTreeSet<ScopeId> = reply.reread.iter().copied().collect();
    let withheld: BTreeSet<ScopeId> = reply.withheld.iter().copied().collect();
    for (scope, cursor) in &reply.cursors {
        let Some(asked) = request.cursors.get(scope) else { return Err(Nonsense::OtherScope) };
        if cursor.version < asked.version && !reread.contains(scope) {
            return Err(Nonsense::Cursors);
        }
    }
    for record in &reply.records {
        let scope = ScopeId::from(record.project);
        match reply.cursors.get(&scope) {
            Some(cursor) if record.version <= cursor.version && !withheld.contains(&scope) => {}
            Some(_) => return Err(Nonsense::Cursors),
            None => return Err(Nonsense::OtherScope),
        }
    }
    let complete = if reply.more { Vec::new() } else { reply.cursors.keys().copied().collect() };
    Ok(Intake {
        reread: reply.reread,
        answered: reply.outcomes,
        records: reply.records,
        cursors: reply.cursors,
        horizons: reply.horizons,
        complete,
        withheld: reply.withheld,
        ticket: reply.ticket,
    })
}

/// The scopes that do not add up to what the gateway says: they are read again from the beginning.
#[must_use]
pub fn mismatches(ours: &BTreeMap<ScopeId, Checksum>, theirs: &BTreeMap<ScopeId, Checksum>) -> Vec<ScopeId> {
    let differs =
        |(scope, sum): &(&ScopeId, &Checksum)| ours.get(scope).copied().unwrap_or_default() != **sum;
    theirs.iter().filter(differs).map(|(scope, _)| *scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(number: u8) -> ChangeId {
        ChangeId::from_bytes([number; 16])
    }

    fn floor_of(waiting: &[(u8, u64, &[u8])]) -> u64 {
        let cursors = [(ScopeId::Community, Cursor { version: 100, horizon: 0 })].into();
        let seen = |version, own: &[u8]| Seen { version, own: own.iter().map(|own| change(*own)).collect() };
        let waiting: Vec<_> =
            waiting.iter().map(|(id, version, own)| (change(*id), seen(*version, own))).collect();
        floor(&cursors, &waiting)
    }

    #[test]
    fn nothing_is_forgotten_of_a_record_on_which_changes_wait() {
        assert_eq!(floor_of(&[]), 100, "all that is known");
        assert_eq!(floor_of(&[(1, 40, &[]), (2, 90, &[])]), 39, "the deletion that it had seen is kept too");
        assert_eq!(
            floor_of(&[(1, 0, &[]), (2, 0, &[1])]),
            100,
            "what was made here cannot be forgotten there"
        );
        assert_eq!(floor_of(&[(2, 0, &[1])]), 0, "it is there by now, and may have been deleted");
    }
}
