//! One answer on its way: what it has read, what it has written, when it ends; and the caches of finished ones.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    error::InferenceError,
    loaded::Loaded,
    model::{Cache, Segment, Want},
    protocol::Statistics,
    sample::{Sampler, Sampling},
    token::Detokenizer,
    types::{ChatMessage, ChatRole, Finish, GenerateEvent, GenerateRequest},
};

/// Room for an answer that a prompt must leave, tokens (less when less is asked for).
const LEAST_ANSWER: usize = 64;
/// Memory for the caches of finished answers.
const MAX_KEPT_BYTES: u64 = 128 << 20;
const MAX_KEPT: usize = 8;
/// A shared beginning shorter than this is not worth taking a kept cache for, tokens.
const LEAST_REUSE: usize = 16;

/// An answer that is being read for or written.
pub(super) struct Answering {
    pub(super) id: u64,
    pub(super) asker: u64,
    pub(super) loaded: Arc<Loaded>,
    /// Prompt tokens that a kept cache had already.
    pub(super) reused: usize,
    cache: Cache,
    prompt: Vec<u32>,
    /// The token written last; it is not in the cache yet.
    last: Vec<u32>,
    written: u32,
    most: u32,
    sampler: Sampler,
    text: Detokenizer,
    prefill: Duration,
    decode: Duration,
    started: Instant,
    first_token: Option<Duration>,
}

/// What a step of an answer brought.
pub(super) enum Step {
    /// Nothing to show yet.
    Silent,
    /// More text.
    Text(String),
    /// The end: last text and the closing event.
    Done(String, GenerateEvent),
    /// It cannot go on.
    Failed(InferenceError),
}

impl Answering {
    /// Renders and tokenizes the conversation and finds a cache for it.
    pub(super) fn start(
        id: u64,
        asker: u64,
        request: &GenerateRequest,
        loaded: Arc<Loaded>,
        context: usize,
        kept: &mut Kept,
    ) -> Result<Self, InferenceError> {
        let refused = |error: crate::ModelError| error.for_model(&loaded.name);
        let messages: Vec<ChatMessage> = request
            .messages
            .iter()
            .map(|message| match message.role {
                ChatRole::System => message.clone(),
                role => ChatMessage::new(role, loaded.tokenizer.defuse(&message.content)),
            })
            .collect();
        let text = loaded.template.render(&messages).map_err(refused)?;
        let prompt = loaded.tokenizer.encode(&text, true, true).map_err(refused)?;
        let context = context.min(loaded.model.config.context);
        let limit = context.saturating_sub(LEAST_ANSWER.min(request.max_tokens as usize));
        if prompt.is_empty() || prompt.len() > limit {
            let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
            return Err(InferenceError::TooLong { tokens: count(prompt.len()), limit: count(limit) });
        }
        let room = context - prompt.len();
        let most = request.max_tokens.min(u32::try_from(room).unwrap_or(u32::MAX));
        let capacity = prompt.len() + most as usize;
        let (cache, reused) = kept.take(&loaded, &prompt, capacity);
        Ok(Self {
            id,
            asker,
            reused,
            cache,
            prompt,
            last: Vec::with_capacity(1),
            written: 0,
            most,
            sampler: Sampler::new(Sampling::new(request.temperature, request.seed)),
            text: Detokenizer::new(&request.stop),
            prefill: Duration::ZERO,
            decode: Duration::ZERO,
            started: Instant::now(),
            first_token: None,
            loaded,
        })
    }

