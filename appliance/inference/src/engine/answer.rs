//! One answer on its way: what it has read, what it has written, when it ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{draft::Drafter, kept::Kept};
use crate::{
    error::{InferenceError, ModelError},
    loaded::Loaded,
    model::{Cache, Segment, Want},
    protocol::Statistics,
    sample::{Sampler, Sampling},
    token::Detokenizer,
    types::{ChatMessage, ChatRole, Finish, GenerateEvent, GenerateRequest},
};

/// Room for an answer that a prompt must leave, tokens (less when less is asked for).
const LEAST_ANSWER: usize = 64;

/// An answer that is being read for or written.
pub(super) struct Answering {
    pub(super) id: u64,
    pub(super) asker: u64,
    pub(super) loaded: Arc<Loaded>,
    /// Prompt tokens that a kept cache had already.
    pub(super) reused: usize,
    cache: Cache,
    prompt: Vec<u32>,
    /// Tokens at its beginning that are instructions: nothing of them was written or asked by people here.
    instructions: usize,
    /// The token written last, which is not in the cache yet, and a draft of what follows it.
    pending: Vec<u32>,
    drafter: Drafter,
    /// Tokens that were drafted, and those of them that were kept.
    drafted: u64,
    accepted: u64,
    pub(super) written: u32,
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

/// How many tokens the prompt shares with one that has the same instructions and another question.
fn instructions(messages: &[ChatMessage], loaded: &Loaded, prompt: &[u32]) -> usize {
    let system = messages.iter().filter(|message| message.role == ChatRole::System).cloned();
    let another: Vec<ChatMessage> = system.chain([ChatMessage::new(ChatRole::User, "?")]).collect();
    let rendered =
        loaded.template.render(&another).and_then(|text| loaded.tokenizer.encode(&text, true, true));
    rendered.map_or(0, |another| another.iter().zip(prompt).take_while(|(a, b)| a == b).count())
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
        let refused = |error: ModelError| error.for_model(&loaded.name);
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
        let instructions = instructions(&messages, &loaded, &prompt);
        let (cache, reused) = kept.take(&loaded, &prompt, capacity).map_err(refused)?;
        Ok(Self {
            id,
            asker,
            reused,
            cache,
            prompt,
            instructions,
            pending: Vec::new(),
            drafter: Drafter::default(),
            drafted: 0,
            accepted: 0,
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

    /// What the model is to read next: a slice of the prompt, or the last token with a draft if `draft` allows one.
    pub(super) fn segment(&mut self, slice: usize, draft: bool) -> Segment<'_> {
        let at = self.cache.len();
        if at < self.prompt.len() {
            let end = self.prompt.len().min(at + slice);
            let want = if end == self.prompt.len() { Want::Last } else { Want::Nothing };
            let tokens = self.prompt.get(at..end).unwrap_or_default();
            return Segment { cache: &mut self.cache, tokens, want };
        }
        if draft && let Some(last) = self.pending.last() {
            // The answer ends with its last allowed token, so nothing is drafted that could not be written.
            let most = (self.most - self.written).saturating_sub(1) as usize;
            let mut tokens = self.cache.tokens().to_vec();
            tokens.push(*last);
            let draft = self.drafter.draft(&tokens, most.min(self.cache.room().saturating_sub(1)));
            self.pending.extend_from_slice(draft);
        }
        Segment { cache: &mut self.cache, tokens: &self.pending, want: Want::All }
    }

    /// Takes the logits after what was read: none within the prompt, one row after its end, one for each pending token.
    pub(super) fn advance(&mut self, logits: &[f32], elapsed: Duration) -> Step {
        if self.written == 0 {
            self.prefill += elapsed;
        } else {
            self.decode += elapsed;
        }
        let draft = std::mem::take(&mut self.pending);
        let draft = draft.get(1..).unwrap_or_default();
        let before = self.cache.len() - draft.len();
        let mut text = String::new();
        for (index, row) in logits.chunks_exact(self.loaded.model.config.vocabulary).enumerate() {
            let mut row = row.to_vec();
            let recent = self.cache.tokens().get(..before + index).unwrap_or_default();
            let Some(token) = self.sampler.sample(&mut row, recent) else {
                return Step::Failed(InferenceError::Failed("its result is not a number".into()));
            };
            self.first_token.get_or_insert(self.started.elapsed());
            let kept = draft.get(index) == Some(&token);
            let finish = self.write(token, &mut text);
            if let Some(finish) = finish {
                self.judge(draft.len(), index + usize::from(kept));
                self.cache.truncate(before + index);
                return self.end(text, finish);
            }
            if !kept {
                self.judge(draft.len(), index);
                self.cache.truncate(before + index);
                self.pending.push(token);
                break;
            }
        }
        if text.is_empty() { Step::Silent } else { Step::Text(text) }
    }

    /// Writes one token; says whether and why the answer ends with it.
    fn write(&mut self, token: u32, text: &mut String) -> Option<Finish> {
        if self.loaded.tokenizer.is_end(token) {
            return Some(Finish::Stop);
        }
        self.written += 1;
        text.push_str(&self.text.push(&self.loaded.tokenizer, token));
        if self.text.stopped() {
            return Some(Finish::Stop);
        }
        (self.written >= self.most).then_some(Finish::Length)
    }

    fn judge(&mut self, drafted: usize, accepted: usize) {
        if drafted > 0 {
            self.drafter.learn(accepted);
            self.drafted += drafted as u64;
            self.accepted += accepted as u64;
        }
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

    /// Leaves what it has read and written to others that begin alike.
    pub(super) fn leave(self, kept: &mut Kept) {
        kept.keep(self.loaded, self.cache, self.instructions);
    }

    pub(super) fn count(&self, statistics: &mut Statistics) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        statistics.completed += 1;
        statistics.prompt_tokens += (self.prompt.len() - self.reused) as u64;
        statistics.generated_tokens += u64::from(self.written);
        statistics.prefill_ms += millis(self.prefill);
        statistics.decode_ms += millis(self.decode);
        statistics.drafted_tokens += self.drafted;
        statistics.accepted_tokens += self.accepted;
        if let Some(first) = self.first_token {
            statistics.first_token_ms += millis(first);
            statistics.first_tokens += 1;
        }
    }
}
