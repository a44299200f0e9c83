//! How many prompt tokens are read in one step, so that no step takes longer than is promised on whatever board this is.

use std::time::Duration;

/// What a newcomer's prompt adds to the time between two tokens of the others, and how long a cancelled answer may go on.
const WITH_OTHERS: Duration = Duration::from_millis(250);
/// The same while nobody else waits for a step.
const ALONE: Duration = Duration::from_millis(500);
/// Tokens of a slice: whole panels of the kernels.
const STEP: usize = 8;
const MOST: usize = 256;
/// Tokens per second that a board is believed to read before it was measured: a slow one's.
const UNKNOWN: f64 = 64.0;
/// Fewer tokens than this say little about speed.
const MEASURED: usize = 8;

/// The measured speed of reading.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: f64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { per_second: UNKNOWN }
    }
}

impl Pace {
    /// Tokens of the next slice.
    pub(super) fn slice(&self, alone: bool) -> usize {
        let within = if alone { ALONE } else { WITH_OTHERS };
        let tokens = (self.per_second * within.as_secs_f64()) as usize;
        (tokens / STEP * STEP).clamp(STEP, MOST)
    }

    /// Learns from a step that read `tokens` prompt tokens. Slower counts at once, faster little by little.
    pub(super) fn measured(&mut self, tokens: usize, elapsed: Duration) {
        if tokens < MEASURED || elapsed.is_zero() {
            return;
        }
        let now = tokens as f64 / elapsed.as_secs_f64();
        self.per_second = if now < self.per_second { now } else { (self.per_second + now) / 2.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_follow_the_measured_speed_within_bounds() {
        let mut pace = Pace::default();
        assert_eq!((pace.slice(false), pace.slice(true)), (16, 32));
        pace.measured(32, Duration::from_secs(4));
        assert_eq!((pace.slice(false), pace.slice(true)), (STEP, STEP));
        for _ in 0..30 {
            pace.measured(256, Duration::from_millis(100));
        }
        assert_eq!((pace.slice(false), pace.slice(true)), (MOST, MOST));
        pace.measured(1, Duration::from_secs(9));
        pace.measured(64, Duration::ZERO);
        assert_eq!(pace.slice(true), MOST);
        pace.measured(200, Duration::from_secs(1));
        assert_eq!((pace.slice(false), pace.slice(true)), (48, 96));
    }
}
