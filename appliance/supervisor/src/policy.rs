//! When a role is started, given up on, restarted and killed: one function from state and event to state and actions.
//!
//! Nothing here reads a clock or a random number. Time is the age of the supervisor, jitter a number from its caller.

use std::time::Duration;

/// Age of the supervisor, from a monotonic clock.
pub type Instant = Duration;

/// Times of one role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long it may take from its start until it is ready, or until it asks for more time.
    pub start_within: Duration,
    /// How often it is asked whether it is alive.
    pub ping_every: Duration,
    /// Silence after which it counts as stuck. More than a slow card's longest pause.
    pub silent_after: Duration,
    /// Wait before the first restart; doubles with each failure.
    pub backoff_first: Duration,
    /// Longest wait before a restart.
    pub backoff_most: Duration,
    /// Time in which it must not fail to be trusted again.
    pub stable_after: Duration,
    /// How long it may take to end in order.
    pub stop_within: Duration,
}

impl Policy {
    /// For the hub: it may have to check and migrate a database first, and finishes its writes last.
    pub const HUB: Self = Self {
        start_within: Duration::from_secs(60),
        ping_every: Duration::from_secs(5),
        silent_after: Duration::from_secs(30),
        backoff_first: Duration::from_millis(200),
        backoff_most: Duration::from_secs(60),
        stable_after: Duration::from_secs(60),
        stop_within: Duration::from_secs(20),
    };
    /// For infer.
    pub const INFER: Self =
        Self { start_within: Duration::from_secs(60), stop_within: Duration::from_secs(5), ..Self::HUB };

    /// The wait before the next start after `failures` failures in a row, with `jitter` in 0..1: between three quarters
    /// and five quarters of the doubled wait, so that two roles that fall together do not rise together.
    #[must_use]
    pub fn backoff(&self, failures: u32, jitter: f64) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        let wait = self.backoff_first.saturating_mul(1 << doublings).min(self.backoff_most);
        wait.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// Where a role stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not running, and nobody wants it to.
    Stopped,
    /// Started, not ready yet.
    Starting {
        /// When it counts as stuck.
        by: Instant,
    },
    /// Works.
    Ready {
        /// Since when.
        since: Instant,
        /// When it last gave a sign of life.
        heard: Instant,
        /// When it was last asked for one.
        asked: Instant,
    },
    /// Killed by us; its end has not been seen yet.
    Killed,
    /// Failed; starts again at `until`.
    Waiting {
        /// When.
        until: Instant,
    },
    /// Asked to end in order.
    Stopping {
        /// When it is killed instead.
        by: Instant,
    },
}

/// Everything remembered of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// Failures since it was last stable.
    pub failures: u32,
    /// Starts after the first.
    pub restarts: u32,
    /// Why it last failed.
    pub last_failure: Option<String>,
    /// Number of the last ping.
    pub pings: u64,
}

impl State {
    /// A role that has never run.
    pub const NEW: Self =
        Self { phase: Phase::Stopped, failures: 0, restarts: 0, last_failure: None, pings: 0 };

    /// When [`Event::Tick`] is due next.
    #[must_use]
    pub fn wake_at(&self, policy: &Policy) -> Option<Instant> {
        match self.phase {
            Phase::Stopped | Phase::Killed => None,
            Phase::Starting { by } | Phase::Stopping { by } => Some(by),
            Phase::Waiting { until } => Some(until),
            Phase::Ready { heard, asked, .. } => {
                Some((asked + policy.ping_every).min(heard + policy.silent_after))
            }
        }
    }

    /// Whether a process of this role may exist.
    #[must_use]
    pub const fn may_run(&self) -> bool {
        !matches!(self.phase, Phase::Stopped | Phase::Waiting { .. })
    }
}

