//! A hub as a model: what its card keeps, and what is lost with the power.

use std::collections::{BTreeMap, BTreeSet};

use cairn_sync::{
    ChangeId, Hlc, HubId, RecordId,
    authority::{Outcome, Refusal},
    backoff::Backoff,
    change::{Change, Seen},
    checksum::Checksum,
    record::RecordState,
    round::{Intake, Local},
    session::{Session, Way},
    wire::{Cursor, Request, ScopeId},
};

use super::{Sabotage, records::Records};

/// What is on the card. Every method is one transaction.
#[derive(Debug, Clone)]
pub(super) struct Card {
    pub(super) hub: HubId,
    pub(super) ticket: u64,
    pub(super) confirmed: Records,
    stale: BTreeSet<RecordId>,
    pub(super) waiting: Vec<Change>,
    pub(super) refused: Vec<(Change, Refusal)>,
    pub(super) cursors: BTreeMap<ScopeId, Cursor>,
    pub(super) unanswered: Option<Request>,
    pub(super) clock: Hlc,
    pub(super) backoff: Backoff,
}

/// A hub: its card, and while it has power, its session.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) card: Card,
    pub(super) way: Way,
    pub(super) session: Option<Session>,
    /// Counts starts, so that what was under way before a crash is known to be gone.
    pub(super) life: u32,
    /// Wall clock minus virtual time, in milliseconds; may be absurd.
    pub(super) clock_offset: u64,
    pub(super) cut_off_until: u64,
    /// The newest old state that a backup holds.
    pub(super) backup: Option<Card>,
    /// It came back under another identity or with other scopes at some time, so that something of what it knew may have
    /// been forgotten meanwhile.
    pub(super) late: bool,
}

impl Card {
    pub(super) fn new(hub: HubId, scopes: &BTreeSet<ScopeId>) -> Self {
        Self {
            hub,
            ticket: 0,
            confirmed: Records::default(),
            stale: BTreeSet::new(),
            waiting: Vec::new(),
            refused: Vec::new(),
            cursors: scopes.iter().map(|scope| (*scope, Cursor::default())).collect(),
            unanswered: None,
            clock: Hlc::ZERO,
            backoff: Backoff::default(),
        }
    }

    pub(super) fn waiting_on(&self, record: RecordId) -> Vec<Change> {
        self.waiting.iter().filter(|change| change.record == record).cloned().collect()
    }

    /// Whether a change waits here or lies aside.
    pub(super) fn holds(&self, change: ChangeId) -> bool {
        self.waiting.iter().any(|other| other.id == change)
            || self.refused.iter().any(|(other, _)| other.id == change)
    }

    pub(super) fn take_in(&mut self, intake: Intake, wall: u64, sabotage: Option<Sabotage>) {
        for scope in &intake.reread {
            self.begin_anew(*scope);
        }
        if sabotage == Some(Sabotage::EmptyQueue) {
            self.waiting.clear();
        }
        for (id, outcome) in intake.answered {
            let Some(at) = self.waiting.iter().position(|change| change.id == id) else { continue };
            let change = self.waiting.remove(at);
            if let Outcome::Refused(refusal) = outcome {
                self.refused.push((change, refusal));
            }
        }
        for record in intake.records {
            for field in record.fields.values() {
                self.clock = self.clock.observe(field.stamp.hlc, wall);
            }
            self.stale.remove(&record.id);
            self.confirmed.insert(record);
        }
        for (scope, horizon) in intake.horizons {
            let gone = |record: &RecordState| record.deleted.is_some() && record.version <= horizon;
            self.confirmed.remove_where(|record| ScopeId::from(record.project) == scope && gone(record));
        }
        self.cursors.extend(intake.cursors);
        let complete = |record: &RecordState| intake.complete.contains(&ScopeId::from(record.project));
        let stale = &self.stale;
        self.confirmed.remove_where(|record| stale.contains(&record.id) && complete(record));
        let confirmed = &self.confirmed;
        self.stale.retain(|id| confirmed.get(*id).is_some());
        self.ticket = intake.ticket;
        self.unanswered = None;
    }

    /// Marks everything held of a scope as stale until it comes again.
    pub(super) fn begin_anew(&mut self, scope: ScopeId) {
        self.cursors.insert(scope, Cursor::default());
        let in_scope = self.confirmed.iter().filter(|record| ScopeId::from(record.project) == scope);
        self.stale.extend(in_scope.map(|record| record.id));
    }

    pub(super) fn checksum(&self, scope: ScopeId) -> Checksum {
        self.confirmed.checksum(scope)
    }

    /// The card's content under an identity of its own: after a restored backup, or beside a copy.
    pub(super) fn become_another(&mut self, hub: HubId) {
        self.hub = hub;
        self.ticket = 0;
        self.unanswered = None;
    }
}

impl Local for Card {
    fn unanswered(&self) -> Option<Request> {
        self.unanswered.clone()
    }

    fn hub(&self) -> HubId {
        self.hub
    }

    fn ticket(&self) -> u64 {
        self.ticket
    }

    fn waiting(&self, limit: usize) -> Vec<Change> {
        self.waiting.iter().take(limit).cloned().collect()
    }

    fn seen(&self) -> Vec<(ChangeId, Seen)> {
        self.waiting.iter().map(|change| (change.id, change.seen.clone())).collect()
    }

    fn cursors(&self) -> BTreeMap<ScopeId, Cursor> {
        self.cursors.clone()
    }
}
