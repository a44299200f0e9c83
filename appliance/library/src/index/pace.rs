//! How fast the index grows, and so how long it will take.

use std::time::Duration;

/// How much a new batch counts against what is known.
const NEWEST: f64 = 0.2;

/// Passages per second, smoothed over batches.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    per_second: Option<f64>,
}

impl Pace {
    /// `count` passages took `time`.
    pub(crate) fn record(&mut self, count: usize, time: Duration) {
        if count == 0 {
            return;
        }
        let rate = count as f64 / time.as_secs_f64().max(1e-3);
        self.per_second = Some(match self.per_second {
            Some(known) => known + NEWEST * (rate - known),
            None => rate,
        });
    }

    /// How many seconds `left` passages will take; none before the first batch.
    pub(crate) fn seconds_for(&self, left: u64) -> Option<u64> {
        if left == 0 {
            return Some(0);
        }
        // A rate is at least one passage in some minutes and a count far below 2^53, so the cast is exact enough.
        self.per_second.map(|rate| (left as f64 / rate.max(1e-6)).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_follows_the_pace() {
        let mut pace = Pace::default();
        assert_eq!(pace.seconds_for(10), None, "nothing is known yet");
        assert_eq!(pace.seconds_for(0), Some(0));
        pace.record(20, Duration::from_secs(2));
        assert_eq!(pace.seconds_for(100), Some(10));
        for _ in 0..50 {
            pace.record(10, Duration::from_secs(10));
        }
        let slow = pace.seconds_for(100).unwrap();
        assert!((95..=101).contains(&slow), "{slow}");
        pace.record(0, Duration::from_secs(9));
        assert_eq!(pace.seconds_for(100), Some(slow), "an empty batch says nothing");
    }
}
