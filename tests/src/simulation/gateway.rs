//! The gateway's store as a model: what PostgreSQL keeps, and one transaction per request.

use std::collections::{BTreeMap, BTreeSet};

use cairn_sync::{
    ChangeId, HubId, RecordId, Value,
    admission::{Admission, Seat},
    authority::{Outcome, Standing, Trace},
    batch::{WorkingSet, needs},
    checksum::Checksum,
    record::RecordState,
    wire::{Cursor, PROTOCOL, Reply, Request, ScopeId},
};

use super::{Sabotage, records::Records};

/// What the gateway knows of a hub.
#[derive(Debug, Clone, Default)]
pub(super) struct Enrolled {
    pub(super) seat: Seat,
    pub(super) floor: u64,
    pub(super) scopes: BTreeSet<ScopeId>,
    /// Replaced by another identity; nothing waits for it any more.
    pub(super) retired: bool,
}

/// Everything that is durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Gateway {
    pub(super) hubs: BTreeMap<HubId, Enrolled>,
    pub(super) records: Records,
    pub(super) traces: BTreeMap<(RecordId, String, ChangeId), Trace>,
    pub(super) values: BTreeMap<(RecordId, String, u64), Value>,
    pub(super) answered: BTreeMap<ChangeId, Outcome>,
    pub(super) horizons: BTreeMap<ScopeId, u64>,
    pub(super) version: u64,
    pub(super) rounds: usize,
}

/// How a request ends.
pub(super) enum Served {
    Reply(Box<Reply>),
    Copy,
}

impl Gateway {
    pub(super) fn enrol(&mut self, hub: HubId, scopes: BTreeSet<ScopeId>) {
        self.hubs.insert(hub, Enrolled { scopes, ..Enrolled::default() });
    }

    /// One transaction. The caller drops a clone of the state to play a crash before the commit.
    pub(super) fn serve(
        &mut self,
        request: &Request,
        ticket: u64,
        sabotage: Option<Sabotage>,
    ) -> Option<Served> {
        let enrolled = self.hubs.get_mut(&request.hub)?;
        let admission = enrolled.seat.admit(request);
        if admission == Admission::Copy && sabotage != Some(Sabotage::AdmitCopies) {
            return Some(Served::Copy);
        }
        enrolled.seat = enrolled.seat.served(request, ticket);
        enrolled.floor = request.floor;
        let (ticket, scopes) = (enrolled.seat.ticket, enrolled.scopes.clone());
        self.rounds += 1;

        let mut set = self.load(request, sabotage);
        let written = set.apply(&request.changes, |project| scopes.contains(&ScopeId::from(project)));
        for (id, became) in written.records {
            debug_assert_eq!(id, became.after.id);
            self.records.insert(became.after);
        }
        for (record, change, trace) in written.traces {
            if let Some(Standing { value, version }) = &trace.became {
                self.values.insert((record, trace.field.clone(), *version), value.clone());
            }
            self.traces.insert((record, trace.field.clone(), change), trace);
        }
        for (id, outcome) in &written.outcomes {
            self.answered.insert(*id, outcome.clone());
        }
        self.version = written.version;

        let mut reply = self.newer(request, &scopes, sabotage);
        reply.ticket = ticket;
        reply.outcomes = written.outcomes;
        Some(Served::Reply(Box::new(reply)))
    }

    fn load(&self, request: &Request, sabotage: Option<Sabotage>) -> WorkingSet {
        let needs = needs(&request.changes);
        let mut answered = pick(&self.answered, &needs.changes);
        if sabotage == Some(Sabotage::ForgetAnswered) {
            answered.clear();
        }
        WorkingSet {
            version: self.version,
            answered,
            records: pick(self.records.by_id(), &needs.records),
            traces: pick(&self.traces, &needs.traces),
            values: pick(&self.values, &needs.values),
        }
    }

    fn newer(&self, request: &Request, scopes: &BTreeSet<ScopeId>, sabotage: Option<Sabotage>) -> Reply {
        let (granted, withheld): (Vec<_>, Vec<_>) =
            request.cursors.iter().partition(|(scope, _)| scopes.contains(scope));
        let mut from = BTreeMap::new();
        let mut reread = Vec::new();
        for (scope, cursor) in granted {
            let horizon = self.horizons.get(scope).copied().unwrap_or(0);
            if cursor.must_begin_anew(horizon) {
                reread.push(*scope);
                from.insert(*scope, Cursor { version: 0, horizon });
            } else {
                from.insert(*scope, *cursor);
            }
        }
        let margin = u64::from(sabotage == Some(Sabotage::SkipOne));
        let mut records: Vec<RecordState> = self
            .records
            .iter()
            .filter(|record| {
                let cursor = from.get(&ScopeId::from(record.project));
                cursor.is_some_and(|cursor| record.version > cursor.version + margin.min(cursor.version))
            })
            .cloned()
            .collect();
        records.sort_by_key(|record| record.version);
        let more = records.len() > request.limit as usize;
        records.truncate(request.limit as usize);
        let up_to = if more { records.last().map_or(0, |record| record.version) } else { self.version };
        let cursors: BTreeMap<_, _> = from
            .iter()
            .map(|(scope, cursor)| (*scope, Cursor { version: cursor.version.max(up_to), ..*cursor }))
            .collect();
        let sums = |scope: &ScopeId| (*scope, self.checksum(*scope));
        let checksums = if more { BTreeMap::new() } else { cursors.keys().map(sums).collect() };
        let horizons =
            cursors.keys().filter_map(|scope| Some((*scope, *self.horizons.get(scope)?))).collect();
        Reply {
            protocol: PROTOCOL,
            request: request.request,
            ticket: 0,
            outcomes: Vec::new(),
            records,
            cursors,
            horizons,
            reread,
            withheld: withheld.into_iter().map(|(scope, _)| *scope).collect(),
            more,
            checksums,
        }
    }

    pub(super) fn checksum(&self, scope: ScopeId) -> Checksum {
        self.records.checksum(scope)
    }

    pub(super) fn in_scope(&self, scope: ScopeId) -> impl Iterator<Item = &RecordState> {
        self.records.iter().filter(move |record| ScopeId::from(record.project) == scope)
    }

    /// Forgets deletions that every hub of the scope has passed.
    pub(super) fn collect(&mut self, scope: ScopeId, sabotage: Option<Sabotage>) {
        let floors = self.hubs.values().filter(|hub| !hub.retired && hub.scopes.contains(&scope));
        let mut horizon = floors.map(|hub| hub.floor).min().unwrap_or(0);
        if sabotage == Some(Sabotage::ForgetDeletionsEarly) {
            // Forgotten, and not even said.
            horizon = self.version;
        } else {
            // What is forgotten stays forgotten, whoever joins later.
            let forgotten = self.horizons.entry(scope).or_default();
            *forgotten = horizon.max(*forgotten);
        }
        let gone = |record: &RecordState| record.deleted.is_some() && record.version <= horizon;
        self.records.remove_where(|record| ScopeId::from(record.project) == scope && gone(record));
    }
}

fn pick<K: Ord + Clone, V: Clone>(from: &BTreeMap<K, V>, keys: &BTreeSet<K>) -> BTreeMap<K, V> {
    keys.iter().filter_map(|key| Some((key.clone(), from.get(key)?.clone()))).collect()
}
