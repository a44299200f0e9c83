//! The first half of an answer: the passages, their marked sentences, and the evidence for the verdict.

use cairn_inference::EmbedRole;
use cairn_store::{IndexProgress, StoreError, Viewer};

use super::{Evidence, Verdict, verdict::verdict};
use crate::{
    library::Parts,
    parameters::{self, MARKING, MARKING_BY_WORDS},
    search::{Degraded, Found, FoundPassage, Hit, Marking, Mode, QuestionWords, mark, retrieve},
    text::clip,
};

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
    let (markings, embedded) = clues(parts, &words, &found).await;
    let best_sentence = embedded.iter().map(|sentence| sentence.cosine).reduce(f32::max);
    let evidence = Evidence { cosine: found.best_cosine, coverage, sentence: best_sentence };
    let by = if embedded.is_empty() { MARKING_BY_WORDS } else { MARKING };
    let spans = match verdict(&evidence) {
        Verdict::Answerable => mark(markings, &by),
        // The nearest passages are shown, and nothing in them is said to answer.
        Verdict::NotInLibrary => mark(markings, &parameters::Marking { passages: 0, ..by }),
    };
    let hits = found.passages.into_iter().zip(spans).map(|(found, spans)| found.into_hit(spans)).collect();
    let sentences = embedded
        .into_iter()
        .map(|sentence| (u32::try_from(sentence.hit + 1).unwrap_or(u32::MAX), sentence.vector))
        .collect();
    Reading { hits, evidence, sentences, degraded: found.degraded }
}

/// What speaks for each sentence of the passages, and the sentences that were embedded.
pub(crate) async fn clues<'f>(
    parts: &Parts,
    words: &QuestionWords,
    found: &'f Found,
) -> (Vec<Marking<'f>>, Vec<Embedded>) {
    let mut markings: Vec<Marking<'_>> =
        found.passages.iter().map(|found| Marking::new(&found.passage.text, words)).collect();
    let embedded = match &found.vector {
        Some(vector) => embed_sentences(parts, vector, found, &markings).await,
        None => Vec::new(),
    };
    for sentence in &embedded {
        if let Some(marking) = markings.get_mut(sentence.hit) {
            marking.add_similarity(sentence.place, sentence.cosine);
        }
    }
    (markings, embedded)
}

fn below_heading(heading: &str, sentence: &str) -> String {
    if heading.is_empty() { sentence.to_owned() } else { format!("{heading}: {sentence}") }
}

/// How much of the question stands in the passage with its title and headings.
fn whole_coverage(words: &QuestionWords, found: &FoundPassage) -> f32 {
    let passage = &found.passage;
    words.coverage(&format!("{}\n{}\n{}", passage.title, passage.heading, passage.text))
}

/// A sentence with its embedding.
pub(crate) struct Embedded {
    hit: usize,
    place: usize,
    cosine: f32,
    vector: Vec<f32>,
}

/// Embeds the sentences of the best passages, each below its heading, without which many say little; nothing where that
/// takes too long or fails.
async fn embed_sentences(
    parts: &Parts,
    question: &[f32],
    found: &Found,
    markings: &[Marking<'_>],
) -> Vec<Embedded> {
    let mut chosen: Vec<(usize, usize, String)> = Vec::new();
    for (hit, (found, marking)) in found.passages.iter().zip(markings).take(MARKING.passages).enumerate() {
        // What earlier passages left over goes to the later ones.
        let left = MAX_EMBEDDED_SENTENCES - chosen.len();
        let share = left / (MARKING.passages - hit).min(markings.len() - hit).max(1);
        let heading = found.passage.heading.rsplit(" › ").next().unwrap_or_default();
        chosen.extend(
            marking
                .candidates(share)
                .into_iter()
                .map(|(place, text)| (hit, place, below_heading(heading, clip(text, MAX_SENTENCE_CHARS)))),
        );
    }
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
