//! The embedding model: a BERT encoder (all-MiniLM-L6-v2), mean pooling, length 1.

use std::sync::Arc;

use cairn_kernels::{
    AttentionOptions, AttentionScratch, Compute, KvCache, KvFormat, KvShape, Mask, Sequence, Write,
};

use crate::{
    error::ModelError,
    model::{Linear, Operand, Source, Target, Weights},
    token::WordPiece,
    types::EMBEDDING_DIMENSIONS,
};

/// Tokens of a text that count; the model was trained for no more.
const MAX_TOKENS: usize = 256;
/// Tokens that are computed together, padding-free: texts are packed one after the other.
const BATCH_TOKENS: usize = 1024;
const EPSILON: f32 = 1e-12;
const MAX_LAYERS: i64 = 48;
const MAX_HEADS: i64 = 64;

struct LayerNorm {
    scales: Vec<f32>,
    shifts: Vec<f32>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    output_norm: LayerNorm,
    up: Linear,
    down: Linear,
    down_norm: LayerNorm,
}

/// The encoder in memory.
pub(crate) struct Bert {
    tokenizer: WordPiece,
    compute: Arc<Compute>,
    words: Weights,
    positions: Weights,
    /// Every text is of the first of the two kinds.
    kind: Vec<f32>,
    norm: LayerNorm,
    layers: Vec<Layer>,
    heads: usize,
    max_tokens: usize,
}

/// Activations, kept between batches.
#[derive(Default)]
struct Scratch {
    operand: Operand,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attended: Vec<f32>,
    wide: Vec<f32>,
    attention: AttentionScratch,
}

