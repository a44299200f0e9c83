//! The conversation between the hub and the inference role: bounded, typed, versioned.
//!
//! Each call has an id chosen by the hub; each reply names the call that it belongs to. A generation gets any
//! number of replies and ends with `Done` or `Failed`; everything else gets exactly one reply.

use serde::{Deserialize, Serialize};

use crate::{
    error::InferenceError,
    types::{EmbedRole, GenerateEvent, GenerateRequest, ModelInfo},
};

/// Version of this protocol; both ends must speak the same.
pub const VERSION: u16 = 3;
/// Most messages in a conversation.
pub const MAX_MESSAGES: usize = 128;
/// Most bytes in all messages of a conversation together.
pub const MAX_PROMPT_BYTES: usize = 512 << 10;
/// Most tokens that one answer may have.
pub const MAX_TOKENS: u32 = 4096;
/// Most stop texts of a request.
pub const MAX_STOPS: usize = 8;
/// Longest stop text, bytes.
pub const MAX_STOP_BYTES: usize = 64;
/// Most texts in one embedding call (384 floats each must fit a frame many times over).
pub const MAX_EMBED_TEXTS: usize = 64;
/// Most bytes in all texts of one embedding call together.
pub const MAX_EMBED_BYTES: usize = 512 << 10;
/// Most requests that wait for their turn, all askers together.
pub const MAX_WAITING: usize = 64;
/// Most requests of one asker that wait.
pub const MAX_WAITING_PER_ASKER: usize = 4;
/// Most answers that are written side by side.
pub const MAX_ACTIVE: usize = 4;

/// From the hub.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the hub, never used twice on one connection.
    pub id: u64,
    /// What is asked for.
    pub request: Request,
}

/// What the hub can ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// The first call on a connection.
    Hello {
        /// Version of the hub's end.
        version: u16,
    },
    /// An answer, please.
    Generate(GenerateRequest),
    /// Nobody waits for the answer to the call with this call's id any more.
    Cancel,
    /// Vectors for these texts, please.
    Embed {
        /// At most [`MAX_EMBED_TEXTS`] texts.
        texts: Vec<String>,
        /// Questions or passages.
        role: EmbedRole,
    },
    /// Which models are there?
    Models,
    /// Load a model before somebody needs it.
    Load {
        /// Name of the model.
        name: String,
    },
    /// Free a model's memory once nobody uses it.
    Unload {
        /// Name of the model.
        name: String,
    },
    /// Compute with this many threads fewer than there are; at least one works. From the next product on, until it is said
    /// anew.
    Threads {
        /// How many rest.
        fewer: u32,
    },
    /// Counters since the start.
    Statistics,
}

/// From the inference role.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The call that this belongs to.
    pub id: u64,
    /// What is said.
    pub answer: Answer,
}

/// What the inference role can answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// To `Hello`.
    Hello {
        /// Version of the inference role's end.
        version: u16,
    },
    /// To `Generate`, several.
    Generate(GenerateEvent),
    /// To `Embed`.
    Embeddings(Vec<Vec<f32>>),
    /// To `Models`.
    Models(Vec<ModelInfo>),
    /// To `Load`, `Unload` and `Threads`, when it has been carried out.
    Done,
    /// To `Statistics`.
    Statistics(Statistics),
    /// To anything but `Generate`, which has its own.
    Failed(InferenceError),
}

/// Counters of the inference role since it started, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// Requests that wait now.
    pub waiting: u32,
    /// Answers that are being written now.
    pub active: u32,
    /// Answers completed.
    pub completed: u64,
    /// Answers that failed.
    pub failed: u64,
    /// Answers whose asker left.
    pub cancelled: u64,
    /// Prompt tokens read.
    pub prompt_tokens: u64,
    /// Prompt tokens that did not have to be read again because their prefix was kept.
    pub reused_tokens: u64,
    /// Tokens written.
    pub generated_tokens: u64,
    /// Milliseconds spent reading prompts.
    pub prefill_ms: u64,
    /// Milliseconds spent writing.
    pub decode_ms: u64,
    /// Sum of the times from start to first token, milliseconds; divide by `first_tokens`.
    pub first_token_ms: u64,
    /// Number of answers that reached their first token.
    pub first_tokens: u64,
    /// Tokens that were drafted from the conversation itself.
    pub drafted_tokens: u64,
    /// Drafted tokens that the model would have chosen, too: tokens that cost no step of their own.
    pub accepted_tokens: u64,
    /// Texts embedded.
    pub embedded: u64,
    /// Milliseconds spent embedding.
    pub embed_ms: u64,
    /// Generating models in memory.
    pub models_loaded: u32,
    /// Threads that compute.
    pub threads: u32,
}

/// Checks a request against the limits above, on both ends: the hub's to answer early, ours to be safe.
///
/// # Errors
/// [`InferenceError::BadRequest`] with the limit that was broken.
pub fn check(request: &GenerateRequest) -> Result<(), InferenceError> {
    let bad = |why: String| Err(InferenceError::BadRequest(why));
    let bytes: usize = request.messages.iter().map(|message| message.content.len()).sum();
    if request.messages.is_empty() {
        return bad("the conversation is empty".into());
    }
    if request.messages.len() > MAX_MESSAGES {
        return bad(format!("a conversation has at most {MAX_MESSAGES} messages"));
    }
    if bytes > MAX_PROMPT_BYTES {
        return bad(format!("a conversation has at most {MAX_PROMPT_BYTES} bytes, this one has {bytes}"));
    }
    if request.max_tokens == 0 || request.max_tokens > MAX_TOKENS {
        return bad(format!("an answer has 1 to {MAX_TOKENS} tokens, not {}", request.max_tokens));
    }
    if !(0.0..=2.0).contains(&request.temperature) {
        return bad(format!("the temperature is between 0 and 2, not {}", request.temperature));
    }
    if request.stop.len() > MAX_STOPS || request.stop.iter().any(|stop| stop.len() > MAX_STOP_BYTES) {
        return bad(format!("there are at most {MAX_STOPS} stop texts of at most {MAX_STOP_BYTES} bytes"));
    }
    Ok(())
}
