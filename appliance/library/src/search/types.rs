//! What goes into a search and what comes out of it.

use cairn_store::{Location, PassageId};
use cairn_sync::RecordId;
use serde::{Deserialize, Serialize};

/// Which part of the search is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Words and meaning, fused.
    #[default]
    Hybrid,
    /// Words only (BM25).
    Words,
    /// Meaning only (embeddings).
    Meaning,
}

/// One search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchQuery {
    /// What the person typed; cut at [`MAX_QUERY_CHARS`](super::MAX_QUERY_CHARS).
    pub text: String,
    /// How many hits; at most [`MAX_HITS`](super::MAX_HITS).
    pub limit: usize,
    /// Which part is asked.
    pub mode: Mode,
}

impl SearchQuery {
    /// A hybrid search for `text` with up to ten hits.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), limit: 10, mode: Mode::Hybrid }
    }
}

/// A stretch of a passage's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The text; the spans of a hit joined are the passage.
    pub text: String,
    /// Whether it answers the question best.
    pub marked: bool,
}

/// A passage that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hit {
    /// The passage.
    pub passage: PassageId,
    /// The document it stands in.
    pub document: RecordId,
    /// The document's title.
    pub title: String,
    /// The headings above the passage, outermost first, joined by " › "; empty where there are none.
    pub heading: String,
    /// The passage's place among the document's passages, from 0.
    pub ordinal: u32,
    /// Where in the document.
    pub location: Location,
    /// The passage, in order, with the sentences that answer marked.
    pub marked: Vec<Span>,
    /// The fused score: only its order within one result means something.
    pub score: f32,
}

impl Hit {
    /// The passage's whole text.
    #[must_use]
    pub fn text(&self) -> String {
        self.marked.iter().map(|span| span.text.as_str()).collect()
    }
}

/// Why a search asked less than was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "why")]
pub enum Degraded {
    /// The embedding model is missing or its process is not running: words only.
    NoEmbedding,
    /// The embedding model did not answer in time: words only.
    EmbeddingTooSlow,
    /// Not every passage has its embedding yet: by meaning, a part of the library is not found.
    StillEmbedding {
        /// Passages with an embedding.
        embedded: u64,
        /// Passages in the library.
        passages: u64,
    },
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchResults {
    /// Best first.
    pub hits: Vec<Hit>,
    /// Which part was really asked.
    pub mode: Mode,
    /// Why that is less than was wanted.
    pub degraded: Option<Degraded>,
    /// How long it took, in milliseconds, with the embedding of the query.
    pub took_ms: u64,
    /// How much of that was the embedding of the query, in milliseconds.
    pub embedding_ms: u64,
}