/// What can happen to a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is wanted.
    Start,
    /// It could not be started.
    NotStarted(String),
    /// It says that its start takes longer.
    Busy,
    /// It says that it works.
    Ready,
    /// It gave a sign of life.
    Alive,
    /// Its channel broke or it broke the protocol.
    Broken(String),
    /// Somebody wants it started anew.
    RestartAsked,
    /// It ended.
    Exited(String),
    /// Time has passed.
    Tick,
    /// It is no longer wanted.
    Stop,
    /// It must go at once.
    Kill,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start a process.
    Spawn,
    /// Ask for a sign of life with this number.
    Ping(u64),
    /// Ask it to end in order.
    AskToStop,
    /// Kill it.
    Kill,
}

/// The next state and what is to be done. `jitter` is in 0..1.
#[must_use]
pub fn step(
    mut state: State,
    event: Event,
    now: Instant,
    policy: &Policy,
    jitter: f64,
) -> (State, Vec<Action>) {
    let spawn = |state: &mut State| {
        state.phase = Phase::Starting { by: now + policy.start_within };
        vec![Action::Spawn]
    };
    let fail = |state: &mut State, why: String| {
        state.failures = state.failures.saturating_add(1);
        state.last_failure = Some(why);
        state.phase = Phase::Waiting { until: now + policy.backoff(state.failures, jitter) };
        Vec::new()
    };
    let kill = |state: &mut State, why: String| {
        state.last_failure = Some(why);
        state.phase = Phase::Killed;
        vec![Action::Kill]
    };
    let actions = match (state.phase, event) {
        (Phase::Stopped, Event::Start) => spawn(&mut state),
        (Phase::Stopped, _) => Vec::new(),

        (Phase::Waiting { until }, Event::Tick) if now >= until => {
            state.restarts = state.restarts.saturating_add(1);
            spawn(&mut state)
        }
        (Phase::Waiting { .. }, Event::RestartAsked) => {
            state.restarts = state.restarts.saturating_add(1);
            spawn(&mut state)
        }
        (Phase::Waiting { .. }, Event::Stop | Event::Kill) => {
            state.phase = Phase::Stopped;
            Vec::new()
        }
        (Phase::Waiting { .. }, _) => Vec::new(),

        (Phase::Stopping { .. }, Event::Exited(_) | Event::NotStarted(_)) => {
            state.phase = Phase::Stopped;
            Vec::new()
        }
        (Phase::Stopping { by }, Event::Tick) if now < by => Vec::new(),
        // Killed while stopping stays stopping: its end is wanted, not a failure.
        (Phase::Stopping { .. }, Event::Tick | Event::Kill) => {
            state.phase = Phase::Stopping { by: now + policy.stop_within };
            vec![Action::Kill]
        }
        (Phase::Stopping { .. }, _) => Vec::new(),

        // Running: starting, ready or killed.
        (_, Event::Stop) => {
            let killed = state.phase == Phase::Killed;
            state.phase = Phase::Stopping { by: now + policy.stop_within };
            if killed { Vec::new() } else { vec![Action::AskToStop] }
        }
        (_, Event::Kill) => {
            state.phase = Phase::Stopping { by: now + policy.stop_within };
            vec![Action::Kill]
        }
        (Phase::Killed, Event::Exited(_)) => {
            let why = state.last_failure.take().unwrap_or_default();
            fail(&mut state, why)
        }
        (Phase::Killed, _) => Vec::new(),
        (Phase::Ready { since, .. }, Event::Exited(why)) => {
            if now.saturating_sub(since) >= policy.stable_after {
                state.failures = 0;
            }
            fail(&mut state, why)
        }
        (_, Event::Exited(why) | Event::NotStarted(why)) => fail(&mut state, why),
        (_, Event::Broken(why)) => kill(&mut state, why),
        (_, Event::RestartAsked) => kill(&mut state, "a restart was asked for".to_owned()),
        (Phase::Starting { .. }, Event::Busy) => {
            state.phase = Phase::Starting { by: now + policy.start_within };
            Vec::new()
        }
        (Phase::Starting { .. }, Event::Ready) => {
            state.phase = Phase::Ready { since: now, heard: now, asked: now };
            Vec::new()
        }
        (Phase::Starting { by }, Event::Tick) if now >= by => {
            kill(&mut state, format!("it was not ready within {} s", policy.start_within.as_secs()))
        }
        (Phase::Ready { since, asked, .. }, Event::Alive) => {
            state.phase = Phase::Ready { since, heard: now, asked };
            if now.saturating_sub(since) >= policy.stable_after {
                state.failures = 0;
            }
            Vec::new()
        }
        (Phase::Ready { heard, .. }, Event::Tick) if now >= heard + policy.silent_after => {
            kill(&mut state, format!("it gave no sign of life for {} s", policy.silent_after.as_secs()))
        }
        (Phase::Ready { since, heard, asked }, Event::Tick) if now >= asked + policy.ping_every => {
            state.pings = state.pings.wrapping_add(1);
            state.phase = Phase::Ready { since, heard, asked: now };
            vec![Action::Ping(state.pings)]
        }
        _ => Vec::new(),
    };
    (state, actions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy::HUB;

    fn at(seconds: u64) -> Instant {
        Duration::from_secs(seconds)
    }

    fn in_phase(phase: Phase) -> State {
        State { phase, ..State::NEW }
    }

    fn ready(since: u64, heard: u64, asked: u64) -> Phase {
        Phase::Ready { since: at(since), heard: at(heard), asked: at(asked) }
    }

    fn died() -> Event {
        Event::Exited("signal 9".into())
    }

    /// One line of the table: what was, what happens at second 100, what is then, what is done.
    #[test]
    fn the_table_of_transitions() {
        use Action as A;
        use Event as E;
        let now = at(100);
        let starting = Phase::Starting { by: now + POLICY.start_within };
        let waiting = Phase::Waiting { until: now + POLICY.backoff(1, 0.5) };
        let stopping = Phase::Stopping { by: now + POLICY.stop_within };
        let lines = [
            ("starts", Phase::Stopped, E::Start, starting, vec![A::Spawn]),
            ("stays stopped", Phase::Stopped, E::Tick, Phase::Stopped, vec![]),
            ("becomes ready", Phase::Starting { by: at(130) }, E::Ready, ready(100, 100, 100), vec![]),
            (
                "is still in time",
                Phase::Starting { by: at(130) },
                E::Tick,
                Phase::Starting { by: at(130) },
                vec![],
            ),
            ("asks for more time", Phase::Starting { by: at(101) }, E::Busy, starting, vec![]),
            ("starts too slowly", Phase::Starting { by: at(100) }, E::Tick, Phase::Killed, vec![A::Kill]),
            (
                "cannot be started",
                Phase::Starting { by: at(130) },
                E::NotStarted("no".into()),
                waiting,
                vec![],
            ),
            ("dies at start", Phase::Starting { by: at(130) }, died(), waiting, vec![]),
            ("is asked", ready(50, 95, 95), E::Tick, ready(50, 95, 100), vec![A::Ping(1)]),
            ("answers", ready(50, 95, 99), E::Alive, ready(50, 100, 99), vec![]),
            ("falls silent", ready(50, 70, 99), E::Tick, Phase::Killed, vec![A::Kill]),
            ("dies", ready(50, 99, 99), died(), waiting, vec![]),
            ("breaks the protocol", ready(50, 99, 99), E::Broken("?".into()), Phase::Killed, vec![A::Kill]),
            ("is to be restarted", ready(50, 99, 99), E::RestartAsked, Phase::Killed, vec![A::Kill]),
            ("its end is seen", Phase::Killed, died(), waiting, vec![]),
            ("waits", Phase::Waiting { until: at(101) }, E::Tick, Phase::Waiting { until: at(101) }, vec![]),
            ("rises", Phase::Waiting { until: at(100) }, E::Tick, starting, vec![A::Spawn]),
            (
                "is wanted sooner",
                Phase::Waiting { until: at(160) },
                E::RestartAsked,
                starting,
                vec![A::Spawn],
            ),
            ("stops while waiting", Phase::Waiting { until: at(160) }, E::Stop, Phase::Stopped, vec![]),
            ("stops in order", ready(50, 99, 99), E::Stop, stopping, vec![A::AskToStop]),
            ("stops while starting", Phase::Starting { by: at(130) }, E::Stop, stopping, vec![A::AskToStop]),
            ("has stopped", Phase::Stopping { by: at(110) }, died(), Phase::Stopped, vec![]),
            ("stops too slowly", Phase::Stopping { by: at(100) }, E::Tick, stopping, vec![A::Kill]),
            (
                "may take its time",
                Phase::Stopping { by: at(110) },
                E::Tick,
                Phase::Stopping { by: at(110) },
                vec![],
            ),
            ("must go at once", ready(50, 99, 99), E::Kill, stopping, vec![A::Kill]),
        ];
        for (what, before, event, after, actions) in lines {
            let (state, done) = step(in_phase(before), event, now, &POLICY, 0.5);
            assert_eq!((state.phase, done), (after, actions), "{what}");
        }
    }

    #[test]
    fn failures_in_a_row_wait_longer_and_a_stable_time_forgives_them() {
        let waits: Vec<_> = (1..=12).map(|failures| POLICY.backoff(failures, 0.5)).collect();
        assert!(waits.is_sorted());
        assert_eq!(waits.first(), Some(&POLICY.backoff_first));
        assert_eq!(waits.last(), Some(&POLICY.backoff_most));

        let shaky = State { failures: 5, ..in_phase(ready(50, 99, 99)) };
        let (state, _) = step(shaky.clone(), died(), at(100), &POLICY, 0.5);
        assert_eq!(state.failures, 6, "50 s are not enough to be trusted");
        let (state, _) = step(shaky.clone(), died(), at(110), &POLICY, 0.5);
        assert_eq!(state.failures, 1, "60 s are");
        let (state, _) = step(shaky, Event::Alive, at(110), &POLICY, 0.5);
        assert_eq!(state.failures, 0);
    }

    #[test]
    fn jitter_spreads_the_wait_around_its_middle() {
        let middle = POLICY.backoff(3, 0.5);
        assert_eq!(POLICY.backoff(3, 0.0), middle.mul_f64(0.75));
        assert_eq!(POLICY.backoff(3, 1.0), middle.mul_f64(1.25));
    }

    #[test]
    fn a_role_that_always_dies_is_started_less_and_less_often_but_never_given_up() {
        let (mut state, mut now, mut starts) = (State::NEW, at(0), 0);
        let mut actions = vec![];
        (state, actions) = {
            let (next, more) = step(state, Event::Start, now, &POLICY, 0.5);
            actions.extend(more);
            (next, actions)
        };
        while now < at(3600) {
            starts += actions.iter().filter(|action| **action == Action::Spawn).count();
            let (failed, none) = step(state, died(), now, &POLICY, 0.5);
            assert!(none.is_empty());
            now = failed.wake_at(&POLICY).unwrap();
            (state, actions) = step(failed, Event::Tick, now, &POLICY, 0.5);
        }
        assert!((60..80).contains(&starts), "{starts} starts in an hour");
        assert_eq!(state.restarts as usize, starts);
    }

    #[test]
    fn whatever_comes_in_whatever_order_a_stopped_role_stays_stopped() {
        let events = [
            Event::Busy,
            Event::Ready,
            Event::Alive,
            Event::Tick,
            Event::RestartAsked,
            died(),
            Event::Broken("x".into()),
        ];
        let mut state = State::NEW;
        for event in events {
            let actions;
            (state, actions) = step(state, event, at(1), &POLICY, 0.0);
            assert!(actions.is_empty() && state.phase == Phase::Stopped);
        }
    }
}
