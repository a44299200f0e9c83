//! The families' models of `candle-transformers`: the reference that our own loop is compared with and measured against.
//!
//! They are not what answers people: they keep several copies of the weights, hold one conversation each, and differ from
//! the original models in places (Llama 3's frequency factors, Gemma's activation and window).

use std::{fs::File, io::BufReader, path::Path};

use candle_core::{Device, Tensor, quantized::gguf_file::Content};
use candle_transformers::models::{
    quantized_gemma3, quantized_llama, quantized_phi3, quantized_qwen2, quantized_qwen3,
};

use crate::{error::ModelError, inspect, model::Source, types::Family};

enum Weights {
    Llama(quantized_llama::ModelWeights),
    Qwen2(quantized_qwen2::ModelWeights),
    Qwen3(quantized_qwen3::ModelWeights),
    Gemma3(quantized_gemma3::ModelWeights),
    Phi3(quantized_phi3::ModelWeights),
}

/// A model of `candle-transformers` with its one conversation.
pub struct Stock {
    weights: Weights,
    position: usize,
    /// Whether the file stretches its rotations by frequency factors.
    stretched: bool,
}

impl Stock {
    /// Loads a model.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        // The bounded reader goes first, as everywhere.
        let source = Source::open(path)?;
        let family = inspect::describe(path, &source.header)?.family;
        let file = File::open(path).map_err(|source| ModelError::Io { path: path.to_owned(), source })?;
        let mut reader = BufReader::new(file);
        let content = Content::read(&mut reader)?;
        let device = Device::Cpu;
        let weights = match family {
            Some(Family::Llama) => {
                Weights::Llama(quantized_llama::ModelWeights::from_gguf(content, &mut reader, &device)?)
            }
            Some(Family::Qwen2) => {
                Weights::Qwen2(quantized_qwen2::ModelWeights::from_gguf(content, &mut reader, &device)?)
            }
            Some(Family::Qwen3) => {
                Weights::Qwen3(quantized_qwen3::ModelWeights::from_gguf(content, &mut reader, &device)?)
            }
            Some(Family::Gemma3) => {
                Weights::Gemma3(quantized_gemma3::ModelWeights::from_gguf(content, &mut reader, &device)?)
            }
            Some(Family::Phi3) => {
                Weights::Phi3(quantized_phi3::ModelWeights::from_gguf(false, content, &mut reader, &device)?)
            }
            Some(Family::Bert) | None => return Err(ModelError::Unsupported("generating text".into())),
        };
        let stretched = source.header.tensors.contains_key("rope_freqs.weight");
        Ok(Self { weights, position: 0, stretched })
    }

    /// Where this model computes something else than the original, in words.
    pub(crate) fn known_difference(&self) -> Option<&'static str> {
        match self.weights {
            Weights::Llama(_) if self.stretched => Some("it leaves out the frequency factors of Llama 3"),
            Weights::Gemma3(_) => Some("its activation and window are not those of Gemma 3"),
            _ => None,
        }
    }

    /// Begins the conversation anew.
    pub fn restart(&mut self) {
        if let Weights::Qwen3(weights) = &mut self.weights {
            weights.clear_kv_cache();
        }
        self.position = 0;
    }

    /// Reads tokens; gives the logits after the last.
    ///
    /// # Errors
    /// [`ModelError::Compute`].
    pub fn read(&mut self, tokens: &[u32]) -> Result<Vec<f32>, ModelError> {
        let x = Tensor::from_slice(tokens, (1, tokens.len()), &Device::Cpu)?;
        let logits = match &mut self.weights {
            Weights::Llama(weights) => weights.forward(&x, self.position),
            Weights::Qwen2(weights) => weights.forward(&x, self.position),
            Weights::Qwen3(weights) => weights.forward(&x, self.position),
            Weights::Gemma3(weights) => weights.forward(&x, self.position),
            Weights::Phi3(weights) => weights.forward(&x, self.position),
        }?;
        self.position += tokens.len();
        Ok(logits.flatten_all()?.to_vec1()?)
    }
}

/// How far two sets of logits are apart at most, in standard deviations of the second; infinite where one has a value that
/// is none, or their numbers differ.
pub fn apart(ours: &[f32], theirs: &[f32]) -> f32 {
    let count = theirs.len() as f32;
    let mean = theirs.iter().sum::<f32>() / count;
    let deviation = (theirs.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / count).sqrt();
    let worst = ours.iter().zip(theirs).map(|(ours, theirs)| (ours - theirs).abs()).fold(0.0, f32::max);
    let whole = ours.len() == theirs.len() && ours.iter().chain(theirs).all(|value| value.is_finite());
    if whole && deviation > 0.0 { worst / deviation } else { f32::INFINITY }
}
