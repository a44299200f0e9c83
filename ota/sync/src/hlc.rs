//! Hybrid logical clocks (Kulkarni et al., "Logical Physical Clocks", 2014): an order of changes that
//! follows cause and effect whatever the wall clocks say.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::HubId;

/// How far another party's clock may pull ours forward in one step, in milliseconds.
///
/// A hub whose clock says 2106 must not drag everybody there; its changes are ordered at most this far
/// ahead of what we know.
pub const MAX_DRIFT_MS: u64 = 24 * 60 * 60 * 1000;

/// A point in the order of changes: milliseconds, a counter within them, and who counted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hlc {
    millis: u64,
    counter: u16,
    node: u64,
}

impl Hlc {
    /// Length of the stored form in bytes.
    pub const LEN: usize = 16;

    const MILLIS_MAX: u64 = (1 << 48) - 1;

    /// The point before every change.
    pub const ZERO: Self = Self { millis: 0, counter: 0, node: 0 };

    /// The first point of `hub` at a wall clock of `millis` since 1970.
    #[must_use]
    pub fn at(millis: u64, hub: HubId) -> Self {
        Self { millis: millis.min(Self::MILLIS_MAX), counter: 0, node: node_of(hub) }
    }

    /// The next point for a change made here: after `self` and, where the wall clock is ahead, at it.
    #[must_use]
    pub fn tick(self, wall_ms: u64, hub: HubId) -> Self {
        let wall_ms = wall_ms.min(Self::MILLIS_MAX);
        let node = node_of(hub);
        if wall_ms > self.millis {
            return Self { millis: wall_ms, counter: 0, node };
        }
        match self.counter.checked_add(1) {
            Some(counter) => Self { millis: self.millis, counter, node },
            None => Self { millis: (self.millis + 1).min(Self::MILLIS_MAX), counter: 0, node },
        }
    }

    /// Our clock after having seen `other`, which pulls it forward by at most [`MAX_DRIFT_MS`] beyond
    /// the later of our own clock and the wall.
    #[must_use]
    pub fn observe(self, other: Self, wall_ms: u64) -> Self {
        let limit = self.millis.max(wall_ms).saturating_add(MAX_DRIFT_MS);
        if other.millis > limit { self } else { self.max(Self { node: self.node, ..other }) }
    }

    /// Milliseconds since 1970 by the clock of whoever made the change; for people, not for decisions.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.millis
    }

    /// The stored form: 6 bytes milliseconds, 2 bytes counter, 8 bytes node, big endian, so that bytes
    /// compare as points do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let packed = (self.millis << 16) | u64::from(self.counter);
        let mut bytes = [0; Self::LEN];
        let (time, node) = bytes.split_at_mut(8);
        time.copy_from_slice(&packed.to_be_bytes());
        node.copy_from_slice(&self.node.to_be_bytes());
        bytes
    }

    /// From the stored form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let whole = u128::from_be_bytes(bytes);
        let packed = (whole >> 64) as u64;
        Self { millis: packed >> 16, counter: (packed & 0xffff) as u16, node: whole as u64 }
    }
}

/// Eight bytes that tell hubs apart: the random tail of their identity.
fn node_of(hub: HubId) -> u64 {
    u128::from_be_bytes(*hub.as_bytes()) as u64
}

impl fmt::Debug for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{:016x}", self.millis, self.counter, self.node)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clock_that_steps_back_still_moves_forward() {
        let hub = HubId::new();
        let first = Hlc::at(1_000, hub);
        let second = first.tick(5, hub);
        assert!(second > first);
        assert_eq!(second.millis(), 1_000);
    }

    #[test]
    fn a_full_counter_carries_into_the_time() {
        let hub = HubId::new();
        let mut clock = Hlc::at(7, hub);
        for _ in 0..=u32::from(u16::MAX) {
            let next = clock.tick(0, hub);
            assert!(next > clock);
            clock = next;
        }
        assert_eq!(clock.millis(), 8);
    }

    #[test]
    fn a_clock_from_the_far_future_does_not_drag_us_along() {
        let (ours, theirs) = (HubId::new(), HubId::new());
        let clock = Hlc::at(1_000, ours);
        assert_eq!(clock.observe(Hlc::at(1_000 + MAX_DRIFT_MS + 1, theirs), 0), clock);
        assert_eq!(clock.observe(Hlc::at(2_000, theirs), 0).millis(), 2_000);
    }

    proptest! {
        #[test]
        fn bytes_compare_as_points_do(a: (u64, u16), b: (u64, u16)) {
            let (x, y) = (HubId::new(), HubId::new());
            let a = Hlc { counter: a.1, ..Hlc::at(a.0, x) };
            let b = Hlc { counter: b.1, ..Hlc::at(b.0, y) };
            prop_assert_eq!(a.to_bytes().cmp(&b.to_bytes()), a.cmp(&b));
            prop_assert_eq!(Hlc::from_bytes(a.to_bytes()), a);
        }
    }
}
