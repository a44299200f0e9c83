//! What to do next about updates, as a plain function of what is known.

use std::time::Duration;

use cairn_bundle::Version;
use serde::{Deserialize, Serialize};

use super::Turn;

/// Between two looks at the repository.
pub const CHECK_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Longest sleep, so that a change of the clock or of the settings is noticed.
pub const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// After a failure, doubled each time up to [`CHECK_EVERY`]. Short at first: a hub looks when it starts, often before its network is there.
pub const RETRY_FIRST: Duration = Duration::from_secs(60);

/// What a keeper decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// Nothing is looked for, fetched or installed by itself.
    pub paused: bool,
    /// The connection costs money: systems are fetched only when a keeper says so.
    pub metered: bool,
    /// Hour of the day (0–23, UTC) from which the hub may restart by itself.
    pub window_from: u8,
    /// Hour of the day until which it may; the same as `window_from` means at any time.
    pub window_until: u8,
    /// What was verified is passed on to other hubs on the local network.
    pub share: bool,
}

impl Default for Wishes {
    fn default() -> Self {
        Self { paused: false, metered: false, window_from: 2, window_until: 4, share: false }
    }
}

impl Wishes {
    /// Whether the hub may restart at `hour`; a window may go over midnight.
    #[must_use]
    pub const fn may_restart_at(&self, hour: u8) -> bool {
        let (from, until) = (self.window_from % 24, self.window_until % 24);
        if from == until {
            true
        } else if from < until {
            from <= hour && hour < until
        } else {
            hour >= from || hour < until
        }
    }
}

/// What is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Situation {
    /// What the keeper decided.
    pub wishes: Wishes,
    /// A keeper said: now. Holds until the restart.
    pub now: bool,
    /// The hour of the day, UTC, where the time is known.
    pub hour: Option<u8>,
    /// How long ago the last look was; `None` before the first.
    pub looked: Option<Duration>,
    /// How often in a row looking or installing failed, and how long ago the last time was.
    pub failures: u32,
    /// See `failures`.
    pub failed: Duration,
    /// What is offered and not known to be bad, and whether its turn has come.
    pub offer: Option<(Version, Turn)>,
    /// What was written, checked and waits for the restart.
    pub ready: Option<Version>,
    /// Whether the running system is known and has nothing left to prove.
    pub settled: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Look at the repository.
    Look,
    /// Fetch and write what is offered.
    Install,
    /// Restart into what is ready.
    Restart,
    /// Nothing, for so long.
    Wait(Duration),
}

/// How long to wait after `failures` failures in a row.
#[must_use]
pub fn backoff(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => RETRY_FIRST.saturating_mul(1 << doublings.min(10)).min(CHECK_EVERY),
    }
}

