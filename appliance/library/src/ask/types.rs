//! What goes into a question and the events that answer it.

use cairn_inference::Finish;
use serde::Serialize;

use crate::search::{Degraded, Hit, Mode};

/// A question to the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What was asked; cut at [`MAX_QUERY_CHARS`](crate::search::MAX_QUERY_CHARS).
    pub text: String,
    /// Who asks, for fairness between askers; any number that stays the same for one person or address.
    pub asker: u64,
    /// The language of the answer, BCP 47; taken from the question's words when not given.
    pub language: Option<String>,
    /// The generating model, by name; the hub's choice when not given.
    pub model: Option<String>,
    /// Which part of the search is asked.
    pub mode: Mode,
}

impl Question {
    /// A question with the hub's choices for everything else.
    #[must_use]
    pub fn new(text: impl Into<String>, asker: u64) -> Self {
        Self { text: text.into(), asker, language: None, model: None, mode: Mode::Hybrid }
    }
}

/// Whether the library holds the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The passages answer the question, as far as can be told.
    Answerable,
    /// They do not; the nearest ones are shown as such.
    NotInLibrary,
}

/// Why there is no written answer although a model is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The passages do not hold the answer: the model was not asked.
    NotInLibrary,
    /// The model read the passages and said that they do not answer.
    NotInPassages,
}

/// One step of an answer, in the order in which they come: `Passages` first, one closing event
/// (`Done`, `NoModel`, `NoAnswer` or `Broken`) last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum AskEvent {
    /// The best passages; the answer cites them by their place in `hits`, from 1.
    Passages {
        /// Best first.
        hits: Vec<Hit>,
        /// Whether they answer.
        verdict: Verdict,
        /// What the verdict is made from, 0 to 1.
        confidence: f32,
        /// Why the search asked less than was wanted.
        degraded: Option<Degraded>,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
    /// Others are before this question; 1 is next.
    Queued {
        /// The place.
        place: u32,
    },
    /// The model reads.
    Started {
        /// Its name.
        model: String,
    },
    /// What came so far is void: the answer starts again, with another model.
    Restarted,
    /// Text as the model writes it. Every piece comes again, checked, in a `Sentence`.
    Text {
        /// The piece.
        text: String,
    },
    /// A finished sentence, checked against the passages.
    Sentence {
        /// The sentence without its citation marks.
        text: String,
        /// The passages that it stands on, from 1; empty when there is none.
        citations: Vec<u32>,
        /// Whether the cited passages say so.
        supported: bool,
    },
    /// The answer is complete.
    Done {
        /// Tokens written.
        tokens: u32,
        /// Whether it ended by itself or at the limit.
        finish: Finish,
        /// Sentences that no passage supports.
        unsupported: u32,
        /// Time to read the prompt, in milliseconds.
        prefill_ms: u64,
        /// Time to write, in milliseconds.
        decode_ms: u64,
    },
    /// No generating model is installed: the passages are the answer.
    NoModel,
    /// There is no answer to write.
    NoAnswer {
        /// Why.
        refusal: Refusal,
    },
    /// The answer broke off; asking again is possible.
    Broken {
        /// What happened, for people.
        reason: String,
    },
}
