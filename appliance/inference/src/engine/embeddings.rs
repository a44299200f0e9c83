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
        let mut vectors = match texts.len() {
            0 => Ok(Vec::new().into_iter()),
            _ => {
                let (path, compute, model) = (&self.path, &self.compute, &mut self.model);
                let embed = || {
                    let bert = match model {
                        Some(bert) => bert,
                        None => model.insert(Bert::load(&Source::open(path)?, Arc::clone(compute))?),
                    };
                    bert.embed(&texts)
                };
                guarded(embed).map(Vec::into_iter)
            }
        };
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut finished = Vec::new();
        for (job, share) in lane.iter_mut().zip(&shares) {
            // What several calls took together counts for each by its share.
            job.millis += millis * *share as u64 / texts.len().max(1) as u64;
            match &mut vectors {
                Ok(vectors) => job.vectors.extend(vectors.by_ref().take(*share)),
                Err(error) => job.failure = Some(error.clone()),
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
