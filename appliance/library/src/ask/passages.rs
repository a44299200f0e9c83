//! The first half of an answer: the passages, their marked sentences, and the evidence for the verdict.

use cairn_inference::EmbedRole;
use cairn_store::{IndexProgress, StoreError, Viewer};

use super::Evidence;
use crate::{
    library::Parts,
    search::{Degraded, Found, FoundPassage, Hit, Marking, Mode, QuestionWords, retrieve},
    text::clip,
};

/// How many of the best passages have their sentences embedded.
const EMBEDDED_HITS: usize = 3;
/// Most sentences embedded for one question.
const MAX_EMBEDDED_SENTENCES: usize = 20;
/// Longest part of a sentence that is embedded, in characters.
const MAX_SENTENCE_CHARS: usize = 400;

/// What was read for a question.
pub(crate) struct Reading {
    /// Best first, with marked sentences.
    pub(crate) hits: Vec<Hit>,
    /// What the verdict is made from.
    pub(crate) evidence: Evidence,
    /// Embedded sentences of the best passages: the hit's place from 1, and the vector.
    pub(crate) sentences: Vec<(u32, Vec<f32>)>,
    /// Why the search asked less than was wanted.
    pub(crate) degraded: Option<Degraded>,
}

/// Finds the passages for a question and marks in them what answers it.
pub(crate) async fn read(
    parts: &Parts,
    viewer: &Viewer,
    question: &str,
    mode: Mode,
    limit: usize,
    progress: IndexProgress,
) -> Result<Reading, StoreError> {
    Ok(weigh(parts, question, retrieve(parts, viewer, question, mode, limit, progress).await?).await)
}

/// Marks what was found and weighs it.
pub(crate) async fn weigh(parts: &Parts, question: &str, found: Found) -> Reading {
    let words = found.question_words(question);
    let coverage = found.passages.iter().map(|found| whole_coverage(&words, found)).fold(0.0, f32::max);
    let mut markings: Vec<Marking<'_>> =
        found.passages.iter().map(|found| Marking::by_words(&found.passage.text, &words)).collect();
    let embedded = match &found.vector {
        Some(vector) => embed_sentences(parts, vector, &markings).await,
        None => Vec::new(),
    };
    for sentence in &embedded {
        if let Some(marking) = markings.get_mut(sentence.hit) {
            marking.add_similarity(sentence.place, sentence.cosine);
        }
    }
    let best_sentence = embedded.iter().map(|sentence| sentence.cosine).reduce(f32::max);
    let spans: Vec<_> = markings.into_iter().map(Marking::spans).collect();
    let evidence = Evidence { cosine: found.best_cosine, coverage, sentence: best_sentence };
    let hits = found.passages.into_iter().zip(spans).map(|(found, spans)| found.into_hit(spans)).collect();
    let sentences = embedded
        .into_iter()
        .map(|sentence| (u32::try_from(sentence.hit + 1).unwrap_or(u32::MAX), sentence.vector))
        .collect();
    Reading { hits, evidence, sentences, degraded: found.degraded }
}

/// How much of the question stands in the passage with its title and headings.
fn whole_coverage(words: &QuestionWords, found: &FoundPassage) -> f32 {
    let passage = &found.passage;
    words.coverage(&format!("{}\n{}\n{}", passage.title, passage.heading, passage.text))
}

/// A sentence with its embedding.
struct Embedded {
    hit: usize,
    place: usize,
    cosine: f32,
    vector: Vec<f32>,
}

/// Embeds the sentences of the best passages; nothing where that takes too long or fails.
async fn embed_sentences(parts: &Parts, question: &[f32], markings: &[Marking<'_>]) -> Vec<Embedded> {
    let chosen: Vec<(usize, usize, String)> = markings
        .iter()
        .take(EMBEDDED_HITS)
        .enumerate()
        .flat_map(|(hit, marking)| {
            marking
                .candidates()
                .map(move |(place, text)| (hit, place, clip(text, MAX_SENTENCE_CHARS).to_owned()))
        })
        .take(MAX_EMBEDDED_SENTENCES)
        .collect();
    if chosen.is_empty() {
        return Vec::new();
    }
    let texts = chosen.iter().map(|(_, _, text)| text.clone()).collect();
    let call = parts.embed.embed(texts, EmbedRole::Query);
    let Ok(Ok(vectors)) = tokio::time::timeout(parts.patience.sentences, call).await else {
        return Vec::new();
    };
    chosen
        .into_iter()
        .zip(vectors)
        .map(|((hit, place, _), vector)| Embedded { hit, place, cosine: cosine(question, &vector), vector })
        .collect()
}

/// Cosine of two vectors of norm 1.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
