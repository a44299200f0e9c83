//! Ask: the passages first, then an answer bound to them, sentence by sentence checked.

mod answer;
mod citations;
mod passages;
mod prompt;
mod support;
mod types;
mod verdict;

use std::{sync::Arc, time::Instant};

use cairn_store::{IndexProgress, Viewer};
use futures::{StreamExt, stream::BoxStream};

pub use prompt::{MAX_ANSWER_TOKENS, MAX_PASSAGE_TOKENS, MAX_PASSAGES};
pub use types::{AskEvent, Question, Refusal, Verdict};

pub(crate) use passages::{clues, weigh};
pub(crate) use verdict::{Evidence, verdict, with};

use crate::{library::Parts, search::millis, text::Language};

/// How many passages a question is answered from; the prompt holds fewer where they are long.
pub(crate) const ASK_HITS: usize = 6;

/// Answers a question. Everything that happens is an event, also what goes wrong.
pub(crate) fn ask(
    parts: Arc<Parts>,
    viewer: Viewer,
    question: Question,
    progress: IndexProgress,
) -> BoxStream<'static, AskEvent> {
    let started = Instant::now();
    async_stream::stream! {
        let reading = {
            let _people_first = parts.courtesy.enter();
            passages::read(&parts, &viewer, &question.text, question.mode, ASK_HITS, progress).await
        };
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => {
                yield AskEvent::Broken { reason: error.to_string() };
                return;
            }
        };
        let confidence = verdict::confidence(&reading.evidence);
        let verdict = verdict(&reading.evidence);
        yield AskEvent::Passages {
            hits: reading.hits.clone(),
            verdict,
            confidence,
            degraded: reading.degraded,
            took_ms: millis(started),
        };
        if verdict == Verdict::NotInLibrary {
            yield AskEvent::NoAnswer { refusal: Refusal::NotInLibrary };
            return;
        }
        let language = question
            .language
            .as_deref()
            .and_then(Language::from_tag)
            .unwrap_or_else(|| Language::of(&question.text));
        let mut events = answer::write(parts, question, language, reading);
        while let Some(event) = events.next().await {
            yield event;
        }
    }
    .boxed()
}
