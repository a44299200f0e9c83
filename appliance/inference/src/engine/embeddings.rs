//! Texts that wait to be embedded: questions first, then passages, a few at a time.

use std::{collections::VecDeque, path::PathBuf, sync::Arc, time::Instant};

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

struct Job {
    id: u64,
    texts: VecDeque<String>,
    vectors: Vec<Vec<f32>>,
    millis: u64,
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
}

impl Embeddings {
    pub(super) fn new(path: PathBuf, compute: Arc<Compute>) -> Self {
        Self { path, compute, model: None, queries: VecDeque::new(), passages: VecDeque::new() }
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
        let job = Job { id, vectors: Vec::with_capacity(texts.len()), texts: texts.into(), millis: 0 };
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

    /// Embeds the next few texts; gives the call that this finished.
    pub(super) fn step(&mut self) -> Option<Done> {
        let lane = if self.queries.is_empty() { &mut self.passages } else { &mut self.queries };
        let job = lane.front_mut()?;
        let started = Instant::now();
        let count = job.texts.len().min(TEXTS_PER_STEP);
        let texts: Vec<String> = job.texts.drain(..count).collect();
        let (path, compute, model) = (&self.path, &self.compute, &mut self.model);
        let vectors = guarded(|| {
            let bert = match model {
                Some(bert) => bert,
                None => model.insert(Bert::load(&Source::open(path)?, Arc::clone(compute))?),
            };
            bert.embed(&texts)
        });
        job.millis += u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let failure = match vectors {
            Ok(vectors) => {
                job.vectors.extend(vectors);
                None
            }
            Err(error) => Some(error),
        };
        if failure.is_none() && !job.texts.is_empty() {
            return None;
        }
        let job = lane.pop_front()?;
        let texts = job.vectors.len() as u64;
        let result = failure.map_or(Ok(job.vectors), Err);
        Some(Done { id: job.id, texts, millis: job.millis, result })
    }
}