/// What to do next.
#[must_use]
pub fn next(situation: &Situation) -> Step {
    let Situation { wishes, now, .. } = situation;
    if !situation.settled {
        // The other slot is what saves this hub; nothing is fetched for it and nothing is restarted.
        return Step::Wait(LONGEST_WAIT);
    }
    let newer_ready =
        situation.offer.is_some_and(|(version, _)| situation.ready.is_some_and(|ready| version > ready));
    if situation.ready.is_some() && !newer_ready {
        // Without the time nobody knows whether people are asleep: a keeper says when, or the next power cut does.
        let may = situation.hour.is_some_and(|hour| wishes.may_restart_at(hour)) && !wishes.paused;
        if *now || may {
            return Step::Restart;
        }
    }
    if wishes.paused && !now {
        return Step::Wait(LONGEST_WAIT);
    }
    let still = backoff(situation.failures).saturating_sub(situation.failed);
    if !still.is_zero() && !now {
        return Step::Wait(still.min(LONGEST_WAIT));
    }
    match situation.offer {
        Some((version, turn)) if Some(version) != situation.ready => {
            let may = turn == Turn::Come && !wishes.metered;
            if *now || may {
                return Step::Install;
            }
        }
        _ => {}
    }
    match situation.looked {
        Some(ago) if ago < CHECK_EVERY => Step::Wait((CHECK_EVERY - ago).min(LONGEST_WAIT)),
        _ => Step::Look,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation() -> Situation {
        Situation {
            wishes: Wishes::default(),
            now: false,
            hour: Some(12),
            looked: Some(Duration::ZERO),
            failures: 0,
            failed: Duration::ZERO,
            offer: None,
            ready: None,
            settled: true,
        }
    }

    fn version(patch: u32) -> Version {
        Version { major: 1, minor: 0, patch }
    }

    #[test]
    fn windows_may_go_over_midnight() {
        let open = |from, until| {
            let wishes = Wishes { window_from: from, window_until: until, ..Wishes::default() };
            (0..24).filter(|hour| wishes.may_restart_at(*hour)).collect::<Vec<u8>>()
        };
        assert_eq!(open(2, 4), [2, 3]);
        assert_eq!(open(23, 1), [0, 23]);
        assert_eq!(open(5, 5).len(), 24);
    }

    #[test]
    fn an_offer_waits_for_its_turn_a_cheap_connection_and_a_keeper_who_has_not_paused() {
        let offered = |turn| Situation { offer: Some((version(1), turn)), ..situation() };
        assert_eq!(next(&offered(Turn::Come)), Step::Install);
        for turn in [Turn::NotYet, Turn::Held] {
            assert!(matches!(next(&offered(turn)), Step::Wait(_)));
            assert_eq!(next(&Situation { now: true, ..offered(turn) }), Step::Install, "a keeper decides");
        }
        for wishes in
            [Wishes { metered: true, ..Wishes::default() }, Wishes { paused: true, ..Wishes::default() }]
        {
            let held = Situation { wishes, ..offered(Turn::Come) };
            assert!(matches!(next(&held), Step::Wait(_)));
            assert_eq!(next(&Situation { now: true, ..held }), Step::Install);
        }
    }

    #[test]
    fn the_restart_waits_for_the_window_and_never_for_an_unknown_time() {
        let ready = |hour| Situation {
            ready: Some(version(1)),
            offer: Some((version(1), Turn::Come)),
            hour,
            ..situation()
        };
        assert_eq!(next(&ready(Some(3))), Step::Restart);
        assert!(matches!(next(&ready(Some(12))), Step::Wait(_)));
        assert!(matches!(next(&ready(None)), Step::Wait(_)));
        assert_eq!(next(&Situation { now: true, ..ready(None) }), Step::Restart);
        assert!(matches!(next(&Situation { settled: false, now: true, ..ready(Some(3)) }), Step::Wait(_)));
        let overtaken = Situation { offer: Some((version(2), Turn::Come)), ..ready(Some(3)) };
        assert_eq!(next(&overtaken), Step::Install, "what is newer is not tried after what is older");
    }

    #[test]
    fn failures_slow_it_down_up_to_a_bound() {
        assert_eq!(backoff(0), Duration::ZERO);
        assert_eq!(backoff(1), RETRY_FIRST);
        assert_eq!(backoff(2), RETRY_FIRST * 2);
        assert_eq!(backoff(u32::MAX), CHECK_EVERY);
        let failed = Situation { failures: 1, offer: Some((version(1), Turn::Come)), ..situation() };
        assert_eq!(next(&failed), Step::Wait(RETRY_FIRST));
        assert_eq!(next(&Situation { failed: RETRY_FIRST, ..failed.clone() }), Step::Install);
        assert_eq!(next(&Situation { now: true, ..failed }), Step::Install);
    }

    #[test]
    fn it_looks_at_first_and_then_now_and_then() {
        assert_eq!(next(&Situation { looked: None, ..situation() }), Step::Look);
        assert_eq!(next(&Situation { looked: Some(CHECK_EVERY), ..situation() }), Step::Look);
        assert_eq!(next(&situation()), Step::Wait(LONGEST_WAIT));
    }
}
