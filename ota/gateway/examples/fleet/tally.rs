//! What was seen, by phase.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// What is being measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Nothing.
    #[default]
    Between,
    /// All is well.
    Steady,
    /// The gateway is gone.
    Outage,
    /// It is back.
    Herd,
}

/// A round that was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) took: Duration,
    pub(crate) bytes: usize,
    /// Changes that it took up and records that it brought.
    pub(crate) moved: usize,
    pub(crate) outcome: Outcome,
}

/// How it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Worked,
    /// 429 or 503.
    Busy,
    Failed,
}

#[derive(Debug, Default)]
struct Notes {
    phase: Phase,
    since: Option<Instant>,
    steady: Vec<Round>,
    stream_bytes: usize,
    attempts: usize,
    herd: Vec<(Duration, Round)>,
    back: Vec<Duration>,
}

/// What all hubs saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    notes: Mutex<Notes>,
    there: AtomicUsize,
}

impl Tally {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self, phase: Phase) {
        let mut notes = self.notes();
        (notes.phase, notes.since) = (phase, Some(Instant::now()));
    }

    /// A hub has its stream and has made a round.
    pub(crate) fn arrived(&self) {
        self.there.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn there(&self) -> usize {
        self.there.load(Ordering::Relaxed)
    }

    /// Hubs that have worked since the gateway came back.
    pub(crate) fn back(&self) -> usize {
        self.notes().back.len()
    }

    pub(crate) fn heard(&self, bytes: usize) {
        let mut notes = self.notes();
        if notes.phase == Phase::Steady {
            notes.stream_bytes += bytes;
        }
    }

    /// A hub's round ended; `first`: it is its first that worked since the outage began. Says whether that counted.
    pub(crate) fn round(&self, round: Round, first: bool) -> bool {
        let mut notes = self.notes();
        let at = notes.since.map_or(Duration::ZERO, |since| since.elapsed());
        match notes.phase {
            Phase::Steady => notes.steady.push(round),
            Phase::Outage => notes.attempts += 1,
            Phase::Herd => {
                notes.herd.push((at, round));
                if first && round.outcome == Outcome::Worked {
                    notes.back.push(at);
                    return true;
                }
            }
            Phase::Between => {}
        }
        false
    }

    pub(crate) fn steady(&self, seconds: u64, mut say: impl FnMut(&str, String)) {
        let notes = self.notes();
        let worked = || notes.steady.iter().filter(|round| round.outcome == Outcome::Worked);
        say("rounds a second", format!("{:.1}", worked().count() as f64 / seconds as f64));
        say("latency of rounds, 50 % / 95 % / 99 %", percentiles(worked().map(|round| round.took).collect()));
        say("rejected, failed", refused(&notes.steady.iter().collect::<Vec<_>>()));
        let mut idle: Vec<usize> =
            worked().filter(|round| round.moved == 0).map(|round| round.bytes).collect();
        idle.sort_unstable();
        say(
            "bytes of a round in which nothing moved, both ways, median",
            at(&idle, 50).map_or("none".to_owned(), |n| n.to_string()),
        );
        say("bytes a second of all streams", format!("{:.0}", notes.stream_bytes as f64 / seconds as f64));
    }

    pub(crate) fn herd(&self, hubs: usize, mut say: impl FnMut(&str, String)) {
        let notes = self.notes();
        say("attempts while the gateway was away", notes.attempts.to_string());
        let mut seconds = std::collections::BTreeMap::<u64, usize>::new();
        for (at, _) in &notes.herd {
            *seconds.entry(at.as_secs()).or_default() += 1;
        }
        say("most rounds in one second after it", seconds.values().max().copied().unwrap_or(0).to_string());
        let worked = notes.herd.iter().filter(|(_, round)| round.outcome == Outcome::Worked);
        say(
            "latency of rounds, 50 % / 95 % / 99 %",
            percentiles(worked.map(|(_, round)| round.took).collect()),
        );
        say("rejected, failed", refused(&notes.herd.iter().map(|(_, round)| round).collect::<Vec<_>>()));
        let mut back = notes.back.clone();
        back.sort_unstable();
        let after = |part: usize| {
            let wanted = (hubs * part).div_ceil(100).max(1);
            back.get(wanted - 1).map_or("not reached".to_owned(), |at| format!("{:.0} s", at.as_secs_f64()))
        };
        say(
            "50 % / 95 % / 100 % of hubs back after",
            format!("{} / {} / {}", after(50), after(95), after(100)),
        );
    }
}

fn at<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?)).copied()
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let ms = |percent| {
        at(&times, percent).map_or("none".to_owned(), |time| format!("{:.1}", time.as_secs_f64() * 1e3))
    };
    format!("{} / {} / {} ms", ms(50), ms(95), ms(99))
}

fn refused(rounds: &[&Round]) -> String {
    let count = |outcome| rounds.iter().filter(|round| round.outcome == outcome).count();
    format!("{}, {} of {}", count(Outcome::Busy), count(Outcome::Failed), rounds.len())
}