impl Bert {
    pub(crate) fn load(source: &Source, compute: Arc<Compute>) -> Result<Self, ModelError> {
        let kernels = &*compute;
        let header = &source.header;
        let number = |key: &str, limit: i64| {
            let key = format!("bert.{key}");
            match header.int(&key) {
                Some(value) if (1..=limit).contains(&value) => Ok(usize::try_from(value).unwrap_or(0)),
                Some(value) => Err(ModelError::Mismatch {
                    what: key,
                    found: value.to_string(),
                    expected: format!("between 1 and {limit}"),
                }),
                None => Err(ModelError::Missing(key)),
            }
        };
        let width = number("embedding_length", EMBEDDING_DIMENSIONS as i64)?;
        let heads = number("attention.head_count", MAX_HEADS)?;
        if width != EMBEDDING_DIMENSIONS
            || width % heads != 0
            || !(width / heads).is_multiple_of(cairn_kernels::TILE_ROWS)
        {
            return Err(ModelError::Unsupported(format!("embeddings of {width} numbers from {heads} heads")));
        }
        let ffn = number("feed_forward_length", 1 << 16)?;
        let context = number("context_length", 1 << 16)?;
        let words = header.tensors.get("token_embd.weight").map_or(0, crate::gguf::TensorInfo::rows);
        let norm = |name: &str| -> Result<LayerNorm, ModelError> {
            Ok(LayerNorm {
                scales: source.vector(&format!("{name}.weight"), width)?,
                shifts: source.vector(&format!("{name}.bias"), width)?,
            })
        };
        let layers = (0..number("block_count", MAX_LAYERS)?)
            .map(|index| {
                let name = |part: &str| format!("blk.{index}.{part}");
                Ok(Layer {
                    query: source.linear(kernels, &name("attn_q"), width, width)?,
                    key: source.linear(kernels, &name("attn_k"), width, width)?,
                    value: source.linear(kernels, &name("attn_v"), width, width)?,
                    output: source.linear(kernels, &name("attn_output"), width, width)?,
                    output_norm: norm(&name("attn_output_norm"))?,
                    up: source.linear(kernels, &name("ffn_up"), ffn, width)?,
                    down: source.linear(kernels, &name("ffn_down"), width, ffn)?,
                    down_norm: norm(&name("layer_output_norm"))?,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        let kinds = source.matrix(kernels, "token_types.weight", 2, width)?;
        let mut kind = vec![0.0; width];
        kinds.lookup(kernels, &[0], &mut kind)?;
        Ok(Self {
            tokenizer: WordPiece::from_gguf(header)?,
            words: source.matrix(kernels, "token_embd.weight", words, width)?,
            positions: source.matrix(kernels, "position_embd.weight", context, width)?,
            kind,
            norm: norm("token_embd_norm")?,
            layers,
            heads,
            max_tokens: context.min(MAX_TOKENS),
            compute,
        })
    }

    /// Vectors of length 1, one per text, in order.
    pub(crate) fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, ModelError> {
        let tokens = texts
            .iter()
            .map(|text| self.tokenizer.encode(text, self.max_tokens))
            .collect::<Result<Vec<_>, _>>()?;
        let mut vectors = Vec::with_capacity(texts.len());
        let mut scratch = Scratch::default();
        let mut batch: Vec<&[u32]> = Vec::new();
        let mut size = 0;
        for text in &tokens {
            if size + text.len() > BATCH_TOKENS && !batch.is_empty() {
                vectors.extend(self.batch(&batch, &mut scratch)?);
                batch.clear();
                size = 0;
            }
            size += text.len();
            batch.push(text);
        }
        if !batch.is_empty() {
            vectors.extend(self.batch(&batch, &mut scratch)?);
        }
        Ok(vectors)
    }

    fn batch(&self, texts: &[&[u32]], s: &mut Scratch) -> Result<Vec<Vec<f32>>, ModelError> {
        let width = EMBEDDING_DIMENSIONS;
        let tokens: Vec<u32> = texts.concat();
        let count = tokens.len();
        let positions: Vec<u32> = texts.iter().flat_map(|text| (0_u32..).take(text.len())).collect();
        let mut hidden = vec![0.0; count * width];
        let mut placed = vec![0.0; count * width];
        let compute = &*self.compute;
        self.words.lookup(compute, &tokens, &mut hidden)?;
        self.positions.lookup(compute, &positions, &mut placed)?;
        for (row, place) in hidden.chunks_exact_mut(width).zip(placed.chunks_exact(width)) {
            for ((value, place), kind) in row.iter_mut().zip(place).zip(&self.kind) {
                *value += place + kind;
            }
        }
        let mut caches = self.caches(texts)?;
        self.norm.apply(compute, &mut hidden, &mut placed)?;
        for values in [&mut s.query, &mut s.key, &mut s.value, &mut s.attended] {
            values.resize(count * width, 0.0);
        }
        for layer in &self.layers {
            let users = [&layer.query.weights, &layer.key.weights, &layer.value.weights];
            s.operand.take(compute, &hidden, count, &users)?;
            let targets = vec![
                Target::new(&layer.query, &mut s.query),
                Target::new(&layer.key, &mut s.key),
                Target::new(&layer.value, &mut s.value),
            ];
            s.operand.multiply(compute, Write::Store, targets)?;
            self.attend(texts, &mut caches, s)?;
            s.operand.take(compute, &s.attended, count, &[&layer.output.weights])?;
            s.operand.multiply(compute, Write::Add, vec![Target::new(&layer.output, &mut hidden)])?;
            layer.output_norm.apply(compute, &mut hidden, &mut placed)?;
            s.operand.take(compute, &hidden, count, &[&layer.up.weights])?;
            s.wide.resize(count * layer.up.rows(), 0.0);
            s.operand.multiply(compute, Write::Store, vec![Target::new(&layer.up, &mut s.wide)])?;
            compute.gelu(&mut s.wide, layer.up.rows())?;
            s.operand.take(compute, &s.wide, count, &[&layer.down.weights])?;
            s.operand.multiply(compute, Write::Add, vec![Target::new(&layer.down, &mut hidden)])?;
            layer.down_norm.apply(compute, &mut hidden, &mut placed)?;
        }
        let mut rest = hidden.as_slice();
        Ok(texts
            .iter()
            .map(|text| {
                let (own, others) = rest.split_at((text.len() * width).min(rest.len()));
                rest = others;
                pool(own, width)
            })
            .collect())
    }

    /// Room for the keys and values of one layer of each text; every layer writes over those of the one before.
    fn caches(&self, texts: &[&[u32]]) -> Result<Vec<KvCache>, ModelError> {
        let shape = KvShape {
            layers: 1,
            kv_heads: self.heads,
            head_dim: EMBEDDING_DIMENSIONS / self.heads,
            capacity: 1,
        };
        let cache =
            |text: &&[u32]| KvCache::new(KvShape { capacity: text.len().max(1), ..shape }, KvFormat::F16);
        Ok(texts.iter().map(cache).collect::<Result<_, _>>()?)
    }

    /// Every token of a text sees every token of the same text.
    fn attend(&self, texts: &[&[u32]], caches: &mut [KvCache], s: &mut Scratch) -> Result<(), ModelError> {
        let mut start = 0;
        for (cache, text) in caches.iter_mut().zip(texts) {
            let range = start..start + text.len() * EMBEDDING_DIMENSIONS;
            start = range.end;
            if let (Some(keys), Some(values)) = (s.key.get(range.clone()), s.value.get(range)) {
                cache.write(&self.compute, 0, keys, values, text.len())?;
            }
        }
        let sequences: Vec<Sequence<'_>> = caches
            .iter()
            .zip(texts)
            .map(|(cache, text)| Sequence { cache, start: 0, count: text.len() })
            .collect();
        let options = AttentionOptions {
            heads: self.heads,
            scale: 1.0 / ((EMBEDDING_DIMENSIONS / self.heads) as f32).sqrt(),
            mask: Mask::Full,
            window: None,
            soft_cap: None,
        };
        Ok(self.compute.attention(0, &sequences, &options, &s.query, &mut s.attended, &mut s.attention)?)
    }
}

impl LayerNorm {
    /// In place; `spare` is as long as `rows`.
    fn apply(&self, compute: &Compute, rows: &mut Vec<f32>, spare: &mut Vec<f32>) -> Result<(), ModelError> {
        compute.layer_norm(rows, &self.scales, &self.shifts, EPSILON, spare)?;
        std::mem::swap(rows, spare);
        Ok(())
    }
}

fn add(hidden: &mut [f32], block: &[f32]) {
    hidden.iter_mut().zip(block).for_each(|(hidden, block)| *hidden += block);
}

/// The mean of all rows, scaled to length 1.
fn pool(rows: &[f32], width: usize) -> Vec<f32> {
    let mut mean = vec![0.0_f32; width];
    rows.chunks_exact(width).for_each(|row| add(&mut mean, row));
    let length = mean.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    mean.iter_mut().for_each(|value| *value /= length);
    mean
}
