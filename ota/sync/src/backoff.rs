//! When to try again: exponential with full jitter (Brooker, "Exponential Backoff And Jitter", 2015), so that
//! hubs that lost the gateway together do not return together.

use serde::{Deserialize, Serialize};

/// The first wait is drawn from zero to this, in milliseconds.
pub const FIRST_MS: u64 = 2_000;
/// No wait is longer than this, unless the gateway asks for it, in milliseconds.
pub const CAP_MS: u64 = 15 * 60 * 1000;
/// The longest wait that the gateway may ask for, in milliseconds.
pub const ASKED_CAP_MS: u64 = 24 * 60 * 60 * 1000;

/// How often it failed in a row. Stored, so that a restart is no way around waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Another failure; gives the wait in milliseconds. `random` is uniform over all of `u64`; `asked` is
    /// what the gateway asked for (`Retry-After`), which is obeyed and jittered on top.
    #[must_use]
    pub fn failed(&mut self, random: u64, asked: Option<u64>) -> u64 {
        let ceiling = FIRST_MS.saturating_shl(self.failures).min(CAP_MS);
        self.failures = self.failures.saturating_add(1);
        let jitter = scaled(random, ceiling);
        asked.map_or(jitter, |asked| asked.min(ASKED_CAP_MS).saturating_add(jitter))
    }

    /// It worked: the next failure starts from the beginning.
    pub const fn worked(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// `random` of all of `u64`, scaled to `0..=ceiling`.
fn scaled(random: u64, ceiling: u64) -> u64 {
    let product = u128::from(random) * (u128::from(ceiling) + 1);
    (product >> 64) as u64
}

trait SaturatingShl {
    fn saturating_shl(self, by: u32) -> Self;
}

impl SaturatingShl for u64 {
    fn saturating_shl(self, by: u32) -> Self {
        if by > self.leading_zeros() { Self::MAX } else { self << by }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_to_the_cap_and_never_beyond(randoms in prop::collection::vec(any::<u64>(), 1..200)) {
            let mut backoff = Backoff::default();
            for (n, random) in randoms.into_iter().enumerate() {
                let ceiling = FIRST_MS.saturating_mul(1 << n.min(40)).min(CAP_MS);
                prop_assert!(backoff.failed(random, None) <= ceiling);
            }
        }

        #[test]
        fn what_the_gateway_asks_for_is_obeyed(random: u64, asked in 0..ASKED_CAP_MS) {
            prop_assert!(Backoff::default().failed(random, Some(asked)) >= asked);
        }
    }

    #[test]
    fn success_starts_over() {
        let mut backoff = Backoff::default();
        let _wait = backoff.failed(u64::MAX, None);
        assert_eq!(backoff.failed(u64::MAX, None), FIRST_MS * 2);
        backoff.worked();
        assert_eq!(backoff.failed(u64::MAX, None), FIRST_MS);
    }
}
