//! The second half of an answer: what the model writes, cut into sentences and checked against the passages.

use std::{sync::Arc, time::Duration};

use cairn_inference::{EmbedRole, GenerateEvent, InferenceError};
use futures::{StreamExt, stream::BoxStream};

use super::{
    AskEvent, Question, Refusal,
    citations::{Draft, Drafts},
    passages::{Reading, cosine},
    prompt,
    support::{Source, WordCheck, check_words, with_meaning},
};
use crate::{
    library::Parts,
    text::{Language, fold},
};

/// How long the model may be silent before the answer counts as broken. Reading a prompt on the smallest
/// board takes about a minute; waiting in the queue has no such limit, the place is shown.
const SILENCE_DEADLINE: Duration = Duration::from_secs(300);

/// Writes the answer to `question` over what was read.
pub(crate) fn write(
    parts: Arc<Parts>,
    question: Question,
    language: Language,
    reading: Reading,
) -> BoxStream<'static, AskEvent> {
    let prompt =
        prompt::build(&question.text, language, &reading.hits, question.asker, question.model.clone());
    let not_found = fold(prompt::wording(language).not_found);
    async_stream::stream! {
        let checker = Checker::new(parts.clone(), &reading, prompt.shown);
        let mut events = parts.generate.generate(prompt.request);
        let mut answer = Answer::new(not_found);
        loop {
            let event = match tokio::time::timeout(SILENCE_DEADLINE, events.next()).await {
                Ok(Some(event)) => event,
                Ok(None) => {
                    yield AskEvent::Broken { reason: InferenceError::Died.to_string() };
                    return;
                }
                Err(_) => {
                    yield AskEvent::Broken { reason: InferenceError::TimedOut.to_string() };
                    return;
                }
            };
            match event {
                GenerateEvent::Queued { place } => yield AskEvent::Queued { place },
                GenerateEvent::Started { model, .. } => yield AskEvent::Started { model },
                GenerateEvent::Restarted => {
                    answer.restart();
                    yield AskEvent::Restarted;
                }
                GenerateEvent::Text(piece) => {
                    let Some(text) = answer.push(&piece) else { continue };
                    let drafts = answer.drafts.push(&text);
                    yield AskEvent::Text { text };
                    for draft in drafts {
                        let sentence = checker.check(draft).await;
                        answer.count(&sentence);
                        yield sentence;
                    }
                }
                GenerateEvent::Done { tokens, finish, prefill_ms, decode_ms } => {
                    if answer.is_refusal() {
                        yield AskEvent::NoAnswer { refusal: Refusal::NotInPassages };
                        return;
                    }
                    let mut drafts = Vec::new();
                    if let Some(text) = answer.release() {
                        drafts = answer.drafts.push(&text);
                        yield AskEvent::Text { text };
                    }
                    drafts.extend(answer.drafts.finish());
                    for draft in drafts {
                        let sentence = checker.check(draft).await;
                        answer.count(&sentence);
                        yield sentence;
                    }
                    yield AskEvent::Done { tokens, finish, unsupported: answer.unsupported, prefill_ms, decode_ms };
                    return;
                }
                GenerateEvent::Failed(InferenceError::NoModel) => {
                    yield AskEvent::NoModel;
                    return;
                }
                GenerateEvent::Failed(error) => {
                    yield AskEvent::Broken { reason: error.to_string() };
                    return;
                }
            }
        }
    }
    .boxed()
}

/// The answer so far.
struct Answer {
    drafts: Drafts,
    /// What the model writes when the passages do not answer, folded.
    not_found: String,
    /// The beginning, held back as long as it could become the refusal.
    held: Option<String>,
    unsupported: u32,
}

impl Answer {
    fn new(not_found: String) -> Self {
        Self { drafts: Drafts::default(), not_found, held: Some(String::new()), unsupported: 0 }
    }

    fn restart(&mut self) {
        *self = Self::new(std::mem::take(&mut self.not_found));
    }

