//! One model without queue and channel, for programs that measure it or compare it with other engines.

use std::{path::Path, sync::Arc};

use cairn_kernels::{Compute, PoolOptions};

use crate::{
    bert::Bert,
    error::ModelError,
    loaded::Loaded,
    model::{Cache, Config, Scratch, Segment, Source, Want},
    sample,
    types::ChatMessage,
};

/// Prompt tokens that are read at once.
const SLICE: usize = 512;

/// A generating model.
pub struct Probe {
    loaded: Loaded,
    context: usize,
    scratch: Scratch,
}

/// A conversation with it.
pub struct Session {
    cache: Cache,
}

impl Probe {
    /// Loads a model for conversations of at most `context` tokens.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(path: &Path, context: usize) -> Result<Self, ModelError> {
        let compute = Arc::new(Compute::new(PoolOptions::default())?);
        let loaded = Loaded::load(path, context, compute, Arc::default())?;
        let context = context.min(loaded.model.config.context);
        Ok(Self { loaded, context, scratch: Scratch::default() })
    }

    /// Number of tokens in the vocabulary of a file that is not loaded.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn vocabulary_of(path: &Path) -> Result<usize, ModelError> {
        Ok(Config::from_gguf(&Source::open(path)?.header)?.vocabulary)
    }

    /// Number of tokens in the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.loaded.model.config.vocabulary
    }

    /// The conversation as the model reads it.
    ///
    /// # Errors
    /// [`ModelError::Template`].
    pub fn render(&self, messages: &[ChatMessage]) -> Result<String, ModelError> {
        self.loaded.template.render(messages)
    }

    /// Tokens of a text; `special` recognizes control tokens, `begin` adds the one that begins a text.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`].
    pub fn tokenize(&self, text: &str, special: bool, begin: bool) -> Result<Vec<u32>, ModelError> {
        self.loaded.tokenizer.encode(text, special, begin)
    }

    /// Text of tokens.
    pub fn detokenize(&self, tokens: &[u32]) -> String {
        let mut bytes = Vec::new();
        tokens.iter().for_each(|token| self.loaded.tokenizer.bytes(*token, &mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// An empty conversation.
    ///
    /// # Errors
    /// [`ModelError::Kernel`] when there is no memory for it.
    pub fn session(&self) -> Result<Session, ModelError> {
        Ok(Session { cache: Cache::new(&self.loaded.model.config, self.context)? })
    }

    /// Reads tokens; gives the logits after the last.
    ///
    /// # Errors
    /// [`ModelError::Compute`] when they do not fit or are none of the model's.
    pub fn read(&mut self, session: &mut Session, tokens: &[u32]) -> Result<&[f32], ModelError> {
        let room = session.cache.room();
        if tokens.len() > room {
            let why = format!("{} tokens do not fit where {room} do", tokens.len());
            return Err(ModelError::Compute(candle_core::Error::Msg(why)));
        }
        let slices = tokens.len().div_ceil(SLICE);
        for (index, tokens) in tokens.chunks(SLICE).enumerate() {
            let want = if index + 1 == slices { Want::Last } else { Want::Nothing };
            let segment = Segment { cache: &mut session.cache, tokens, want };
            self.loaded.model.forward(&mut [segment], &mut self.scratch)?;
        }
        Ok(&self.scratch.logits)
    }

    /// Reads tokens; gives the logits after each, one after the other.
    ///
    /// # Errors
    /// As for [`Probe::read`].
    pub fn read_all(&mut self, session: &mut Session, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        let segment = Segment { cache: &mut session.cache, tokens, want: Want::All };
        self.loaded.model.forward(&mut [segment], &mut self.scratch)?;
        Ok(self.scratch.logits.clone())
    }

    /// Reads one token of each conversation in one step; gives the logits of each, one after the other.
    ///
    /// # Errors
    /// As for [`Probe::read`].
    pub fn step(&mut self, sessions: &mut [Session], tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        let mut batch: Vec<Segment<'_>> = sessions
            .iter_mut()
            .zip(tokens.chunks(1))
            .map(|(session, tokens)| Segment { cache: &mut session.cache, tokens, want: Want::Last })
            .collect();
        self.loaded.model.forward(&mut batch, &mut self.scratch)?;
        Ok(self.scratch.logits.clone())
    }

    /// The likeliest next tokens after `prompt`, `count` of them, whatever they are.
    ///
    /// # Errors
    /// As for [`Probe::read`].
    pub fn greedy(&mut self, prompt: &[u32], count: usize) -> Result<Vec<u32>, ModelError> {
        let mut session = self.session()?;
        let mut next = sample::greatest(self.read(&mut session, prompt)?);
        let mut tokens = Vec::with_capacity(count);
        while let Some(token) = next {
            tokens.push(token);
            if tokens.len() == count {
                break;
            }
            next = sample::greatest(self.read(&mut session, &[token])?);
        }
        Ok(tokens)
    }
}

impl Session {
    /// Tokens read so far.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all but the first tokens.
    pub fn truncate(&mut self, length: usize) {
        self.cache.truncate(length);
    }
}

/// The embedding model.
pub struct Embedder(Bert);

impl Embedder {
    /// Loads it.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let compute = Arc::new(Compute::new(PoolOptions::default())?);
        Ok(Self(Bert::load(&Source::open(path)?, compute)?))
    }

    /// Vectors of length 1, one per text.
    ///
    /// # Errors
    /// [`ModelError::Compute`].
    pub fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.0.embed(texts)
    }
}
