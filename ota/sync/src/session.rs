//! When a hub talks to its gateway, and what it does when that fails. Time goes in as a number (monotonic
//! milliseconds), decisions come out; nothing here waits, sends or looks at a clock.

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;

/// How long a round may take before it counts as failed, in milliseconds.
pub const ROUND_DEADLINE_MS: u64 = 120_000;
/// How long after a local change a round starts, so that a burst of edits goes in one, in milliseconds.
pub const GATHER_MS: u64 = 500;

/// When rounds happen (S3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// As soon as there is something, here or there.
    Live,
    /// Every so many milliseconds, and on events.
    Periodic {
        /// The interval.
        every_ms: u64,
    },
    /// Only when a person says so.
    OnDemand,
}

/// Why a round is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// Somebody changed something here.
    LocalChange,
    /// The gateway says that there is something newer.
    Newer,
    /// The network came back.
    Reconnected,
    /// A person asked for it.
    Person,
}

/// How a round failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// No connection, broken off, or no answer in time.
    Unreachable,
    /// Somebody answered who is not the gateway, for example a captive portal.
    NotTheGateway,
    /// The gateway asks for patience (429, 503).
    Busy {
        /// For how long, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// The answer made no sense; see [`crate::round::Nonsense`].
    Nonsense,
    /// The gateway does not serve this hub any more.
    Stop(Stop),
}

/// Why a hub stops talking to its gateway until a person, or a new identity, changes something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Its key was revoked.
    Revoked,
    /// Another card uses this identity: take a new one, with the queue.
    Copy,
    /// No common protocol; the sentence says who has to be updated.
    Protocol(String),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A round is wanted.
    Wanted(Why),
    /// The round's reply was taken in.
    Done {
        /// There is more, here or there: go on at once.
        more: bool,
    },
    /// The round failed.
    Failed(Failure),
    /// A new identity, or a person who says try again.
    Restart,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send the next request (see [`crate::round::request`]).
    Send,
    /// Give up on the one that is under way.
    Abandon,
    /// Take a new identity and then say [`Input::Restart`].
    NewIdentity,
}

/// Where a hub stands with its gateway. Stored, so that a restart is no way around waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    way: Way,
    backoff: Backoff,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing under way; the next round is due then, where one is.
    Idle { due: Option<u64> },
    /// Under way until then at the latest; another one is wanted behind it.
    Busy { deadline: u64, again: bool },
    /// Failed; not before then, whoever asks except a person.
    Waiting { until: u64 },
    /// Until something changes.
    Stopped(Stop),
}

impl Session {
    /// A hub that has just started; `backoff` is what was stored.
    #[must_use]
    pub fn new(way: Way, backoff: Backoff, now: u64, random: u64) -> Self {
        let state = if backoff.failures() > 0 {
            // The clock that the wait was measured by is gone with the restart: wait again, shorter or longer.
            let mut again = backoff;
            State::Waiting { until: now.saturating_add(again.failed(random, None)) }
        } else {
            State::Idle { due: (way != Way::OnDemand).then_some(now) }
        };
        Self { way, backoff, state }
    }

    /// What to store.
    #[must_use]
    pub const fn backoff(&self) -> Backoff {
        self.backoff
    }

    /// Why it stopped, where it did.
    #[must_use]
    pub const fn stopped(&self) -> Option<&Stop> {
        if let State::Stopped(stop) = &self.state { Some(stop) } else { None }
    }

    /// When to say [`Input::Tick`] next; none where only an event changes anything.
    #[must_use]
    pub const fn next_tick(&self) -> Option<u64> {
        match self.state {
            State::Idle { due } => due,
            State::Busy { deadline, .. } => Some(deadline),
            State::Waiting { until } => Some(until),
            State::Stopped(_) => None,
        }
    }

    /// Takes an input in. `random` is uniform over all of `u64`.
    #[must_use]
    pub fn handle(&mut self, input: Input, now: u64, random: u64) -> Vec<Command> {
        match (&mut self.state, input) {
            (State::Stopped(_), Input::Restart) => self.send(now),
            (State::Stopped(_), _) | (_, Input::Restart) => Vec::new(),

            (State::Idle { due }, Input::Tick) if due.is_some_and(|due| due <= now) => self.send(now),
            (State::Idle { due }, Input::Wanted(why)) => match (why, self.way) {
                (Why::Person, _) => self.send(now),
                (_, Way::OnDemand) => Vec::new(),
                (Why::LocalChange, _) => {
                    let gathered = now.saturating_add(GATHER_MS);
                    *due = Some(due.map_or(gathered, |due| due.min(gathered)));
                    Vec::new()
                }
                (Why::Newer | Why::Reconnected, _) => self.send(now),
            },

            (State::Waiting { until }, Input::Tick) if *until <= now => self.send(now),
            // A person may try at any time; so may a network that has just come back.
            (State::Waiting { .. }, Input::Wanted(Why::Person | Why::Reconnected)) => self.send(now),

            (State::Busy { again, .. }, Input::Wanted(_)) => {
                *again = true;
                Vec::new()
            }
            (State::Busy { again, .. }, Input::Done { more }) => {
                let again = *again || more;
                self.backoff.worked();
                if again { self.send(now) } else { self.rest(now) }
            }
            (State::Busy { deadline, .. }, Input::Tick) if *deadline <= now => {
                self.wait(now, random, None);
                vec![Command::Abandon]
            }
            (State::Busy { .. }, Input::Failed(failure)) => self.failed(failure, now, random),

            (State::Idle { .. } | State::Waiting { .. } | State::Busy { .. }, _) => Vec::new(),
        }
    }