    /// Adds a piece; returns the text that can be shown now, if any.
    fn push(&mut self, piece: &str) -> Option<String> {
        let Some(held) = &mut self.held else { return Some(piece.to_owned()) };
        held.push_str(piece);
        let so_far = fold(held);
        let so_far = so_far.trim();
        if self.not_found.starts_with(so_far) || so_far.starts_with(&self.not_found) {
            return None;
        }
        self.held.take()
    }

    /// Whether the whole answer is the refusal.
    fn is_refusal(&self) -> bool {
        let end = self.not_found.trim_end_matches('.');
        self.held.as_deref().is_some_and(|held| fold(held).trim().starts_with(end))
    }

    /// What was held back and is no refusal.
    fn release(&mut self) -> Option<String> {
        self.held.take().filter(|held| !held.is_empty())
    }

    fn count(&mut self, sentence: &AskEvent) {
        if matches!(sentence, AskEvent::Sentence { supported: false, .. }) {
            self.unsupported += 1;
        }
    }
}

/// Checks sentences against the passages that the model was shown.
struct Checker {
    parts: Arc<Parts>,
    /// By the hit's place from 1.
    sources: Vec<Source>,
    sentences: Vec<(u32, Vec<f32>)>,
}

impl Checker {
    fn new(parts: Arc<Parts>, reading: &Reading, shown: usize) -> Self {
        let sources = reading
            .hits
            .iter()
            .take(shown)
            .map(|hit| Source::new(&hit.title, &hit.heading, &hit.text()))
            .collect();
        Self { parts, sources, sentences: reading.sentences.clone() }
    }

    /// The sentence with the passages that it really stands on. Those that it cites are tried first; where it
    /// cites none, or the cited ones do not say so, the one that does is named instead.
    async fn check(&self, draft: Draft) -> AskEvent {
        let cited: Vec<u32> =
            draft.citations.into_iter().filter(|number| self.source(*number).is_some()).collect();
        if !cited.is_empty() && self.holds(&draft.text, &cited).await {
            return AskEvent::Sentence { text: draft.text, citations: cited, supported: true };
        }
        let others = (1_u32..).take(self.sources.len()).filter(|number| !cited.contains(number));
        let mut best: Option<(f32, u32)> = None;
        for number in others {
            let Some(source) = self.source(number) else { continue };
            if let WordCheck::Supported(overlap) = check_words(&draft.text, &[source])
                && best.is_none_or(|(before, _)| overlap > before)
            {
                best = Some((overlap, number));
            }
        }
        match best {
            Some((_, number)) => {
                AskEvent::Sentence { text: draft.text, citations: vec![number], supported: true }
            }
            None => AskEvent::Sentence { text: draft.text, citations: cited, supported: false },
        }
    }

    fn source(&self, number: u32) -> Option<&Source> {
        self.sources.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    async fn holds(&self, sentence: &str, cited: &[u32]) -> bool {
        let sources: Vec<&Source> = cited.iter().filter_map(|number| self.source(*number)).collect();
        let words = check_words(sentence, &sources);
        let cosine = match words {
            WordCheck::Partly(_) => self.similarity(sentence, cited).await,
            _ => None,
        };
        with_meaning(words, cosine)
    }

    /// The best cosine between the sentence and an embedded sentence of a cited passage.
    async fn similarity(&self, sentence: &str, cited: &[u32]) -> Option<f32> {
        let candidates: Vec<&Vec<f32>> =
            self.sentences.iter().filter(|(hit, _)| cited.contains(hit)).map(|(_, vector)| vector).collect();
        if candidates.is_empty() {
            return None;
        }
        let call = self.parts.embed.embed(vec![sentence.to_owned()], EmbedRole::Query);
        let vectors = tokio::time::timeout(self.parts.patience.check, call).await.ok()?.ok()?;
        let vector = vectors.first()?;
        candidates.into_iter().map(|candidate| cosine(vector, candidate)).reduce(f32::max)
    }
}
