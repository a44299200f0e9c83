//! What can go wrong, told apart by what the caller can do about it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Why a request to the inference role did not succeed. Travels over the channel, so it carries text, not sources.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum InferenceError {
    /// The inference role is not running (yet); it is being restarted. Trying again in a moment makes sense.
    #[error("the inference process is not running; it is being restarted")]
    NotConnected,
    /// The inference role ended while it worked on this request.
    #[error("the inference process ended unexpectedly while it worked on this; please ask again")]
    Died,
    /// No generating model is installed.
    #[error("no generating model is installed")]
    NoModel,
    /// No model of this name is installed.
    #[error("there is no model named {0:?}")]
    UnknownModel(String),
    /// The model's file cannot be used.
    #[error("the model {model:?} cannot be used: {reason}")]
    Refused {
        /// Name of the model.
        model: String,
        /// What is wrong with it, in a sentence.
        reason: String,
    },
    /// The model needs more memory than there is; nothing was loaded.
    #[error("the model {model:?} needs {} MiB of memory and {} MiB are free", .needed / MIB, .free / MIB)]
    NotEnoughMemory {
        /// Name of the model.
        model: String,
        /// Estimated need, bytes.
        needed: u64,
        /// What the limit leaves free, bytes.
        free: u64,
    },
    /// Too many requests wait already.
    #[error("too many people are asking at the moment ({waiting} wait); please try again in a minute")]
    QueueFull {
        /// How many wait.
        waiting: u32,
    },
    /// The conversation does not fit the model's context.
    #[error("the conversation is too long for the model: {tokens} tokens, at most {limit} fit")]
    TooLong {
        /// Tokens of the rendered conversation.
        tokens: u32,
        /// Most that fit while leaving room for an answer.
        limit: u32,
    },
    /// The request itself breaks a limit or makes no sense.
    #[error("the request cannot be served: {0}")]
    BadRequest(String),
    /// The two ends speak different protocol versions: the hub and the inference role are of different builds.
    #[error("the inference process speaks protocol version {theirs}, this one {ours}")]
    Version {
        /// Version of this end.
        ours: u16,
        /// Version of the other end.
        theirs: u16,
    },
    /// No answer in time.
    #[error("the inference process did not answer in time")]
    TimedOut,
    /// The model failed while computing.
    #[error("the model failed: {0}")]
    Failed(String),
    /// A generator beyond this device could not be reached or refused (used by cloud routing).
    #[error("the remote model cannot be used: {0}")]
    Remote(String),
}

const MIB: u64 = 1 << 20;

/// Why a model file cannot be used. Every case is found before memory for its content is allocated.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be opened or read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a GGUF file, or it is damaged or hostile.
    #[error("not a usable GGUF file: {0}")]
    Gguf(#[from] crate::gguf::GgufError),
    /// The architecture is none that this program can run.
    #[error(
        "models of the architecture {0:?} are not supported; supported are llama, qwen2, qwen3, gemma3, phi3 and bert"
    )]
    Architecture(String),
    /// A feature within a supported architecture that this program does not implement.
    #[error("this model needs {0}, which is not supported")]
    Unsupported(String),
    /// A tensor or a metadata value that the architecture requires is missing.
    #[error("the file lacks {0}")]
    Missing(String),
    /// A tensor's shape or a metadata value contradicts the rest.
    #[error("{what} is {found}, expected {expected}")]
    Mismatch {
        /// Which value.
        what: String,
        /// What the file says.
        found: String,
        /// What it must say.
        expected: String,
    },
    /// The tokenizer in the file cannot be built.
    #[error("the tokenizer in the file cannot be used: {0}")]
    Tokenizer(String),
    /// The chat template in the file cannot be compiled or run.
    #[error("the chat template in the file cannot be used: {0}")]
    Template(String),
    /// Not enough memory.
    #[error("{} MiB of memory are needed and {} MiB are free", .needed / MIB, .free / MIB)]
    NotEnoughMemory {
        /// Estimated need, bytes.
        needed: u64,
        /// What the limit leaves free, bytes.
        free: u64,
    },
    /// The tensor library failed.
    #[error("the model cannot be computed: {0}")]
    Compute(#[from] candle_core::Error),
    /// The kernels refused a tensor or a call.
    #[error("the model cannot be computed: {0}")]
    Kernel(#[from] cairn_kernels::KernelError),
}

impl ModelError {
    /// This error as it is told to whoever asked for the model.
    pub fn for_model(&self, model: &str) -> InferenceError {
        match self {
            Self::NotEnoughMemory { needed, free } => {
                InferenceError::NotEnoughMemory { model: model.to_owned(), needed: *needed, free: *free }
            }
            other => InferenceError::Refused { model: model.to_owned(), reason: other.to_string() },
        }
    }
}
