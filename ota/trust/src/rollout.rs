//! When a hub's turn in a rollout has come, and when a rollout stops by itself. Pure.

use serde::{Deserialize, Serialize};

/// How a version spreads. Part of the signed metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// When the first hub's turn comes, in seconds since 1970.
    pub start: u64,
    /// How long until every hub's turn has come, in seconds; 0 for all at once.
    pub duration: u64,
    /// When it was paused, in seconds since 1970. Hubs whose turn had come by then go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<u64>,
    /// The version is withdrawn: nobody takes it any more.
    #[serde(default)]
    pub halted: bool,
}

/// What a hub does about a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Its turn has come.
    Install,
    /// Its turn comes at this time, in seconds since 1970, if nothing changes.
    Wait(u64),
    /// Its turn would have come, or will, but the rollout is paused.
    Paused,
    /// The version is withdrawn.
    Halted,
}

/// A hub's place in all rollouts: made once by the hub, at random, and told to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed([u8; 16]);

impl Seed {
    /// From 16 random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Where in the rollout of `version` the hub stands, from 0 to 2³²: another place for each version, so that no hub is
    /// always the first.
    fn place(self, version: &str) -> u64 {
        let mut hash = blake3::Hasher::new_derive_key("cairn rollout place");
        hash.update(&self.0).update(version.as_bytes());
        let [a, b, c, d, ..] = *hash.finalize().as_bytes();
        u64::from(u32::from_le_bytes([a, b, c, d]))
    }
}

impl Rollout {
    /// Everybody, now.
    #[must_use]
    pub const fn at_once(start: u64) -> Self {
        Self { start, duration: 0, paused: None, halted: false }
    }

    /// When the turn of a hub comes, in seconds since 1970.
    #[must_use]
    pub fn turn(&self, seed: Seed, version: &str) -> u64 {
        let part = (u128::from(self.duration) * u128::from(seed.place(version))) >> 32;
        self.start.saturating_add(u64::try_from(part).unwrap_or(u64::MAX))
    }

    /// What a hub does at `now`, in seconds since 1970. Once it says [`Decision::Install`], it does so for ever, as long as the
    /// rollout is not halted.
    #[must_use]
    pub fn decide(&self, seed: Seed, version: &str, now: u64) -> Decision {
        let turn = self.turn(seed, version);
        match self.paused {
            _ if self.halted => Decision::Halted,
            Some(paused) if turn > paused => Decision::Paused,
            _ if turn <= now => Decision::Install,
            _ => Decision::Wait(turn),
        }
    }

    /// The rollout after a pause has ended at `now`: who had their turn keeps it, everybody else's comes as much later as the
    /// pause was long.
    #[must_use]
    pub fn resumed(self, now: u64) -> Self {
        let Some(paused) = self.paused else { return self };
        let since = paused.saturating_sub(self.start);
        if since == 0 || self.duration == 0 || since >= self.duration {
            // Nobody or everybody had their turn.
            let start = if since == 0 { self.start.max(now) } else { self.start };
            return Self { start, paused: None, ..self };
        }
        // The start moves and the pace stays, so that the share at `now` is the share at the pause.
        Self { start: now.saturating_sub(since), paused: None, ..self }
    }
}

/// When a rollout stops by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Threshold {
    /// Fewer reports than this say nothing.
    pub reports: u32,
    /// Most failures among them, in percent.
    pub percent: u32,
}

impl Default for Threshold {
    fn default() -> Self {
        Self { reports: 3, percent: 20 }
    }
}

/// What hubs said about a version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reports {
    /// Hubs that run it and are healthy.
    pub healthy: u32,
    /// Hubs that went back to the version before.
    pub failed: u32,
}

