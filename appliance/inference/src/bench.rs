//! How fast a model is on this machine, in the figures that people compare.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::{
    error::ModelError,
    probe::{Embedder, Probe, Session},
};

/// Prompt lengths that are measured, tokens.
pub const PREFILLS: [usize; 3] = [128, 512, 2048];
/// Conversation lengths at which writing is measured, tokens.
pub const DEPTHS: [usize; 3] = [0, 512, 2048];
/// Tokens that are written at each depth.
const DECODE_TOKENS: usize = 32;
/// Longest time spent on one figure; slow boards measure fewer rounds.
const FIGURE_WITHIN: Duration = Duration::from_secs(60);
const MAX_ROUNDS: usize = 3;
const PASSAGES: usize = 64;

/// Speed at a length.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Speed {
    /// Tokens of the prompt, or tokens before the ones written.
    pub tokens: usize,
    /// Tokens per second, the median of the rounds.
    pub per_second: f64,
    /// Rounds measured.
    pub rounds: usize,
}

/// All figures of a generating model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Name of the file.
    pub model: String,
    /// Size of the file, bytes.
    pub file_bytes: u64,
    /// From opening the file to being ready, milliseconds.
    pub load_ms: u64,
    /// Greatest resident memory while loading, bytes; absent where the system does not say.
    pub load_peak_bytes: Option<u64>,
    /// Greatest resident memory of all, bytes.
    pub peak_bytes: Option<u64>,
    /// Reading.
    pub prefill: Vec<Speed>,
    /// Writing.
    pub decode: Vec<Speed>,
}

/// Figures of the embedding model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EmbeddingReport {
    /// Passages of about 100 words per second.
    pub passages_per_second: f64,
    /// Longest time for a question, milliseconds.
    pub query_ms: f64,
}

/// Measures a generating model. `progress` is told what is being measured.
///
/// # Errors
/// [`ModelError`].
pub fn run(path: &Path, mut progress: impl FnMut(&str)) -> Result<Report, ModelError> {
    let info = crate::inspect(path)?;
    let context = PREFILLS.into_iter().chain(DEPTHS).max().unwrap_or(0) + DECODE_TOKENS + 1;
    progress("loading");
    let started = Instant::now();
    let mut probe = Probe::open(path, context)?;
    let load_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let load_peak_bytes = peak_memory();
    let vocabulary = u32::try_from(probe.vocabulary()).unwrap_or(u32::MAX);
    // Any tokens cost the same; these avoid the special ones, which come first or last.
    let prompt: Vec<u32> =
        (0..context as u32).map(|index| (256 + index * 7919) % (vocabulary / 2).max(1)).collect();
    let fits = |tokens: usize| info.context == 0 || tokens + DECODE_TOKENS < info.context as usize;

    let mut prefill = Vec::new();
    for tokens in PREFILLS.into_iter().filter(|tokens| fits(*tokens)) {
        progress(&format!("reading {tokens} tokens"));
        prefill.push(measure(tokens, tokens, || {
            let mut session = probe.session()?;
            timed(|| probe.read(&mut session, prompt.get(..tokens).unwrap_or_default()).map(|_| ()))
        })?);
    }
    let mut decode = Vec::new();
    for depth in DEPTHS.into_iter().filter(|depth| fits(*depth)) {
        progress(&format!("writing after {depth} tokens"));
        let mut session = probe.session()?;
        let before = prompt.get(..depth.max(1)).unwrap_or_default();
        probe.read(&mut session, before)?;
        let start = session.len();
        decode.push(measure(depth, DECODE_TOKENS, || {
            session.truncate(start);
            timed(|| write(&mut probe, &mut session, &prompt))
        })?);
    }
    Ok(Report {
        model: info.name,
        file_bytes: info.file_bytes,
        load_ms,
        load_peak_bytes,
        peak_bytes: peak_memory(),
        prefill,
        decode,
    })
}

/// Measures the embedding model.
///
/// # Errors
/// [`ModelError`].
pub fn run_embedding(path: &Path) -> Result<EmbeddingReport, ModelError> {
    let embedder = Embedder::open(path)?;
    let sentence =
        "Boil the water for one minute before you drink it or let it stand in the sun for six hours. ";
    let passages = vec![sentence.repeat(5); PASSAGES];
    let question = ["Where is the nearest shelter?".to_owned()];
    let query = (0..MAX_ROUNDS)
        .map(|_| timed(|| embedder.embed(&question).map(|_| ())))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .max()
        .unwrap_or_default();
    let all = timed(|| embedder.embed(&passages).map(|_| ()))?;
    Ok(EmbeddingReport {
        passages_per_second: PASSAGES as f64 / all.as_secs_f64(),
        query_ms: query.as_secs_f64() * 1e3,
    })
}

fn write(probe: &mut Probe, session: &mut Session, tokens: &[u32]) -> Result<(), ModelError> {
    for token in tokens.chunks(1).take(DECODE_TOKENS) {
        probe.read(session, token)?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Result<(), ModelError>) -> Result<Duration, ModelError> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

/// The median of up to [`MAX_ROUNDS`] rounds after one that warms up, unless that took too long already.
fn measure(
    tokens: usize,
    counted: usize,
    mut round: impl FnMut() -> Result<Duration, ModelError>,
) -> Result<Speed, ModelError> {
    let started = Instant::now();
    let mut times = vec![round()?];
    if started.elapsed() < FIGURE_WITHIN / 4 {
        times.clear();
        while times.len() < MAX_ROUNDS && started.elapsed() < FIGURE_WITHIN {
            times.push(round()?);
        }
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    Ok(Speed { tokens, per_second: counted as f64 / median.as_secs_f64(), rounds: times.len() })
}

/// The greatest resident memory of this process so far, bytes.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
