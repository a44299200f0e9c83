//! Passages to vectors, a batch at a time.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use cairn_inference::{EMBEDDING_DIMENSIONS, EmbedRole, InferenceError};
use cairn_store::{PassageId, StoreError};

use super::reading::Indexer;

/// How long one batch may take on the slowest board.
const BATCH_DEADLINE: Duration = Duration::from_secs(120);
/// How often a passage may end the model's process before it is left without an embedding.
const MAX_ATTEMPTS: u32 = 3;

/// What one step of embedding came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// Passages got their vectors.
    Embedded,
    /// Every passage has one.
    Nothing,
    /// The model is missing or not running.
    Unavailable(String),
}

/// What is remembered between batches.
#[derive(Debug, Default)]
pub(crate) struct Embedding {
    /// Batches in a row that failed while the model worked on them.
    failures: u32,
    /// Passages that the model cannot embed; they stay findable by words.
    skipped: HashSet<PassageId>,
}

impl Embedding {
    /// Embeds the next batch.
    pub(crate) async fn step(&mut self, indexer: &Indexer) -> Result<Step, StoreError> {
        // After a failure one passage at a time, so that a single bad one is found.
        let size = if self.failures == 0 { indexer.limits.embedding_batch } else { 1 };
        let store = &indexer.parts.store;
        let mut batch = store.pending_embeddings(size + self.skipped.len()).await?;
        batch.retain(|(id, _)| !self.skipped.contains(id));
        batch.truncate(size);
        if batch.is_empty() {
            return Ok(Step::Nothing);
        }
        indexer.parts.courtesy.quiet(indexer.limits.patience).await;
        let started = Instant::now();
        let (ids, texts): (Vec<PassageId>, Vec<String>) = batch.into_iter().unzip();
        let call = indexer.parts.embed.embed(texts, EmbedRole::Passage);
        let vectors = match tokio::time::timeout(BATCH_DEADLINE, call).await {
            Ok(Ok(vectors)) => vectors,
            Ok(Err(error)) => return Ok(self.failed(&ids, error)),
            Err(_) => return Ok(self.failed(&ids, InferenceError::TimedOut)),
        };
        if vectors.len() != ids.len() || vectors.iter().any(|vector| !is_usable(vector)) {
            return Ok(self.failed(&ids, InferenceError::Failed("its vectors make no sense".to_owned())));
        }
        self.failures = 0;
        let count = ids.len();
        store.put_embeddings(ids.into_iter().zip(vectors).collect()).await?;
        indexer.embedded(count, started.elapsed());
        Ok(Step::Embedded)
    }

    fn failed(&mut self, ids: &[PassageId], error: InferenceError) -> Step {
        let about_the_text =
            matches!(error, InferenceError::Died | InferenceError::Failed(_) | InferenceError::BadRequest(_));
        if about_the_text {
            self.failures += 1;
            if let ([id], true) = (ids, self.failures > MAX_ATTEMPTS) {
                tracing::warn!(passage = id.0, %error, "a passage cannot be embedded; it is found by words only");
                self.skipped.insert(*id);
                self.failures = 0;
            }
        }
        Step::Unavailable(error.to_string())
    }
}

fn is_usable(vector: &[f32]) -> bool {
    vector.len() == EMBEDDING_DIMENSIONS && vector.iter().all(|value| value.is_finite())
}
