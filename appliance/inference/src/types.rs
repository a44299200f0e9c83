//! What callers say and hear: requests, events, what is known of a model, and the two traits they depend on.

use std::path::PathBuf;

use futures::{future::BoxFuture, stream::BoxStream};
use serde::{Deserialize, Serialize};

use crate::error::InferenceError;

/// Number of floats in an embedding (all-MiniLM-L6-v2).
pub const EMBEDDING_DIMENSIONS: usize = 384;

/// Who says a message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChatRole {
    /// Instructions that stand above the conversation.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

impl ChatRole {
    /// The role's name in chat templates.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who says it.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message.
    pub fn new(role: ChatRole, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// A request for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// The conversation, oldest first, ending with the person's message.
    pub messages: Vec<ChatMessage>,
    /// Most tokens to write, 1..=[`crate::protocol::MAX_TOKENS`].
    pub max_tokens: u32,
    /// 0 always takes the likeliest token; 0.7 is lively; at most 2.
    pub temperature: f32,
    /// The same seed and request give the same answer.
    pub seed: u64,
    /// Generation ends before the first of these texts; at most [`crate::protocol::MAX_STOPS`].
    pub stop: Vec<String>,
    /// Which model; none takes the one that fits the board best.
    pub model: Option<String>,
    /// Fairness key: requests of one asker wait for each other before they wait for others'.
    pub asker: u64,
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            max_tokens: 256,
            temperature: 0.0,
            seed: 0,
            stop: Vec::new(),
            model: None,
            asker: 0,
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// The model ended it, or a stop text was reached.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
}

/// What happens to a request, in order: `Queued`*, `Started`, `Text`*, then `Done` or `Failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GenerateEvent {
    /// It waits; `place` 1 is next. Sent again whenever the place changes.
    Queued {
        /// Place in the queue, from 1.
        place: u32,
    },
    /// The model began to read.
    Started {
        /// Name of the model that answers.
        model: String,
        /// Tokens of the whole prompt.
        prompt_tokens: u32,
    },
    /// The next piece of the answer, always whole characters.
    Text(String),
    /// What was sent as `Text` so far is void; the answer starts again from its beginning (another generator took over).
    Restarted,
    /// The answer is complete.
    Done {
        /// Tokens written.
        tokens: u32,
        /// Why it ended.
        finish: Finish,
        /// Time spent reading the prompt.
        prefill_ms: u64,
        /// Time spent writing.
        decode_ms: u64,
    },
    /// There will be no (more) answer.
    Failed(InferenceError),
}

/// Whether a text to embed is a question or something to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EmbedRole {
    /// What somebody looks for. Embedded before waiting passages.
    Query,
    /// What can be found.
    Passage,
}

/// Something that answers. Dropping the stream cancels the request.
pub trait Generate: Send + Sync {
    /// Starts an answer.
    fn generate(&self, request: GenerateRequest) -> BoxStream<'static, GenerateEvent>;
}

/// Something that turns texts into vectors of [`EMBEDDING_DIMENSIONS`] floats with Euclidean norm 1.
pub trait Embed: Send + Sync {
    /// Embeds texts; the result has one vector per text, in order.
    fn embed(
        &self,
        texts: Vec<String>,
        role: EmbedRole,
    ) -> BoxFuture<'static, Result<Vec<Vec<f32>>, InferenceError>>;
}

/// Model families that this crate can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// Llama 2 and 3, SmolLM, TinyLlama, Mistral.
    Llama,
    /// Qwen 2 and 2.5.
    Qwen2,
    /// Qwen 3.
    Qwen3,
    /// Gemma 3 (text).
    Gemma3,
    /// Phi-3 and Phi-3.5.
    Phi3,
    /// BERT encoders; embeds, does not generate.
    Bert,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 6] = [Self::Llama, Self::Qwen2, Self::Qwen3, Self::Gemma3, Self::Phi3, Self::Bert];

    /// The value of `general.architecture`, which is also the prefix of the family's metadata keys.
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gemma3 => "gemma3",
            Self::Phi3 => "phi3",
            Self::Bert => "bert",
        }
    }

    /// The family of an architecture name.
    pub fn from_architecture(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.architecture() == name)
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Llama => "Llama",
            Self::Qwen2 => "Qwen2",
            Self::Qwen3 => "Qwen3",
            Self::Gemma3 => "Gemma 3",
            Self::Phi3 => "Phi-3",
            Self::Bert => "BERT",
        })
    }
}

/// What a model file is at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModelState {
    /// In memory, answers at once.
    Loaded,
    /// Being loaded.
    Loading {
        /// How far, 0..=100.
        percent: u8,
    },
    /// Can be loaded.
    Available,
    /// Cannot be used, and why.
    Refused(String),
}

/// What is known of a model without loading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// File name without `.gguf`: unique within the folder, and how the model is asked for.
    pub name: String,
    /// The name that its maker gave it, if any.
    pub title: Option<String>,
    /// The file.
    pub path: PathBuf,
    /// Which family.
    pub family: Option<Family>,
    /// The quantization of most of its weights, for example `Q4_K`.
    pub quantization: String,
    /// Number of weights.
    pub parameters: u64,
    /// Longest context that it was made for, tokens.
    pub context: u32,
    /// Size of the file, bytes.
    pub file_bytes: u64,
    /// Estimated memory need once loaded, bytes.
    pub memory_bytes: u64,
    /// Loaded, available or refused.
    pub state: ModelState,
}
