//! Records with their checksums kept up to date, as both sides keep them.

use std::collections::BTreeMap;

use cairn_sync::{RecordId, checksum::Checksum, record::RecordState, wire::ScopeId};

/// A table of records.
#[derive(Debug, Clone, Default)]
pub(super) struct Records {
    by_id: BTreeMap<RecordId, RecordState>,
    sums: BTreeMap<ScopeId, Checksum>,
}

impl Records {
    pub(super) const fn by_id(&self) -> &BTreeMap<RecordId, RecordState> {
        &self.by_id
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &RecordState> {
        self.by_id.values()
    }

    pub(super) fn get(&self, id: RecordId) -> Option<&RecordState> {
        self.by_id.get(&id)
    }

    pub(super) fn insert(&mut self, record: RecordState) {
        let sum = self.sums.entry(record.project.into()).or_default();
        sum.add(&record);
        if let Some(before) = self.by_id.insert(record.id, record) {
            sum.remove(&before);
        }
    }

    pub(super) fn remove_where(&mut self, gone: impl Fn(&RecordState) -> bool) {
        let sums = &mut self.sums;
        self.by_id.retain(|_, record| {
            let gone = gone(record);
            if gone {
                sums.entry(record.project.into()).or_default().remove(record);
            }
            !gone
        });
    }

    pub(super) fn checksum(&self, scope: ScopeId) -> Checksum {
        self.sums.get(&scope).copied().unwrap_or_default()
    }

    /// The checksum from nothing, to check the one that is kept.
    pub(super) fn recomputed(&self, scope: ScopeId) -> Checksum {
        let mut sum = Checksum::default();
        self.iter()
            .filter(|record| ScopeId::from(record.project) == scope)
            .for_each(|record| sum.add(record));
        sum
    }
}
