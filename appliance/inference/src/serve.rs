//! The inference role's end of the channel.

use std::{os::unix::net::UnixStream, path::PathBuf};

use crate::error::InferenceError;

/// What the inference role may use.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Folder of the generating models.
    pub model_dir: PathBuf,
    /// The embedding model, or where it will be.
    pub embed_model: PathBuf,
    /// Threads that compute; 0 takes one per physical core.
    pub threads: usize,
    /// Memory that models and their caches may use together, bytes; 0 takes three quarters of what is available.
    pub memory_limit_bytes: u64,
    /// Longest conversation including the answer, tokens; models made for less have their own limit.
    pub context: u32,
    /// How nice the computing threads are to the rest of the hub, 0..=19.
    pub nice: i32,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            model_dir: PathBuf::from("models"),
            embed_model: PathBuf::from("models/embed/all-minilm-l6-v2-q8_0.gguf"),
            threads: 0,
            memory_limit_bytes: 0,
            context: 4096,
            nice: 5,
        }
    }
}

/// Serves the hub over `stream` until it closes.
///
/// # Errors
/// When the channel cannot be set up or breaks.
pub async fn serve(stream: UnixStream, config: ServeConfig) -> Result<(), InferenceError> {
    drop((stream, config));
    Err(InferenceError::NotConnected)
}