    fn send(&mut self, now: u64) -> Vec<Command> {
        self.state = State::Busy { deadline: now.saturating_add(ROUND_DEADLINE_MS), again: false };
        vec![Command::Send]
    }

    fn rest(&mut self, now: u64) -> Vec<Command> {
        let due = match self.way {
            Way::Periodic { every_ms } => Some(now.saturating_add(every_ms)),
            Way::Live | Way::OnDemand => None,
        };
        self.state = State::Idle { due };
        Vec::new()
    }

    fn wait(&mut self, now: u64, random: u64, asked: Option<u64>) {
        let wait = self.backoff.failed(random, asked);
        self.state = State::Waiting { until: now.saturating_add(wait) };
    }

    fn failed(&mut self, failure: Failure, now: u64, random: u64) -> Vec<Command> {
        match failure {
            Failure::Unreachable | Failure::NotTheGateway | Failure::Nonsense => self.wait(now, random, None),
            Failure::Busy { retry_after_ms } => self.wait(now, random, retry_after_ms),
            Failure::Stop(Stop::Copy) => {
                self.state = State::Stopped(Stop::Copy);
                return vec![Command::NewIdentity];
            }
            Failure::Stop(stop) => self.state = State::Stopped(stop),
        }
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle(way: Way) -> Session {
        let mut session = Session::new(way, Backoff::default(), 0, 0);
        if way != Way::OnDemand {
            assert_eq!(session.handle(Input::Tick, 0, 0), [Command::Send]);
            assert_eq!(session.handle(Input::Done { more: false }, 1, 0), []);
        }
        session
    }

    #[test]
    fn a_burst_of_edits_goes_in_one_round() {
        let mut session = idle(Way::Live);
        assert_eq!(session.handle(Input::Wanted(Why::LocalChange), 10, 0), []);
        assert_eq!(session.handle(Input::Wanted(Why::LocalChange), 200, 0), []);
        assert_eq!(session.next_tick(), Some(10 + GATHER_MS));
        assert_eq!(session.handle(Input::Tick, 10 + GATHER_MS, 0), [Command::Send]);
    }

    #[test]
    fn a_change_during_a_round_is_followed_by_another_round() {
        let mut session = idle(Way::Live);
        assert_eq!(session.handle(Input::Wanted(Why::Newer), 10, 0), [Command::Send]);
        assert_eq!(session.handle(Input::Wanted(Why::LocalChange), 11, 0), []);
        assert_eq!(session.handle(Input::Done { more: false }, 12, 0), [Command::Send]);
    }

    #[test]
    fn on_demand_means_only_a_person() {
        let mut session = idle(Way::OnDemand);
        for why in [Why::LocalChange, Why::Newer, Why::Reconnected] {
            assert_eq!(session.handle(Input::Wanted(why), 10, 0), []);
        }
        assert_eq!(session.next_tick(), None);
        assert_eq!(session.handle(Input::Wanted(Why::Person), 10, 0), [Command::Send]);
    }

    #[test]
    fn failures_wait_and_a_restart_does_not_forget_them() {
        let mut session = idle(Way::Live);
        assert_eq!(session.handle(Input::Wanted(Why::Newer), 10, 0), [Command::Send]);
        assert_eq!(session.handle(Input::Failed(Failure::Unreachable), 20, u64::MAX), []);
        let until = session.next_tick().unwrap();
        assert!(until > 20);
        assert_eq!(session.handle(Input::Wanted(Why::LocalChange), 21, 0), []);
        assert_eq!(session.handle(Input::Tick, until, 0), [Command::Send]);

        let restarted = Session::new(Way::Live, session.backoff(), 0, u64::MAX);
        assert!(restarted.next_tick().unwrap() > 0);
    }

    #[test]
    fn patience_asked_for_is_given() {
        let mut session = idle(Way::Live);
        assert_eq!(session.handle(Input::Wanted(Why::Person), 10, 0), [Command::Send]);
        let busy = Failure::Busy { retry_after_ms: Some(60_000) };
        assert_eq!(session.handle(Input::Failed(busy), 20, 0), []);
        assert_eq!(session.handle(Input::Tick, 60_019, 0), []);
        assert_eq!(session.handle(Input::Tick, 60_020, 0), [Command::Send]);
    }

    #[test]
    fn a_round_without_an_end_is_abandoned() {
        let mut session = idle(Way::Live);
        assert_eq!(session.handle(Input::Wanted(Why::Newer), 10, 0), [Command::Send]);
        assert_eq!(session.handle(Input::Tick, 10 + ROUND_DEADLINE_MS, 0), [Command::Abandon]);
        assert!(session.next_tick().is_some());
    }

    #[test]
    fn a_copy_takes_a_new_identity_and_goes_on() {
        let mut session = idle(Way::Live);
        assert_eq!(session.handle(Input::Wanted(Why::Newer), 10, 0), [Command::Send]);
        assert_eq!(session.handle(Input::Failed(Failure::Stop(Stop::Copy)), 11, 0), [Command::NewIdentity]);
        assert_eq!(session.handle(Input::Wanted(Why::Person), 12, 0), []);
        assert_eq!(session.handle(Input::Restart, 13, 0), [Command::Send]);
    }
}
