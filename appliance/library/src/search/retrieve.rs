//! From a question to passages: both rankings, fused, diversified, fetched.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use cairn_inference::EmbedRole;
use cairn_store::{IndexProgress, PassageId, Scored, StoreError, StoredPassage, Viewer};

use super::{Degraded, Hit, MAX_QUERY_CHARS, Mode, QuestionWords, Ranking, Span, diversify, fuse, millis};
use crate::{
    library::Parts,
    parameters::{FUSION, Fusion},
    text::{Language, clip},
};

/// How long a search waits for the embedding of its query before it goes on with words alone.
pub(crate) const EMBED_DEADLINE: Duration = Duration::from_millis(800);
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
    let nothing = Found {
        passages: Vec::new(),
        best_cosine: None,
        vector: None,
        mode: wanted,
        degraded: None,
        embedding_ms: 0,
    };
    if text.is_empty() || limit == 0 {
        return Ok(nothing);
    }
    let by_words = async {
        match wanted {
            Mode::Meaning => Ok(Vec::new()),
            Mode::Hybrid | Mode::Words => parts.store.search_text(viewer, text, FUSION.depth).await,
        }
    };
    let started = Instant::now();
    let by_meaning = async {
        if wanted == Mode::Words || progress.embedded == 0 {
            let why = (wanted != Mode::Words).then_some(Degraded::NoEmbedding);
            return Ok((None, Vec::new(), why, 0));
        }
        let vector = embed_query(parts, text).await;
        let embedding_ms = millis(started);
        match vector {
            Ok(vector) => {
                let hits = parts.store.search_vector(viewer, &vector, FUSION.depth).await?;
                let behind = progress.embedded < progress.passages;
                let why = behind.then_some(Degraded::StillEmbedding {
                    embedded: progress.embedded,
                    passages: progress.passages,
                });
                Ok((Some(vector), hits, why, embedding_ms))
            }
            Err(why) => Ok((None, Vec::new(), Some(why), embedding_ms)),
        }
    };
    let (words, meaning) = tokio::join!(by_words, by_meaning);
    let mut words: Vec<Scored> = words?;
    let (vector, meaning, degraded, embedding_ms): (_, Vec<Scored>, _, _) = meaning.map_err(|error: StoreError| error)?;
    let mode = match (wanted, vector.is_some()) {
        (Mode::Words, _) | (_, false) => Mode::Words,
        (wanted, true) => wanted,
    };
    if wanted == Mode::Meaning && mode == Mode::Words {
        words = parts.store.search_text(viewer, text, FUSION.depth).await?;
    }

    let ranked = rank(&words, &meaning, &FUSION, Language::of(text));
    let wanted_ids: Vec<PassageId> = ranked.iter().take(limit * FETCH_FACTOR).map(|(id, _)| *id).collect();
    let stored = parts.store.passages(viewer, &wanted_ids).await?;
    let mut by_id: HashMap<PassageId, StoredPassage> =
        stored.into_iter().map(|passage| (passage.id, passage)).collect();
    let mut passages: Vec<(StoredPassage, f32)> =
        ranked.into_iter().filter_map(|(id, score)| Some((by_id.remove(&id)?, score))).collect();
    diversify(&mut passages, FUSION.decay, |passage| passage.document);
    passages.truncate(limit);
    Ok(Found {
        passages: passages.into_iter().map(|(passage, score)| FoundPassage { passage, score }).collect(),
        best_cosine: meaning.first().map(|hit| hit.score),
        vector,
        mode,
        degraded,
        embedding_ms,
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
        &[
            Ranking { keys: &words, weight: fusion.words },
            Ranking { keys: &meaning, weight: meaning_weight },
        ],
        fusion.k,
    )
}

/// The embedding of a question, or why there is none.
async fn embed_query(parts: &Parts, text: &str) -> Result<Vec<f32>, Degraded> {
    let call = parts.embed.embed(vec![text.to_owned()], EmbedRole::Query);
    match tokio::time::timeout(EMBED_DEADLINE, call).await {
        Ok(Ok(vectors)) => vectors.into_iter().next().ok_or(Degraded::NoEmbedding),
        Ok(Err(error)) => {
            tracing::debug!(%error, "the query was not embedded; searching by words");
            Err(Degraded::NoEmbedding)
        }
        Err(_) => Err(Degraded::EmbeddingTooSlow),
    }
}
