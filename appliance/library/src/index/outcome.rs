//! What callers learn of the index.

use std::time::Duration;

use cairn_store::{IndexProgress, StoreError};
use cairn_sync::RecordId;
use serde::Serialize;

/// Why a document could not be indexed although nothing is wrong with its file.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The store refused.
    #[error("the document could not be indexed: {0}")]
    Store(#[from] StoreError),
    /// The reader could not be run; it is tried again by itself.
    #[error("the document will be read later: {0}")]
    Later(String),
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum IndexOutcome {
    /// Searchable by words from now on.
    Indexed {
        /// Passages that it was split into.
        passages: u64,
        /// What a person should know about how complete the text is.
        notices: Vec<String>,
    },
    /// The file cannot be read; [`Library::index_now`](crate::Library::index_now) tries again.
    Failed {
        /// Which file and why, in words for people.
        reason: String,
    },
    /// The document was deleted, or its file replaced, meanwhile.
    Gone,
}

/// What the indexer does at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum IndexState {
    /// Nothing is left to do.
    Idle,
    /// It has just started and looks for what is left to do.
    #[default]
    Looking,
    /// It reads a file.
    Reading {
        /// The document's title.
        title: String,
    },
    /// It makes passages searchable by meaning.
    Embedding,
    /// Passages wait for the embedding model, which is missing or not running; search goes by words.
    WaitingForModel {
        /// What the model's side said.
        reason: String,
    },
    /// The store refuses; it is tried again.
    Troubled {
        /// What it said.
        reason: String,
    },
}

/// A document that could not be read for a reason that may pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The document.
    pub document: RecordId,
    /// Its title.
    pub title: String,
    /// Why.
    pub reason: String,
}

/// How far the index is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Documents and passages.
    #[serde(flatten)]
    pub counts: IndexProgress,
    /// What the indexer does.
    #[serde(flatten)]
    pub state: IndexState,
    /// About how many seconds until everything is searchable by meaning; none where nothing is known yet.
    pub seconds_left: Option<u64>,
    /// Documents that are tried again later.
    pub troubles: Vec<Trouble>,
}

/// Limits and patience of the indexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexLimits {
    /// Passages that are embedded at once: a question waits at most for one such batch.
    pub embedding_batch: usize,
    /// How long people's questions can hold up one step of the indexer.
    pub patience: Duration,
    /// How long to wait before the embedding model or a troubled document is tried again.
    pub retry: Duration,
    /// How often to look for work that no event told of.
    pub look: Duration,
}

impl Default for IndexLimits {
    fn default() -> Self {
        Self {
            embedding_batch: 8,
            patience: Duration::from_secs(10),
            retry: Duration::from_secs(5),
            look: Duration::from_secs(60),
        }
    }
}
