//! Figures for an operator's monitoring, in Prometheus' text format.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the buckets of how long rounds take, in milliseconds.
const BOUNDS_MS: [u64; 8] = [5, 10, 25, 50, 100, 250, 1_000, 5_000];

/// Counted since the instance started.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Rounds served.
    pub rounds: AtomicU64,
    /// Rounds that were a copy's.
    pub copies: AtomicU64,
    /// Changes taken in.
    pub changes: AtomicU64,
    /// Records given out.
    pub records: AtomicU64,
    /// Requests turned away because there was too much.
    pub busy: AtomicU64,
    /// Requests that failed by our own fault.
    pub internal: AtomicU64,
    round_ms: [AtomicU64; BOUNDS_MS.len()],
    round_ms_sum: AtomicU64,
}

impl Metrics {
    /// Adds to a figure.
    pub fn add(figure: &AtomicU64, by: usize) {
        figure.fetch_add(by as u64, Ordering::Relaxed);
    }

    /// Counts a round and how long it took.
    pub fn round(&self, took: Duration) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.round_ms_sum.fetch_add(ms, Ordering::Relaxed);
        for (bound, count) in BOUNDS_MS.iter().zip(&self.round_ms) {
            if ms <= *bound {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// As text; `streams` and `busy_now` are what goes on now.
    #[must_use]
    pub fn render(&self, streams: usize, busy_now: usize) -> String {
        let mut text = String::new();
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let figures = [
            ("rounds_total", "counter", read(&self.rounds)),
            ("copies_total", "counter", read(&self.copies)),
            ("changes_total", "counter", read(&self.changes)),
            ("records_total", "counter", read(&self.records)),
            ("turned_away_total", "counter", read(&self.busy)),
            ("internal_errors_total", "counter", read(&self.internal)),
            ("streams", "gauge", streams as u64),
            ("requests_in_flight", "gauge", busy_now as u64),
        ];
        // Writing to a string cannot fail.
        for (name, kind, value) in figures {
            let _written = write!(text, "# TYPE cairn_gateway_{name} {kind}\ncairn_gateway_{name} {value}\n");
        }
        let _written = writeln!(text, "# TYPE cairn_gateway_round_milliseconds histogram");
        for (bound, count) in BOUNDS_MS.iter().zip(&self.round_ms) {
            let count = read(count);
            let _written =
                writeln!(text, "cairn_gateway_round_milliseconds_bucket{{le=\"{bound}\"}} {count}");
        }
        let (rounds, sum) = (read(&self.rounds), read(&self.round_ms_sum));
        let _written = write!(
            text,
            "cairn_gateway_round_milliseconds_bucket{{le=\"+Inf\"}} {rounds}\n\
             cairn_gateway_round_milliseconds_sum {sum}\ncairn_gateway_round_milliseconds_count {rounds}\n"
        );
        text
    }
}
