//! Whether the outside world can be reached, with hysteresis: one lost packet is not an emergency, and one that came
//! through is not its end. Plain functions; time is a parameter.

use std::time::Duration;

/// Failures in a row until the hub counts as offline.
pub const FAILURES_TO_OFFLINE: u32 = 3;
/// Least time between the first of them and being offline, so that a burst of failures within one second of a
/// reconnecting cable is one failure.
pub const LEAST_TIME_TO_OFFLINE: Duration = Duration::from_secs(20);
/// Successes in a row until a recovering hub counts as normal.
pub const SUCCESSES_TO_NORMAL: u32 = 2;
/// Least time between the first of them and being normal.
pub const LEAST_TIME_TO_NORMAL: Duration = Duration::from_secs(10);

/// What the page shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing outside is needed: no gateway and no cloud model is set.
    Local,
    /// What is needed outside answers.
    Normal,
    /// It does not answer: the emergency that the hub is made for.
    Offline,
    /// It answers again, not for long enough to rely on it.
    Recovering,
}

/// How an attempt to reach the outside went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// It answered. An answer that refuses is an answer: the network is there.
    Reached,
    /// It could not be reached.
    Failed,
}

/// The state and what it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connectivity {
    state: State,
    /// Attempts in a row that contradict the state.
    contrary: u32,
    /// When the first of them was.
    since: Duration,
}

impl Connectivity {
    /// Before the first attempt: innocent until proven offline, or [`State::Local`] where nothing is needed outside.
    #[must_use]
    pub const fn new(needed: bool) -> Self {
        Self { state: if needed { State::Normal } else { State::Local }, contrary: 0, since: Duration::ZERO }
    }

    /// What the page shows.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// The setting changed.
    #[must_use]
    pub const fn needed(self, needed: bool) -> Self {
        match (needed, self.state) {
            (false, _) => Self::new(false),
            (true, State::Local) => Self::new(true),
            (true, _) => self,
        }
    }

    /// An attempt was made at `now`, the age of the process.
    #[must_use]
    pub fn after(self, attempt: Attempt, now: Duration) -> Self {
        let turn = |state| Self { state, contrary: 0, since: now };
        let calm = Self { contrary: 0, since: now, ..self };
        let since = if self.contrary == 0 { now } else { self.since };
        let contrary = Self { contrary: self.contrary.saturating_add(1), since, ..self };
        let lasted = now.saturating_sub(since);
        match (self.state, attempt) {
            (State::Local, _) => self,
            (State::Normal, Attempt::Reached) | (State::Offline, Attempt::Failed) => calm,
            (State::Normal, Attempt::Failed)
                if contrary.contrary >= FAILURES_TO_OFFLINE && lasted >= LEAST_TIME_TO_OFFLINE =>
            {
                turn(State::Offline)
            }
            (State::Normal, Attempt::Failed) => contrary,
            // The first success begins the recovery and counts as one of those that it takes.
            (State::Offline, Attempt::Reached) => Self { state: State::Recovering, contrary: 1, since: now },
            (State::Recovering, Attempt::Failed) => turn(State::Offline),
            (State::Recovering, Attempt::Reached)
                if contrary.contrary >= SUCCESSES_TO_NORMAL && lasted >= LEAST_TIME_TO_NORMAL =>
            {
                turn(State::Normal)
            }
            (State::Recovering, Attempt::Reached) => contrary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays `+` (reached) and `-` (failed) attempts, ten seconds apart, and writes down the states.
    fn play(attempts: &str) -> String {
        let mut connectivity = Connectivity::new(true);
        attempts
            .chars()
            .enumerate()
            .map(|(index, attempt)| {
                let attempt = if attempt == '+' { Attempt::Reached } else { Attempt::Failed };
                connectivity = connectivity.after(attempt, Duration::from_secs(10 * index as u64));
                match connectivity.state() {
                    State::Local => 'l',
                    State::Normal => 'n',
                    State::Offline => 'o',
                    State::Recovering => 'r',
                }
            })
            .collect()
    }

    #[test]
    fn the_state_follows_what_lasts_and_ignores_what_flickers() {
        for (attempts, states) in [
            ("++++", "nnnn"),
            ("+-+--+", "nnnnnn"),
            ("+---", "nnno"),
            ("----", "nnoo"),
            ("---+", "nnor"),
            ("---++", "nnorn"),
            ("---+-+", "nnoror"),
            ("---++--", "nnornnn"),
        ] {
            assert_eq!(play(attempts), states, "{attempts}");
        }
    }

    #[test]
    fn a_burst_within_a_second_is_one_failure() {
        let mut connectivity = Connectivity::new(true);
        for milliseconds in 0..100 {
            connectivity = connectivity.after(Attempt::Failed, Duration::from_millis(milliseconds));
        }
        assert_eq!(connectivity.state(), State::Normal);
        connectivity = connectivity.after(Attempt::Failed, LEAST_TIME_TO_OFFLINE);
        assert_eq!(connectivity.state(), State::Offline);
    }

    #[test]
    fn a_hub_that_needs_nothing_outside_is_never_offline() {
        let mut connectivity = Connectivity::new(false);
        for seconds in 0..100 {
            connectivity = connectivity.after(Attempt::Failed, Duration::from_secs(seconds));
        }
        assert_eq!(connectivity.state(), State::Local);
        assert_eq!(connectivity.needed(true).state(), State::Normal);
        assert_eq!(connectivity.needed(true).needed(false).state(), State::Local);
    }
}
