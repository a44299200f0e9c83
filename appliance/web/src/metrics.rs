//! Figures about requests, kept where they happen and told in Prometheus' text format.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Upper bounds of the histogram's buckets, in milliseconds.
const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000];
/// Most series of one metric; routes are known, so this is never reached unless a label leaks.
const MAX_SERIES: usize = 1024;

/// How often, and how long.
#[derive(Debug, Default, Clone)]
struct Histogram {
    buckets: [u64; BOUNDS_MS.len()],
    count: u64,
    sum_us: u64,
}

impl Histogram {
    fn observe(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS_MS) {
            if us <= bound * 1000 {
                *bucket += 1;
            }
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }
}

/// Which request: method, route (never the address itself, so that the series are few) and class of status.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    method: &'static str,
    route: String,
    status: &'static str,
}

/// What the web part counts.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Series, Histogram>>,
    shed: AtomicU64,
    panics: AtomicU64,
    streams: AtomicU64,
}

impl Metrics {
    /// One answered request.
    pub(crate) fn request(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let series = Series { method, route: route.to_owned(), status: class(status) };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if requests.len() < MAX_SERIES || requests.contains_key(&series) {
            requests.entry(series).or_default().observe(took);
        }
    }

    /// One request refused because too many were in work.
    pub(crate) fn shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    /// One panic caught.
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an event stream in until the guard is dropped.
    pub(crate) fn stream_opened(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an event stream out.
    pub(crate) fn stream_closed(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Event streams open at the moment.
    pub(crate) fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Everything counted here.
    pub(crate) fn write(&self, out: &mut Exposition) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = "cairn_http_request_duration_seconds";
        out.head(name, "histogram", "Time from a request's arrival to the head of its answer.");
        for (series, histogram) in &requests {
            let labels =
                [("method", series.method), ("route", series.route.as_str()), ("status", series.status)];
            for (count, bound) in histogram.buckets.iter().zip(BOUNDS_MS) {
                out.bucket(name, &labels, &seconds(bound * 1000), *count);
            }
            out.bucket(name, &labels, "+Inf", histogram.count);
            out.sample(&format!("{name}_sum"), &labels, seconds(histogram.sum_us));
            out.sample(&format!("{name}_count"), &labels, histogram.count);
        }
        out.one(
            "cairn_http_shed_total",
            "counter",
            "Requests refused because too many were in work.",
            self.shed.load(Ordering::Relaxed),
        );
        out.one(
            "cairn_http_panics_total",
            "counter",
            "Requests that ended in a panic.",
            self.panics.load(Ordering::Relaxed),
        );
        out.one("cairn_http_streams", "gauge", "Open event streams.", self.streams());
    }
}

const fn class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// Microseconds as seconds, exactly.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Prometheus' text format 0.0.4.
#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    /// The head of a metric.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    /// A metric with one sample and no labels.
    pub(crate) fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.sample(name, &[], value);
    }

    /// One sample.
    pub(crate) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
        let labels = labels.collect::<Vec<_>>().join(",");
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{labels}}} {value}"));
        }
    }

    fn bucket(&mut self, name: &str, labels: &[(&str, &str)], bound: &str, count: u64) {
        let labels = [labels, &[("le", bound)]].concat();
        self.sample(&format!("{name}_bucket"), &labels, count);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing into a string cannot fail.
        if writeln!(self.0, "{line}").is_err() {
            self.0.push('\n');
        }
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_as_a_cumulative_histogram() {
        let metrics = Metrics::default();
        metrics.request("GET", "/search", 200, Duration::from_micros(1_500));
        metrics.request("GET", "/search", 204, Duration::from_millis(40));
        metrics.request("GET", "/search", 404, Duration::from_millis(1));
        let mut out = Exposition::default();
        metrics.write(&mut out);
        let text = out.into_text();
        let line = |le: &str| {
            format!(
                "cairn_http_request_duration_seconds_bucket{{method=\"GET\",route=\"/search\",status=\"2xx\",le=\"{le}\"}}"
            )
        };
        assert!(text.contains(&format!("{} 0\n", line("0.001000"))), "{text}");
        assert!(text.contains(&format!("{} 1\n", line("0.002000"))));
        assert!(text.contains(&format!("{} 2\n", line("+Inf"))));
        assert!(text.contains("status=\"2xx\"} 0.041500\n") && text.contains("status=\"4xx\"} 1\n"));
    }

    #[test]
    fn labels_cannot_break_out() {
        let mut out = Exposition::default();
        out.sample("m", &[("l", "a\"b\\c\nd")], 1);
        assert_eq!(out.into_text(), "m{l=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
