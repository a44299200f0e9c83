//! Hybrid search: words and meaning, fused, with the sentences marked that answer.

mod fusion;
mod mark;
mod retrieve;
mod types;

use std::time::Instant;

use cairn_store::{IndexProgress, StoreError, Viewer};

pub use types::{Degraded, Hit, Mode, SearchQuery, SearchResults, Span};

pub(crate) use fusion::{Ranking, diversify, fuse};
pub(crate) use mark::{Marking, QuestionWords, chosen, mark};
pub(crate) use retrieve::{Found, FoundPassage, Rankings, fetch, rank, rankings, retrieve};

use crate::{
    library::Parts,
    parameters::{self, MARKING_BY_WORDS},
};

/// Longest query, in characters; the rest is not looked at.
pub const MAX_QUERY_CHARS: usize = 1_000;
/// Most hits of one search.
pub const MAX_HITS: usize = 50;

/// One search, marked by words: embedding every sentence would cost more than the search.
pub(crate) async fn search(
    parts: &Parts,
    viewer: &Viewer,
    query: &SearchQuery,
    progress: IndexProgress,
    started: Instant,
) -> Result<SearchResults, StoreError> {
    let limit = query.limit.min(MAX_HITS);
    let found = retrieve(parts, viewer, &query.text, query.mode, limit, progress).await?;
    let words = found.question_words(&query.text);
    let markings = found.passages.iter().map(|found| Marking::new(&found.passage.text, &words)).collect();
    let spans = mark(markings, &parameters::Marking { passages: limit, ..MARKING_BY_WORDS });
    let hits = found.passages.into_iter().zip(spans).map(|(found, spans)| found.into_hit(spans)).collect();
    Ok(SearchResults {
        hits,
        mode: found.mode,
        degraded: found.degraded,
        took_ms: millis(started),
        embedding_ms: found.embedding_ms,
    })
}

pub(crate) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
