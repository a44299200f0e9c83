//! The inference role's end of the channel.

use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};

use cairn_kernels::{Compute, PoolOptions};
use cairn_process::Channel;
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    engine::{Engine, Input, Limits},
    error::InferenceError,
    protocol::{Answer, Call, Reply},
    types::GenerateEvent,
};

/// Share of the memory that is available at the start, when no limit is set: numerator and denominator.
const DEFAULT_SHARE: (u64, u64) = (3, 4);
/// The limit when the system does not say how much is available.
const FALLBACK_LIMIT: u64 = 1 << 30;
/// Shortest context that makes sense, tokens.
const LEAST_CONTEXT: u32 = 256;

/// What the inference role may use.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// Folder of the generating models.
    pub model_dir: PathBuf,
    /// The embedding model, or where it will be.
    pub embed_model: PathBuf,
    /// Threads that compute; 0 takes one per core.
    pub threads: usize,
    /// Memory that models and their caches may use together, bytes; 0 takes three quarters of what is available.
    pub memory_limit_bytes: u64,
    /// Longest conversation including the answer, tokens; models made for less have their own limit.
    pub context: u32,
    /// Whether answers are drafted from what the conversation holds; changes how fast they come, not what they say.
    pub drafts: bool,
    /// Folder for much used beginnings of conversations, so that they are known after a restart; none keeps them in memory
    /// only. It must exist and be writable.
    pub prefixes: Option<PathBuf>,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            model_dir: PathBuf::from("models"),
            embed_model: PathBuf::from("models/embed/all-minilm-l6-v2-q8_0.gguf"),
            threads: 0,
            memory_limit_bytes: 0,
            context: 4096,
            drafts: true,
            prefixes: None,
        }
    }
}

/// The way into a working engine. Dropping it ends the engine, however the serving ended.
struct Inbox(mpsc::Sender<Input>);

impl Drop for Inbox {
    fn drop(&mut self) {
        if self.0.send(Input::Stop).is_err() {
            tracing::debug!("the engine has ended by itself");
        }
    }
}

/// Starts the working thread.
fn start(
    config: ServeConfig,
    replies: UnboundedSender<Reply>,
) -> Result<(Inbox, JoinHandle<()>), InferenceError> {
    let limits = Limits {
        model_dir: config.model_dir,
        embed_model: config.embed_model,
        memory_bytes: match config.memory_limit_bytes {
            0 => default_memory(),
            limit => limit,
        },
        context: config.context.max(LEAST_CONTEXT) as usize,
        drafts: config.drafts,
        prefixes: config.prefixes,
    };
    let threads = match config.threads {
        0 => cairn_kernels::available_threads(),
        threads => threads,
    };
    let failed = |error: String| InferenceError::Failed(error);
    // What Candle still computes runs on threads of its own; they sleep unless it is asked.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("cairn-compute-{index}"))
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let compute =
        Compute::new(PoolOptions { threads, pinned: false }).map_err(|error| failed(error.to_string()))?;
    tracing::info!(kernels = compute.isa().name(), threads, "the engine starts");
    let (inputs, inbox) = mpsc::channel();
    let engine = Engine::new(limits, Arc::new(compute), inputs.clone(), replies);
    let thread = std::thread::Builder::new()
        .name("cairn-engine".into())
        .spawn(move || pool.install(move || engine.run(inbox)))
        .map_err(|error| InferenceError::Failed(error.to_string()))?;
    Ok((Inbox(inputs), thread))
}

/// Serves the hub over `stream` until it closes.
///
/// # Errors
/// When the channel or the working thread cannot be set up, or when the channel breaks.
pub async fn serve(stream: UnixStream, config: ServeConfig) -> Result<(), InferenceError> {
    let channel: Channel<Reply, Call> =
        Channel::new(stream).map_err(|error| InferenceError::Failed(error.to_string()))?;
    let (sender, receiver) = channel.split();
    let (replies, mut outbox) = tokio::sync::mpsc::unbounded_channel();
    let (inbox, _thread) = start(config, replies)?;

    let reading = async {
        while let Some(call) = receiver.recv().await? {
            if inbox.0.send(Input::Call(call)).is_err() {
                break;
            }
        }
        Ok::<_, cairn_process::ChannelError>(())
    };
    let writing = async {
        while let Some(reply) = outbox.recv().await {
            if let Err(error) = sender.send(&reply).await {
                match error {
                    // Only what is too large is lost; whoever waits for it is told.
                    cairn_process::ChannelError::TooLarge { .. } => sender.send(&too_large(&reply)).await?,
                    error => return Err(error),
                }
            }
        }
        Ok(())
    };
    let done = tokio::select! {
        read = reading => read,
        written = writing => written,
    };
    match done {
        Ok(()) | Err(cairn_process::ChannelError::Closed) => Ok(()),
        Err(error) => Err(InferenceError::Failed(error.to_string())),
    }
}

fn too_large(reply: &Reply) -> Reply {
    let error = InferenceError::Failed("the result is larger than a message may be".into());
    let answer = match reply.answer {
        Answer::Generate(_) => Answer::Generate(GenerateEvent::Failed(error)),
        _ => Answer::Failed(error),
    };
    Reply { id: reply.id, answer }
}

/// The default share of what the system says is available.
fn default_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kilobytes| kilobytes.trim().parse::<u64>().ok());
    available.map_or(FALLBACK_LIMIT, |kilobytes| kilobytes * 1024 / DEFAULT_SHARE.1 * DEFAULT_SHARE.0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_engine_ends_with_whoever_it_serves() {
        let (replies, _outbox) = tokio::sync::mpsc::unbounded_channel();
        let (inbox, thread) = start(ServeConfig { threads: 1, ..ServeConfig::default() }, replies).unwrap();
        drop(inbox);
        let deadline = Instant::now() + Duration::from_secs(20);
        while !thread.is_finished() {
            assert!(Instant::now() < deadline, "the engine goes on");
            std::thread::yield_now();
        }
        thread.join().unwrap();
    }

    #[test]
    fn without_a_limit_a_share_of_the_available_memory_is_taken() {
        assert!(default_memory() >= 64 << 20);
    }
}
