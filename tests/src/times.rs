//! What many measured times come to.

use std::time::Duration;

/// Their median and their 99th percentile, in words. Sorts them.
#[must_use]
pub fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: f64| {
        let index = ((times.len().saturating_sub(1)) as f64 * share).round() as usize;
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    format!("median {:.1} ms, p99 {:.1} ms ({} runs)", at(0.5), at(0.99), times.len())
}
