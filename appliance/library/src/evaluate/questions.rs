//! Asks every question and keeps what both rankings and the evidence say.

use cairn_inference::EmbedRole;
use cairn_store::{Part, PassageId, Scored, Viewer};
use cairn_sync::RecordId;
use std::collections::{BTreeMap, HashMap};

use super::{
    EvaluateError,
    corpus::{Asked, Source},
    marks::{Marks, marks},
};
use crate::{
    ask::{ASK_HITS, Evidence, weigh},
    library::Parts,
    search::{Found, Mode, Rankings, fetch, rankings},
    text::Language,
};

/// Questions embedded at once, before they are asked one by one.
const BATCH: usize = 16;

/// One question with everything that was measured.
pub(super) struct Outcome {
    pub(super) source: Source,
    pub(super) language: Language,
    /// Whether it may be tuned on; the others are only reported on.
    pub(super) tune: bool,
    pub(super) words: Vec<Scored>,
    pub(super) meaning: Vec<Scored>,
    /// Documents and which of the ranked passages are right.
    pub(super) right: Vec<PassageId>,
    pub(super) documents: HashMap<PassageId, RecordId>,
    /// Over the whole library.
    pub(super) evidence: Evidence,
    pub(super) evidence_by_words: Evidence,
    /// Over the library without the documents that answer.
    pub(super) without: Option<(Evidence, Evidence)>,
    pub(super) marks: Option<(Marks, Marks)>,
}

pub(super) async fn ask_all(
    parts: &Parts,
    asked: &[Asked],
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<Vec<Outcome>, EvaluateError> {
    let texts: Vec<String> = asked.iter().map(|asked| asked.text.clone()).collect();
    for batch in texts.chunks(BATCH) {
        parts.embed.embed(batch.to_vec(), EmbedRole::Query).await?;
    }
    let mut outcomes = Vec::new();
    for (at, asked) in asked.iter().enumerate() {
        outcomes.push(ask(parts, asked).await?);
        if at % 100 == 99 {
            say(&format!("  {} of {}", at + 1, texts.len()));
        }
    }
    Ok(outcomes)
}

async fn ask(parts: &Parts, asked: &Asked) -> Result<Outcome, EvaluateError> {
    let viewer = Viewer::system(Part::Console);
    let progress = parts.store.index_progress().await?;
    let found = rankings(parts, &viewer, &asked.text, Mode::Hybrid, progress).await?;
    let documents: HashMap<PassageId, RecordId> =
        found.words.iter().chain(&found.meaning).map(|hit| (hit.passage, hit.document)).collect();
    let right = right_passages(parts, asked, &found).await?;
    let (words, meaning) = (found.words.clone(), found.meaning.clone());
    let answering: Vec<RecordId> = asked.right.iter().map(|(document, _)| *document).collect();
    let left_out = |hit: &Scored| !answering.contains(&hit.document);
    let without = if asked.source == Source::Sample {
        let rest = Rankings {
            words: words.iter().copied().filter(left_out).collect(),
            meaning: meaning.iter().copied().filter(left_out).collect(),
            vector: found.vector.clone(),
            degraded: None,
            embedding_ms: 0,
        };
        let (words_only, with_meaning) = both_findings(parts, &viewer, &asked.text, rest).await?;
        Some(both_evidences(parts, &asked.text, with_meaning, words_only).await)
    } else {
        None
    };
    let (words_only, with_meaning) = both_findings(parts, &viewer, &asked.text, found).await?;
    let marks = marks(parts, asked, &with_meaning).await;
    let (evidence, evidence_by_words) = both_evidences(parts, &asked.text, with_meaning, words_only).await;
    Ok(Outcome {
        source: asked.source,
        language: Language::of(&asked.text),
        tune: is_for_tuning(&asked.text),
        words,
        meaning,
        right,
        documents,
        evidence,
        evidence_by_words,
        without,
        marks,
    })
}

/// What is found by words alone, and with the meaning.
async fn both_findings(
    parts: &Parts,
    viewer: &Viewer,
    text: &str,
    found: Rankings,
) -> Result<(Found, Found), EvaluateError> {
    let language = Language::of(text);
    let words_only = Rankings { words: found.words.clone(), ..Rankings::default() };
    Ok((
        fetch(parts, viewer, words_only, language, Mode::Words, ASK_HITS).await?,
        fetch(parts, viewer, found, language, Mode::Hybrid, ASK_HITS).await?,
    ))
}

/// The evidence with the meaning and by words alone.
async fn both_evidences(
    parts: &Parts,
    text: &str,
    with_meaning: Found,
    words_only: Found,
) -> (Evidence, Evidence) {
    (weigh(parts, text, with_meaning).await.evidence, weigh(parts, text, words_only).await.evidence)
}

/// Which of the ranked passages answer.
async fn right_passages(
    parts: &Parts,
    asked: &Asked,
    found: &Rankings,
) -> Result<Vec<PassageId>, EvaluateError> {
    let viewer = Viewer::system(Part::Console);
    let candidates: BTreeMap<PassageId, ()> = found
        .words
        .iter()
        .chain(&found.meaning)
        .filter(|hit| asked.right.iter().any(|(document, _)| *document == hit.document))
        .map(|hit| (hit.passage, ()))
        .collect();
    let ids: Vec<PassageId> = candidates.into_keys().collect();
    let passages = parts.store.passages(&viewer, &ids).await?;
    Ok(passages
        .into_iter()
        .filter(|passage| asked.right.contains(&(passage.document, passage.ordinal)))
        .map(|passage| passage.id)
        .collect())
}

/// Half of the questions by a hash of their text, so that adding one moves no other.
fn is_for_tuning(text: &str) -> bool {
    blake3::hash(text.as_bytes()).as_bytes().first().is_some_and(|byte| byte % 2 == 0)
}
