//! The library as the rest of the hub sees it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_inference::{Embed, Generate};
use cairn_store::{Store, StoreError, Viewer};
use cairn_sync::RecordId;
use futures::stream::BoxStream;
use tokio::task::AbortHandle;

use crate::{
    ask::{self, AskEvent, Question},
    extract::{Extractor, ExtractorCommand},
    index::{self, Courtesy, IndexError, IndexOutcome, Indexer, Progress},
    search::{self, SearchQuery, SearchResults},
};

/// What the library needs to know besides the store and the models.
#[derive(Debug, Clone)]
pub struct LibraryConfig {
    /// How the confined reader of files is started.
    pub extractor: ExtractorCommand,
    /// How files are read and when the models are asked.
    pub limits: index::IndexLimits,
}

impl LibraryConfig {
    /// With the usual limits.
    #[must_use]
    pub fn new(extractor: ExtractorCommand) -> Self {
        Self { extractor, limits: index::IndexLimits::default() }
    }
}

/// Documents that can be searched and asked. Clones share one indexer, which ends with the last of them.
#[derive(Clone)]
pub struct Library {
    inner: Arc<Inner>,
}

/// Ends the background task when the last [`Library`] is gone.
struct Inner {
    parts: Arc<Parts>,
    indexer: Arc<Indexer>,
    task: AbortHandle,
}

/// What searching, asking and indexing share.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) embed: Arc<dyn Embed>,
    pub(crate) generate: Arc<dyn Generate>,
    pub(crate) courtesy: Courtesy,
    pub(crate) patience: Patience,
}

/// How long a person's question waits for the embedding model before the words alone decide.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For the embedding of the question.
    pub(crate) question: Duration,
    /// For the embedding of the best passages' sentences.
    pub(crate) sentences: Duration,
    /// For the embedding of one sentence of an answer.
    pub(crate) check: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            question: Duration::from_millis(800),
            sentences: Duration::from_millis(150),
            check: Duration::from_millis(500),
        }
    }
}

impl Library {
    /// Starts the library and its indexer in the background. Must be called within a tokio runtime.
    #[must_use]
    pub fn start(
        store: Store,
        embed: Arc<dyn Embed>,
        generate: Arc<dyn Generate>,
        config: LibraryConfig,
    ) -> Self {
        let parts = Arc::new(Parts {
            store,
            embed,
            generate,
            courtesy: Courtesy::default(),
            patience: Patience::default(),
        });
        let extractor = Extractor::new(config.extractor);
        let indexer = Arc::new(Indexer::new(parts.clone(), extractor, config.limits));
        let task = tokio::spawn(index::run(indexer.clone())).abort_handle();
        Self { inner: Arc::new(Inner { parts, indexer, task }) }
    }

    /// Reads the document's file and makes it searchable by words before it returns; by meaning, it follows in
    /// the background. A document that failed before is tried again.
    ///
    /// # Errors
    /// [`IndexError`] when the store refuses. A file that cannot be read is not an error but
    /// [`IndexOutcome::Failed`] with the reason.
    pub async fn index_now(&self, document: RecordId) -> Result<IndexOutcome, IndexError> {
        self.inner.indexer.index_now(document).await
    }

    /// Searches what `viewer` may read.
    ///
    /// # Errors
    /// When the store refuses. A missing embedding model is not an error: see [`SearchResults::degraded`].
    pub async fn search(&self, viewer: &Viewer, query: SearchQuery) -> Result<SearchResults, StoreError> {
        let started = Instant::now();
        let _people_first = self.inner.parts.courtesy.enter();
        let progress = self.inner.indexer.counts();
        search::search(&self.inner.parts, viewer, &query, progress, started).await
    }

    /// Answers a question from what `viewer` may read: the passages at once, then what the model writes.
    /// Dropping the stream cancels.
    pub async fn ask(&self, viewer: &Viewer, question: Question) -> BoxStream<'static, AskEvent> {
        let progress = self.inner.indexer.counts();
        ask::ask(self.inner.parts.clone(), viewer.clone(), question, progress)
    }

    /// How far the index is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.inner.indexer.progress()
    }

    /// Waits until nothing is left to index or embed, or until embedding is impossible for now.
    pub async fn settled(&self) -> Progress {
        self.inner.indexer.settled().await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}
