//! How many prompt tokens are read in one step, so that no step takes longer than is promised on whatever board this is.

use std::time::Duration;

/// Who waits while a prompt is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    /// Nobody; but a cancelled answer may go on for as long as a slice.
    Nobody,
    /// Other answers: a slice is added to the time between two of their tokens.
    Others,
    /// People who search: each of their questions is embedded between two slices.
    Searches,
}

impl Company {
    /// Longest time for a slice.
    const fn patience(self) -> Duration {
        Duration::from_millis(match self {
            Self::Nobody => 500,
            Self::Others => 250,
            Self::Searches => 100,
        })
    }
}

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
    pub(super) fn slice(&self, company: Company) -> usize {
        let tokens = (self.per_second * company.patience().as_secs_f64()) as usize;
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
        let slices =
            |pace: &Pace| [Company::Searches, Company::Others, Company::Nobody].map(|who| pace.slice(who));
        let mut pace = Pace::default();
        assert_eq!(slices(&pace), [STEP, 16, 32]);
        pace.measured(32, Duration::from_secs(4));
        assert_eq!(slices(&pace), [STEP; 3]);
        for _ in 0..30 {
            pace.measured(256, Duration::from_millis(50));
        }
        assert_eq!(slices(&pace), [MOST; 3]);
        pace.measured(1, Duration::from_secs(9));
        pace.measured(64, Duration::ZERO);
        assert_eq!(slices(&pace), [MOST; 3]);
        pace.measured(200, Duration::from_secs(1));
        assert_eq!(slices(&pace), [16, 48, 96]);
    }
}
