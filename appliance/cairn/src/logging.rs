//! Where the log goes: to journald when that listens to us, else to the terminal; and the last lines into memory, for
//! the status page and the support bundle.

use std::{
    collections::VecDeque,
    env,
    fmt::{self, Write as _},
    io::{self, IsTerminal},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
};

use nix::sys::stat::fstat;
use tracing::{Event, Level, Subscriber, field::Field, field::Visit};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt},
    util::SubscriberInitExt,
};

/// What is logged unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info,mdns_sd=error,hyper=warn,html5ever=error,tokenizers=error";
/// Lines kept in memory.
const KEPT_LINES: usize = 500;
/// Longest line kept, bytes.
const LONGEST_LINE: usize = 1024;

/// Starts logging for `part` of the hub. To be called once, before the process is confined.
pub(crate) fn start(part: &str) -> RecentLog {
    let recent = RecentLog::default();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let journal = journald_listens()
        .then(|| tracing_journald::layer().map(|layer| layer.with_syslog_identifier(format!("cairn-{part}"))))
        .and_then(Result::ok);
    let terminal = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
            .with_target(false)
    });
    // A second start, as in tests, keeps the first.
    drop(
        tracing_subscriber::registry()
            .with(filter)
            .with(journal)
            .with(terminal)
            .with(recent.clone())
            .try_init(),
    );
    recent
}

/// Whether standard error is the socket that `JOURNAL_STREAM` names, as systemd.exec(5) says.
fn journald_listens() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    fstat(io::stderr().as_fd()).is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// The last lines of the log. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct RecentLog {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl RecentLog {
    /// The last `limit` lines, oldest first.
    pub(crate) fn last(&self, limit: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(limit)).cloned().collect()
    }
}

impl<S: Subscriber> Layer<S> for RecentLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::INFO {
            return;
        }
        let mut line = Line(format!("{} {}:", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        let mut text = line.0;
        if text.len() > LONGEST_LINE {
            text.truncate(text.floor_char_boundary(LONGEST_LINE));
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _infallible = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_no_more() {
        let recent = RecentLog::default();
        let subscriber = tracing_subscriber::registry().with(recent.clone());
        tracing::subscriber::with_default(subscriber, || {
            for number in 0..KEPT_LINES + 10 {
                tracing::info!(number, "counted");
            }
            tracing::debug!("too fine to keep");
            tracing::warn!(text = "x".repeat(2 * LONGEST_LINE), "long");
        });
        let lines = recent.last(usize::MAX);
        assert_eq!(lines.len(), KEPT_LINES);
        assert!(lines.last().unwrap().len() <= LONGEST_LINE && lines.last().unwrap().contains("WARN"));
        assert_eq!(recent.last(2).len(), 2);
        assert!(recent.last(2).first().unwrap().contains("number=509"), "{:?}", recent.last(2));
    }
}
