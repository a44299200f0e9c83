//! Quantized language models on the CPU: reads GGUF files, tokenizes, renders chat templates, decodes, samples, queues
//! and embeds; and the channel between the process that does so and the hub.
//!
//! `library`, `web`, `uplink` and `cairn` depend on this crate; it knows nothing of the hub. It stands on `kernels`
//! (arithmetic) and `process` (the channel).

#![forbid(unsafe_code)]

pub mod bench;
mod bert;
mod client;
pub mod compare;
mod engine;
mod error;
pub mod gguf;
mod inspect;
mod loaded;
mod model;
pub mod probe;
pub mod protocol;
mod sample;
mod serve;
pub mod stock;
pub mod synthetic;
mod template;
mod token;
mod types;

pub use client::InferenceClient;
pub use error::{InferenceError, ModelError};
pub use inspect::inspect;
pub use serve::{ServeConfig, serve};
pub use types::{
    ChatMessage, ChatRole, EMBEDDING_DIMENSIONS, Embed, EmbedRole, Family, Finish, Generate, GenerateEvent,
    GenerateRequest, ModelInfo, ModelState,
};
