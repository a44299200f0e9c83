//! Proof that two sides hold the same: a hash over everything in a scope that does not depend on order and
//! can be kept up to date change by change.
//!
//! The sum, modulo 2^64 in each of four lanes, of the BLAKE3 hashes of the elements (Bellare and Micciancio,
//! "A New Paradigm for Collision-Free Hashing", 1997, AdHash). It finds mistakes; it does not defend against
//! somebody who constructs records to collide, who could as well write the records themselves.

use serde::{Deserialize, Serialize};

use crate::record::RecordState;

/// The checksum of a set of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checksum([u64; 4]);

impl Checksum {
    /// Adds a record's state.
    pub fn add(&mut self, record: &RecordState) {
        for (sum, part) in self.0.iter_mut().zip(lanes(record)) {
            *sum = sum.wrapping_add(part);
        }
    }

    /// Takes out a state that was added before.
    pub fn remove(&mut self, record: &RecordState) {
        for (sum, part) in self.0.iter_mut().zip(lanes(record)) {
            *sum = sum.wrapping_sub(part);
        }
    }

    /// As stored: 32 bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, lane) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        bytes
    }

    /// From the stored form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut lanes = [0; 4];
        for (lane, chunk) in lanes.iter_mut().zip(bytes.chunks_exact(8)) {
            *lane = chunk.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte));
        }
        Self(lanes)
    }
}

/// A record's elements: each field with its version, the deletion, the open conflicts.
fn lanes(record: &RecordState) -> [u64; 4] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(record.id.as_bytes()).update(&record.version.to_le_bytes());
    for (name, field) in &record.fields {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
        hasher.update(&field.version.to_le_bytes()).update(field.stamp.change.as_bytes());
    }
    if let Some(tombstone) = &record.deleted {
        hasher.update(b"deleted").update(&tombstone.version.to_le_bytes());
    }
    for key in record.conflicts.keys() {
        hasher.update(&(key.as_str().len() as u64).to_le_bytes()).update(key.as_str().as_bytes());
    }
    Checksum::from_bytes(*hasher.finalize().as_bytes()).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, RecordId};

    fn record(version: u64) -> RecordState {
        RecordState { version, ..RecordState::new(RecordId::new(), Kind::Notice, None) }
    }

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let (a, b) = (record(1), record(2));
        let (mut one, mut other) = (Checksum::default(), Checksum::default());
        one.add(&a);
        one.add(&b);
        other.add(&b);
        other.add(&a);
        assert_eq!(one, other);
        one.remove(&b);
        other.remove(&b);
        other.remove(&a);
        assert_ne!(one, other);
        assert_eq!(other, Checksum::default());
    }

    #[test]
    fn a_version_counts() {
        let a = record(1);
        let b = RecordState { version: 2, ..a.clone() };
        let (mut one, mut other) = (Checksum::default(), Checksum::default());
        one.add(&a);
        other.add(&b);
        assert_ne!(one, other);
        assert_eq!(Checksum::from_bytes(one.to_bytes()), one);
    }
}
