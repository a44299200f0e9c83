//! A model with everything that it needs to answer: weights, tokenizer, chat template.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};

use cairn_kernels::Compute;

use crate::{
    error::ModelError,
    inspect::{self, Stamp},
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
    /// Tells this file and the layout of caches made with it from all others.
    pub(crate) fingerprint: [u8; 32],
}

impl Loaded {
    /// Reads everything from the file. Runs on a thread of its own; `progress` counts the bytes.
    pub(crate) fn load(
        path: &Path,
        context: usize,
        compute: Arc<Compute>,
        progress: Arc<AtomicU64>,
    ) -> Result<Self, ModelError> {
        let mut source = Source::open(path)?.counting(progress);
        let header = &source.header;
        let family = inspect::describe(path, header)?.family.unwrap_or(Family::Llama);
        let tokenizer = Tokenizer::from_gguf(header)?;
        let template = ChatTemplate::from_gguf(header, family, &tokenizer)?;
        // What is not needed any more makes room for the weights.
        source.header.metadata.retain(|key, _| !key.starts_with("tokenizer."));
        let model = model::load(&source, context, compute)?;
        if tokenizer.vocabulary.len() > model.config.vocabulary {
            return Err(ModelError::Mismatch {
                what: "the number of tokens".into(),
                found: tokenizer.vocabulary.len().to_string(),
                expected: format!("at most {}, as many as the model has", model.config.vocabulary),
            });
        }
        Ok(Self {
            name: inspect::name_of(path),
            fingerprint: fingerprint(path, source.header.file_bytes, &model),
            model,
            tokenizer,
            template,
        })
    }
}

fn fingerprint(path: &Path, bytes: u64, model: &Model) -> [u8; 32] {
    let stamp = path.metadata().ok().as_ref().and_then(Stamp::of);
    let text = format!(
        "{} {:?} {bytes} {stamp:?} {:?} {}",
        env!("CARGO_PKG_VERSION"),
        path.file_name(),
        model.config,
        cairn_kernels::LAYOUT_VERSION
    );
    *blake3::hash(text.as_bytes()).as_bytes()
}
