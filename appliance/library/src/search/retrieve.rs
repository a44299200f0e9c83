//! From a question to passages: both rankings, fused, diversified, fetched.

use std::{collections::HashMap, time::Instant};

use cairn_inference::EmbedRole;
use cairn_store::{IndexProgress, PassageId, Scored, StoreError, StoredPassage, Viewer};

use super::{Degraded, Hit, MAX_QUERY_CHARS, Mode, QuestionWords, Ranking, Span, diversify, fuse, millis};
use crate::{
    library::Parts,
    parameters::{FUSION, Fusion},
    text::{Language, clip},
};

/// How many fused passages are fetched before diversification cuts to the limit.
const FETCH_FACTOR: usize = 2;

/// What a retrieval found.
pub(crate) struct Found {
    /// Best first.
    pub(crate) passages: Vec<FoundPassage>,
    /// Best cosine between the question and a passage, where the meaning was asked.
    pub(crate) best_cosine: Option<f32>,
    /// The question's embedding.
    pub(crate) vector: Option<Vec<f32>>,
    /// Which part was really asked.
    pub(crate) mode: Mode,
    /// Why less than wanted.
    pub(crate) degraded: Option<Degraded>,
    /// Time for the embedding of the question.
    pub(crate) embedding_ms: u64,
}

/// One passage with its fused score.
pub(crate) struct FoundPassage {
    pub(crate) passage: StoredPassage,
    pub(crate) score: f32,
}

impl FoundPassage {
    /// As shown, with these spans.
    pub(crate) fn into_hit(self, marked: Vec<Span>) -> Hit {
        Hit {
            passage: self.passage.id,
            document: self.passage.document,
            title: self.passage.title,
            heading: self.passage.heading,
            ordinal: self.passage.ordinal,
            location: self.passage.location,
            marked,
            score: self.score,
        }
    }
}

impl Found {
    /// The question's words, weighted by how rare they are among what was found.
    pub(crate) fn question_words(&self, question: &str) -> QuestionWords {
        QuestionWords::new(question, self.passages.iter().map(|found| found.passage.text.as_str()))
    }
}

/// Both rankings for one question, before they are fused.
#[derive(Default)]
pub(crate) struct Rankings {
    pub(crate) words: Vec<Scored>,
    pub(crate) meaning: Vec<Scored>,
    pub(crate) vector: Option<Vec<f32>>,
    pub(crate) degraded: Option<Degraded>,
    pub(crate) embedding_ms: u64,
}

/// Finds the best passages for `question` among what `viewer` may read.
pub(crate) async fn retrieve(
    parts: &Parts,
    viewer: &Viewer,
    question: &str,
    wanted: Mode,
    limit: usize,
    progress: IndexProgress,
) -> Result<Found, StoreError> {
    let text = clip(question.trim(), MAX_QUERY_CHARS);
    let rankings = if text.is_empty() || limit == 0 {
        Rankings::default()
    } else {
        rankings(parts, viewer, text, wanted, progress).await?
    };
    fetch(parts, viewer, rankings, Language::of(text), wanted, limit).await
}

/// Asks the store by words and by meaning.
pub(crate) async fn rankings(
    parts: &Parts,
    viewer: &Viewer,
    text: &str,
    wanted: Mode,
    progress: IndexProgress,
) -> Result<Rankings, StoreError> {
    let by_words = async {
        match wanted {
            Mode::Meaning => Ok(Vec::new()),
            Mode::Hybrid | Mode::Words => parts.store.search_text(viewer, text, FUSION.depth).await,
        }
    };
    let (words, meaning) = tokio::join!(by_words, by_meaning(parts, viewer, text, wanted, progress));
    let mut found = meaning?;
    found.words = words?;
    if wanted == Mode::Meaning && found.vector.is_none() {
        found.words = parts.store.search_text(viewer, text, FUSION.depth).await?;
    }
    Ok(found)
}

