//! Texts that wait to be embedded: questions first, then passages, a few at a time.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_kernels::Compute;

use super::guarded;
use crate::{
    bert::Bert,
    error::InferenceError,
    model::Source,
    protocol::{MAX_EMBED_BYTES, MAX_EMBED_TEXTS},
    types::EmbedRole,
};

/// Calls that wait.
const MAX_CALLS: usize = 256;
/// Texts that are embedded between two steps of answers.
const TEXTS_PER_STEP: usize = 4;
/// Who searched reads the results for a moment and searches again.
const SEARCHING: Duration = Duration::from_secs(3);

struct Job {
    id: u64,
    texts: VecDeque<String>,
    vectors: Vec<Vec<f32>>,
    millis: u64,
    failure: Option<InferenceError>,
}

/// A call that is finished.
pub(super) struct Done {
    pub(super) id: u64,
    pub(super) texts: u64,
    pub(super) millis: u64,
    pub(super) result: Result<Vec<Vec<f32>>, InferenceError>,
}

pub(super) struct Embeddings {
    path: PathBuf,
    compute: Arc<Compute>,
    model: Option<Bert>,
    queries: VecDeque<Job>,
    passages: VecDeque<Job>,
    last_query: Option<Instant>,
}

impl Embeddings {
    pub(super) fn new(path: PathBuf, compute: Arc<Compute>) -> Self {
        Self {
            path,
            compute,
            model: None,
            queries: VecDeque::new(),
            passages: VecDeque::new(),
            last_query: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queries.is_empty() && self.passages.is_empty()
    }

    pub(super) fn push(
        &mut self,
        id: u64,
        texts: Vec<String>,
        role: EmbedRole,
    ) -> Result<(), InferenceError> {
        let bytes: usize = texts.iter().map(String::len).sum();
        if texts.len() > MAX_EMBED_TEXTS || bytes > MAX_EMBED_BYTES {
            return Err(InferenceError::BadRequest(format!(
                "at most {MAX_EMBED_TEXTS} texts of {MAX_EMBED_BYTES} bytes together are embedded at once"
            )));
        }
        if self.queries.len() + self.passages.len() >= MAX_CALLS {
            return Err(InferenceError::QueueFull { waiting: MAX_CALLS as u32 });
        }
        let job = Job {
            id,
            vectors: Vec::with_capacity(texts.len()),
            texts: texts.into(),
            millis: 0,
            failure: None,
        };
        match role {
            EmbedRole::Query => self.queries.push_back(job),
            EmbedRole::Passage => self.passages.push_back(job),
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.queries.retain(|job| job.id != id);
        self.passages.retain(|job| job.id != id);
    }

    /// Whether somebody searched a moment ago beside an answer, and so may again.
    pub(super) fn are_asked_for(&self) -> bool {
        self.last_query.is_some_and(|at| at.elapsed() < SEARCHING)
    }

    /// Embeds the next few texts, of several calls where they are small; gives the calls that this finished. `beside` says
    /// that answers are under way: a question that is embedded before its own answer begins keeps nobody waiting.
    pub(super) fn step(&mut self, beside: bool) -> Vec<Done> {
        let lane = if self.queries.is_empty() {
            &mut self.passages
        } else {
            if beside {
                self.last_query = Some(Instant::now());
            }
            &mut self.queries
        };
        let started = Instant::now();
        let mut shares: Vec<usize> = Vec::new();
        let mut texts: Vec<String> = Vec::new();
        for job in lane.iter_mut() {
            if texts.len() >= TEXTS_PER_STEP {
                break;
            }
            let count = job.texts.len().min(TEXTS_PER_STEP - texts.len());
            texts.extend(job.texts.drain(..count));
            shares.push(count);
        }
        let mut embed = |texts: &[String]| {
            let (path, compute, model) = (&self.path, &self.compute, &mut self.model);
            guarded(|| {
                let bert = match model {
                    Some(bert) => bert,
                    None => model.insert(Bert::load(&Source::open(path)?, Arc::clone(compute))?),
                };
                bert.embed(texts)
            })
        };
        let results = by_share(&texts, &shares, &mut embed);
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut finished = Vec::new();
        for ((job, share), result) in lane.iter_mut().zip(&shares).zip(results) {
            // What several calls took together counts for each by its share.
            job.millis += millis * *share as u64 / texts.len().max(1) as u64;
            match result {
                Ok(vectors) => job.vectors.extend(vectors),
                Err(error) => job.failure = Some(error),
            }
        }
        while lane.front().is_some_and(|job| job.texts.is_empty() || job.failure.is_some()) {
            let Some(job) = lane.pop_front() else { break };
            let texts = job.vectors.len() as u64;
            let result = job.failure.map_or(Ok(job.vectors), Err);
            finished.push(Done { id: job.id, texts, millis: job.millis, result });
        }
        finished
    }
}

/// The vectors of each share of `texts`: embedded together, and only where that fails each share by itself, so that nobody's
/// call fails for another one's text.
fn by_share(
    texts: &[String],
    shares: &[usize],
    embed: &mut impl FnMut(&[String]) -> Result<Vec<Vec<f32>>, InferenceError>,
) -> Vec<Result<Vec<Vec<f32>>, InferenceError>> {
    let mut rest = texts;
    let parts = shares.iter().map(|share| {
        let (part, others) = rest.split_at((*share).min(rest.len()));
        rest = others;
        part
    });
    let parts: Vec<&[String]> = parts.collect();
    if parts.len() > 1
        && let Ok(vectors) = embed(texts)
    {
        let mut vectors = vectors.into_iter();
        return parts.iter().map(|part| Ok(vectors.by_ref().take(part.len()).collect())).collect();
    }
    parts.into_iter().map(|part| if part.is_empty() { Ok(Vec::new()) } else { embed(part) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_cannot_be_embedded_fails_its_own_call_only() {
        let texts: Vec<String> = ["a", "bad", "c", "d"].map(String::from).to_vec();
        let calls = std::cell::Cell::new(0);
        let mut embed = |texts: &[String]| {
            calls.set(calls.get() + 1);
            match texts.iter().any(|text| text == "bad") {
                true => Err(InferenceError::Failed("bad".into())),
                false => Ok(texts.iter().map(|text| vec![f32::from(text.as_bytes()[0])]).collect()),
            }
        };
        let results = by_share(&texts, &[1, 1, 2, 0], &mut embed);
        assert_eq!(results[0], Ok(vec![vec![97.0]]));
        assert_eq!(results[1], Err(InferenceError::Failed("bad".into())));
        assert_eq!(results[2], Ok(vec![vec![99.0], vec![100.0]]));
        assert_eq!(results[3], Ok(vec![]));
        assert_eq!(calls.get(), 4);
        let together = by_share(&texts[2..], &[1, 1], &mut embed);
        assert_eq!(together, [Ok(vec![vec![99.0]]), Ok(vec![vec![100.0]])]);
        assert_eq!(calls.get(), 5, "what can be embedded together is");
    }
}