    pub(super) fn prompt_tokens(&self) -> u32 {
        u32::try_from(self.prompt.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_reading(&self) -> bool {
        self.cache.len() < self.prompt.len()
    }

    /// What the model is to read next.
    pub(super) fn segment(&mut self, slice: usize) -> Segment<'_> {
        let at = self.cache.len();
        let (tokens, want) = if at < self.prompt.len() {
            let end = self.prompt.len().min(at + slice);
            let want = if end == self.prompt.len() { Want::Last } else { Want::Nothing };
            (self.prompt.get(at..end).unwrap_or_default(), want)
        } else {
            (self.last.as_slice(), Want::Last)
        };
        Segment { cache: &mut self.cache, tokens, want }
    }

    /// Takes the logits after what was read.
    pub(super) fn advance(&mut self, logits: Option<&[f32]>, elapsed: Duration) -> Step {
        if self.written == 0 {
            self.prefill += elapsed;
        } else {
            self.decode += elapsed;
        }
        let Some(logits) = logits else { return Step::Silent };
        let mut logits = logits.to_vec();
        let Some(token) = self.sampler.sample(&mut logits, self.cache.tokens()) else {
            return Step::Failed(InferenceError::Failed("its result is not a number".into()));
        };
        self.first_token.get_or_insert(self.started.elapsed());
        if self.loaded.tokenizer.is_end(token) {
            return self.end(String::new(), Finish::Stop);
        }
        self.written += 1;
        self.last.clear();
        self.last.push(token);
        let text = self.text.push(&self.loaded.tokenizer, token);
        if self.text.stopped() {
            return self.end(text, Finish::Stop);
        }
        if self.written >= self.most {
            return self.end(text, Finish::Length);
        }
        if text.is_empty() { Step::Silent } else { Step::Text(text) }
    }

    fn end(&mut self, mut text: String, finish: Finish) -> Step {
        text.push_str(&self.text.finish());
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let done = GenerateEvent::Done {
            tokens: self.written,
            finish,
            prefill_ms: millis(self.prefill),
            decode_ms: millis(self.decode),
        };
        Step::Done(text, done)
    }

    pub(super) fn count(&self, statistics: &mut Statistics) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        statistics.completed += 1;
        statistics.prompt_tokens += (self.prompt.len() - self.reused) as u64;
        statistics.generated_tokens += u64::from(self.written);
        statistics.prefill_ms += millis(self.prefill);
        statistics.decode_ms += millis(self.decode);
        if let Some(first) = self.first_token {
            statistics.first_token_ms += millis(first);
            statistics.first_tokens += 1;
        }
    }
}

/// Caches of finished answers, newest last: a conversation that begins like one of them does not read that again.
#[derive(Default)]
pub(super) struct Kept {
    caches: Vec<(Arc<Loaded>, Cache)>,
}

impl Kept {
    /// The cache with the longest shared beginning, cut to it, or a new one; and how many tokens it has.
    fn take(&mut self, loaded: &Arc<Loaded>, prompt: &[u32], capacity: usize) -> (Cache, usize) {
        let shared = |cache: &Cache| cache.tokens().iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let best = self
            .caches
            .iter()
            .enumerate()
            .filter(|(_, (model, _))| Arc::ptr_eq(model, loaded))
            .map(|(index, (_, cache))| (shared(cache), index))
            .max();
        if let Some((length, index)) = best {
            // The last token is always read: its logits are needed.
            let length = length.min(prompt.len() - 1);
            if length >= LEAST_REUSE {
                let (_, mut cache) = self.caches.remove(index);
                cache.truncate(length);
                cache.extend_capacity(capacity);
                return (cache, length);
            }
        }
        (Cache::new(&loaded.model.config, capacity), 0)
    }

    /// Keeps what an answer has read and written, within the limits.
    pub(super) fn keep(&mut self, answer: Answering) {
        self.caches.push((answer.loaded, answer.cache));
        let total =
            |caches: &[(Arc<Loaded>, Cache)]| caches.iter().map(|(_, cache)| cache.bytes()).sum::<u64>();
        while self.caches.len() > MAX_KEPT || total(&self.caches) > MAX_KEPT_BYTES {
            self.caches.remove(0);
        }
    }

    /// Drops those of a model.
    pub(super) fn forget(&mut self, name: &str) {
        self.caches.retain(|(model, _)| model.name != name);
    }

    pub(super) fn clear(&mut self) {
        self.caches.clear();
    }
}