async fn by_meaning(
    parts: &Parts,
    viewer: &Viewer,
    text: &str,
    wanted: Mode,
    progress: IndexProgress,
) -> Result<Rankings, StoreError> {
    if wanted == Mode::Words {
        return Ok(Rankings::default());
    }
    if progress.embedded == 0 {
        let nothing_to_find = progress.passages == 0;
        let degraded = (!nothing_to_find).then_some(Degraded::NoEmbedding);
        return Ok(Rankings { degraded, ..Rankings::default() });
    }
    let started = Instant::now();
    let vector = embed_query(parts, text).await;
    let embedding_ms = millis(started);
    match vector {
        Ok(vector) => {
            let meaning = parts.store.search_vector(viewer, &vector, FUSION.depth).await?;
            let degraded = (progress.embedded < progress.passages).then_some(Degraded::StillEmbedding {
                embedded: progress.embedded,
                passages: progress.passages,
            });
            Ok(Rankings { words: Vec::new(), meaning, vector: Some(vector), degraded, embedding_ms })
        }
        Err(why) => Ok(Rankings { degraded: Some(why), embedding_ms, ..Rankings::default() }),
    }
}

/// Fuses the rankings and fetches the best passages.
pub(crate) async fn fetch(
    parts: &Parts,
    viewer: &Viewer,
    rankings: Rankings,
    language: Language,
    wanted: Mode,
    limit: usize,
) -> Result<Found, StoreError> {
    let ranked = rank(&rankings.words, &rankings.meaning, &FUSION, language);
    let ids: Vec<PassageId> = ranked.iter().take(limit * FETCH_FACTOR).map(|(id, _)| *id).collect();
    let stored = parts.store.passages(viewer, &ids).await?;
    let mut by_id: HashMap<PassageId, StoredPassage> =
        stored.into_iter().map(|passage| (passage.id, passage)).collect();
    let mut passages: Vec<(StoredPassage, f32)> =
        ranked.into_iter().filter_map(|(id, score)| Some((by_id.remove(&id)?, score))).collect();
    diversify(&mut passages, FUSION.decay, |passage| passage.document);
    passages.truncate(limit);
    Ok(Found {
        passages: passages.into_iter().map(|(passage, score)| FoundPassage { passage, score }).collect(),
        best_cosine: rankings.meaning.first().map(|hit| hit.score),
        mode: if rankings.vector.is_some() { wanted } else { Mode::Words },
        vector: rankings.vector,
        degraded: rankings.degraded,
        embedding_ms: rankings.embedding_ms,
    })
}

/// The fused ranking of both lists.
pub(crate) fn rank(
    words: &[Scored],
    meaning: &[Scored],
    fusion: &Fusion,
    language: Language,
) -> Vec<(PassageId, f32)> {
    let keys = |hits: &[Scored]| hits.iter().take(fusion.depth).map(|hit| hit.passage).collect::<Vec<_>>();
    let (words, meaning) = (keys(words), keys(meaning));
    let meaning_weight = match language {
        Language::English => fusion.meaning,
        _ => fusion.meaning * fusion.other_language,
    };
    // Where only one list has anything its weight does not matter, so a search by meaning in another
    // language still finds.
    let meaning_weight = if words.is_empty() { 1.0 } else { meaning_weight };
    fuse(
        &[Ranking { keys: &words, weight: fusion.words }, Ranking { keys: &meaning, weight: meaning_weight }],
        fusion.k,
    )
}

/// The embedding of a question, or why there is none.
async fn embed_query(parts: &Parts, text: &str) -> Result<Vec<f32>, Degraded> {
    let call = parts.embed.embed(vec![text.to_owned()], EmbedRole::Query);
    match tokio::time::timeout(parts.patience.question, call).await {
        Ok(Ok(vectors)) => vectors.into_iter().next().ok_or(Degraded::NoEmbedding),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the query was not embedded; searching by words");
            Err(Degraded::NoEmbedding)
        }
        Err(_) => Err(Degraded::EmbeddingTooSlow),
    }
}