impl Threshold {
    /// Whether a rollout has to stop.
    #[must_use]
    pub fn passed(&self, reports: Reports) -> bool {
        let all = u64::from(reports.healthy) + u64::from(reports.failed);
        all >= u64::from(self.reports.max(1))
            && u64::from(reports.failed) * 100 > u64::from(self.percent) * all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seed(number: u64) -> Seed {
        Seed::from_random((u128::from(number) * 0x9E37_79B9_7F4A_7C15).to_le_bytes())
    }

    #[test]
    fn a_fleet_spreads_within_one_percent_of_linear() {
        let plan = Rollout { start: 1_000_000, duration: 7 * 86_400, paused: None, halted: false };
        let hubs = 100_000;
        for version in ["1.0.0", "1.0.1", "2.7.1"] {
            let mut turns: Vec<u64> = (0..hubs).map(|hub| plan.turn(seed(hub), version)).collect();
            turns.sort_unstable();
            for percent in 0..=100_u64 {
                let now = plan.start + plan.duration * percent / 100;
                let installed = turns.partition_point(|turn| *turn <= now) as f64 / hubs as f64;
                let linear = percent as f64 / 100.0;
                assert!((installed - linear).abs() < 0.01, "{version} at {percent} %: {installed}");
            }
        }
    }

    #[test]
    fn no_hub_is_always_the_first() {
        let plan = Rollout { start: 0, duration: 1000, paused: None, halted: false };
        let early =
            |version| (0..1000).filter(|hub| plan.turn(seed(*hub), version) < 100).collect::<Vec<_>>();
        let both = early("1.0.0").into_iter().filter(|hub| early("1.0.1").contains(hub)).count();
        assert!(both < 40, "{both}");
    }

    proptest! {
        #[test]
        fn a_turn_that_has_come_stays(number: u64, start in 0_u64..1 << 40, duration in 0_u64..1 << 30, now in 0_u64..1 << 41, later in 0_u64..1 << 30) {
            let plan = Rollout { start, duration, paused: None, halted: false };
            if plan.decide(seed(number), "1.0.0", now) == Decision::Install {
                prop_assert_eq!(plan.decide(seed(number), "1.0.0", now + later), Decision::Install);
            }
            prop_assert_eq!(plan.decide(seed(number), "1.0.0", start + duration), Decision::Install);
            if now < start {
                prop_assert_ne!(plan.decide(seed(number), "1.0.0", now), Decision::Install);
            }
            let halted = Rollout { halted: true, ..plan };
            prop_assert_eq!(halted.decide(seed(number), "1.0.0", now), Decision::Halted);
        }

        #[test]
        fn a_pause_holds_everybody_where_they_are_and_takes_no_turn_back(
            number: u64, duration in 1_u64..1 << 30, at in 0_u64..1 << 30, pause in 1_u64..1 << 30,
        ) {
            let plan = Rollout { start: 1 << 32, duration, paused: None, halted: false };
            let at = plan.start + at % (2 * duration);
            let before = plan.decide(seed(number), "1.0.0", at);
            let paused = Rollout { paused: Some(at), ..plan };
            let during = paused.decide(seed(number), "1.0.0", at + pause);
            let resumed = paused.resumed(at + pause);
            let after = resumed.decide(seed(number), "1.0.0", at + pause);
            if before == Decision::Install {
                prop_assert_eq!(during, Decision::Install);
                prop_assert_eq!(after, Decision::Install);
            } else {
                prop_assert_eq!(during, Decision::Paused);
                let turn = resumed.turn(seed(number), "1.0.0");
                prop_assert!(turn > at, "a turn may come, but not before the pause");
            }
        }

        #[test]
        fn more_failures_never_start_a_stopped_rollout(healthy in 0_u32..1000, failed in 0_u32..1000) {
            let threshold = Threshold::default();
            if threshold.passed(Reports { healthy, failed }) {
                prop_assert!(threshold.passed(Reports { healthy, failed: failed + 1 }), "one more failure");
            }
        }
    }

    #[test]
    fn early_failures_stop_a_rollout() {
        let threshold = Threshold { reports: 3, percent: 20 };
        assert!(!threshold.passed(Reports { healthy: 0, failed: 2 }), "two hubs say nothing");
        assert!(threshold.passed(Reports { healthy: 2, failed: 1 }));
        assert!(!threshold.passed(Reports { healthy: 4, failed: 1 }), "20 % is allowed");
        assert!(threshold.passed(Reports { healthy: 7, failed: 2 }));
    }
}
