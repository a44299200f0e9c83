//! Time as the store needs it, and the one clock by which anything here runs out.
//!
//! Boards have no clock chip: after a start the wall clock may say 1970, and it may jump by years when somebody tells it
//! the time. A session that ended by the wall clock would end at such a jump, or never. So sessions, tokens and
//! invitations run out by the *life clock*: milliseconds that this hub has lived through, kept in the database.
//!
//! - While the system runs, it follows `CLOCK_BOOTTIME`, which no one can set and which counts suspended time.
//! - Across restarts of the program within one boot (same `boot_id`) the difference of `CLOCK_BOOTTIME` is exact.
//! - Across a reboot only the wall clock knows how long the power was off. Where it went forward since the last
//!   checkpoint, that time is added (at most [`MAX_OFF_MS`]); where it went back, nothing is.
//!
//! So a session never outlives its length in time that the hub was running (but for the minutes since the last
//! checkpoint before a power cut), a step of the wall clock in a running system changes nothing, and a wall clock that is
//! wrong after a reboot can only end sessions early: people sign in again, nobody stays signed in for ever.

use std::{
    fs,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Longest power-off that a wall clock is believed, in milliseconds: ten years.
pub(crate) const MAX_OFF_MS: i64 = 10 * 366 * 24 * 60 * 60 * 1000;

/// Where time comes from; a parameter, so that tests can turn it.
pub trait Clocks: Send + Sync {
    /// Milliseconds since 1970 as far as this machine knows. May step either way.
    fn wall_ms(&self) -> i64;
    /// Milliseconds since this machine was started, suspended time included. Never steps.
    fn boot_ms(&self) -> i64;
    /// What tells this start of the machine from every other.
    fn boot_id(&self) -> String;
}

/// The machine's own clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClocks;

impl Clocks for SystemClocks {
    fn wall_ms(&self) -> i64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    fn boot_ms(&self) -> i64 {
        nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
            .map_or(0, |time| time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000)
    }

    fn boot_id(&self) -> String {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default()
    }
}

/// What the database keeps of the life clock.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) life_ms: i64,
    pub(crate) boot_id: String,
    pub(crate) boot_ms: i64,
    pub(crate) wall_ms: i64,
}

/// Milliseconds that this hub has lived through.
#[derive(Clone)]
pub(crate) struct LifeClock {
    clocks: Arc<dyn Clocks>,
    life_at_start: i64,
    boot_at_start: i64,
}

impl LifeClock {
    pub(crate) fn resume(clocks: Arc<dyn Clocks>, last: Option<&Checkpoint>) -> Self {
        let boot_at_start = clocks.boot_ms();
        let life_at_start = last.map_or(0, |last| {
            let passed = if !last.boot_id.is_empty() && last.boot_id == clocks.boot_id() {
                boot_at_start - last.boot_ms
            } else {
                (clocks.wall_ms() - last.wall_ms).min(MAX_OFF_MS)
            };
            last.life_ms.saturating_add(passed.max(0))
        });
        Self { clocks, life_at_start, boot_at_start }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.life_at_start + (self.clocks.boot_ms() - self.boot_at_start).max(0)
    }

    pub(crate) fn wall_ms(&self) -> i64 {
        self.clocks.wall_ms()
    }

    pub(crate) fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            life_ms: self.now_ms(),
            boot_id: self.clocks.boot_id(),
            boot_ms: self.clocks.boot_ms(),
            wall_ms: self.clocks.wall_ms(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A clock that a test turns.
    pub(crate) struct TurnedClocks(pub(crate) Mutex<(i64, i64, String)>);

    impl TurnedClocks {
        pub(crate) fn new(wall: i64, boot: i64, id: &str) -> Arc<Self> {
            Arc::new(Self(Mutex::new((wall, boot, id.to_owned()))))
        }

        pub(crate) fn turn(&self, wall: i64, boot: i64, id: &str) {
            *self.0.lock().unwrap() = (wall, boot, id.to_owned());
        }
    }

    impl Clocks for TurnedClocks {
        fn wall_ms(&self) -> i64 {
            self.0.lock().unwrap().0
        }
        fn boot_ms(&self) -> i64 {
            self.0.lock().unwrap().1
        }
        fn boot_id(&self) -> String {
            self.0.lock().unwrap().2.clone()
        }
    }

    #[test]
    fn steps_of_the_wall_clock_change_nothing_while_running() {
        let clocks = TurnedClocks::new(0, 1_000, "a");
        let life = LifeClock::resume(clocks.clone(), None);
        clocks.turn(1_760_000_000_000, 1_500, "a");
        assert_eq!(life.now_ms(), 500);
        clocks.turn(-5, 1_600, "a");
        assert_eq!(life.now_ms(), 600);
    }

    #[test]
    fn a_restart_within_one_boot_counts_exactly() {
        let clocks = TurnedClocks::new(0, 1_000, "a");
        let kept = LifeClock::resume(clocks.clone(), None).checkpoint();
        clocks.turn(9_999_999_999, 4_000, "a");
        assert_eq!(LifeClock::resume(clocks, Some(&kept)).now_ms(), 3_000);
    }

    #[test]
    fn time_without_power_counts_where_the_wall_clock_knows_it() {
        let clocks = TurnedClocks::new(50_000, 1_000, "a");
        let kept = LifeClock::resume(clocks.clone(), None).checkpoint();
        clocks.turn(70_000, 10, "b");
        assert_eq!(LifeClock::resume(clocks.clone(), Some(&kept)).now_ms(), 20_000);
        clocks.turn(0, 10, "c");
        assert_eq!(LifeClock::resume(clocks.clone(), Some(&kept)).now_ms(), 0, "a step back adds nothing");
        clocks.turn(i64::MAX / 2, 10, "d");
        assert_eq!(LifeClock::resume(clocks, Some(&kept)).now_ms(), MAX_OFF_MS);
    }
}
