//! A model with everything that it needs to answer: weights, tokenizer, chat template.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    error::ModelError,
    inspect,
    model::{self, Model, Source},
    template::ChatTemplate,
    token::Tokenizer,
    types::Family,
};

/// A model that can answer.
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) template: ChatTemplate,
}

impl Loaded {
    /// Reads everything from the file. Runs on a thread of its own; `progress` counts the bytes.
    pub(crate) fn load(path: &Path, context: usize, progress: Arc<AtomicU64>) -> Result<Self, ModelError> {
        let source = Source::open(path)?.counting(progress);
        let header = &source.header;
        let family = inspect::describe(path, header)?.family.unwrap_or(Family::Llama);
        let tokenizer = Tokenizer::from_gguf(header)?;
        let template = ChatTemplate::from_gguf(header, family, &tokenizer)?;
        let model = model::load(&source, context)?;
        if tokenizer.vocabulary.len() > model.config.vocabulary {
            return Err(ModelError::Mismatch {
                what: "the number of tokens".into(),
                found: tokenizer.vocabulary.len().to_string(),
                expected: format!("at most {}, as many as the model has", model.config.vocabulary),
            });
        }
        Ok(Self { name: inspect::name_of(path), model, tokenizer, template })
    }
}
