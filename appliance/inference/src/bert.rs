//! The embedding model: a BERT encoder (all-MiniLM-L6-v2), mean pooling, length 1.

use rayon::prelude::*;

use crate::{
    error::ModelError,
    model::{Linear, Product, Source},
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
    words: Box<dyn Product>,
    positions: Box<dyn Product>,
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
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    attended: Vec<f32>,
    projected: Vec<f32>,
    wide: Vec<f32>,
}

impl Bert {
    pub(crate) fn load(source: &Source) -> Result<Self, ModelError> {
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
        if width != EMBEDDING_DIMENSIONS || width % heads != 0 {
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
                    query: source.linear(&name("attn_q"), width, width)?,
                    key: source.linear(&name("attn_k"), width, width)?,
                    value: source.linear(&name("attn_v"), width, width)?,
                    output: source.linear(&name("attn_output"), width, width)?,
                    output_norm: norm(&name("attn_output_norm"))?,
                    up: source.linear(&name("ffn_up"), ffn, width)?,
                    down: source.linear(&name("ffn_down"), width, ffn)?,
                    down_norm: norm(&name("layer_output_norm"))?,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        let kinds = source.matrix("token_types.weight", 2, width)?;
        let mut kind = vec![0.0; width];
        kinds.lookup(&[0], &mut kind)?;
        Ok(Self {
            tokenizer: WordPiece::from_gguf(header)?,
            words: source.matrix("token_embd.weight", words, width)?,
            positions: source.matrix("position_embd.weight", context, width)?,
            kind,
            norm: norm("token_embd_norm")?,
            layers,
            heads,
            max_tokens: context.min(MAX_TOKENS),
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
        self.words.lookup(&tokens, &mut hidden)?;
        self.positions.lookup(&positions, &mut placed)?;
        for (row, place) in hidden.chunks_exact_mut(width).zip(placed.chunks_exact(width)) {
            for ((value, place), kind) in row.iter_mut().zip(place).zip(&self.kind) {
                *value += place + kind;
            }
        }
        self.norm.apply(&mut hidden);
        for layer in &self.layers {
            layer.query.run(&hidden, count, &mut s.query)?;
            layer.key.run(&hidden, count, &mut s.key)?;
            layer.value.run(&hidden, count, &mut s.value)?;
            self.attend(texts, s);
            layer.output.run(&s.attended, count, &mut s.projected)?;
            add(&mut hidden, &s.projected);
            layer.output_norm.apply(&mut hidden);
            layer.up.run(&hidden, count, &mut s.wide)?;
            s.wide
                .par_chunks_mut(1 << 14)
                .for_each(|part| part.iter_mut().for_each(|value| *value = gelu(*value)));
            layer.down.run(&s.wide, count, &mut s.projected)?;
            add(&mut hidden, &s.projected);
            layer.down_norm.apply(&mut hidden);
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

    /// Every token of a text sees every token of the same text.
    fn attend(&self, texts: &[&[u32]], s: &mut Scratch) {
        let width = EMBEDDING_DIMENSIONS;
        let head = width / self.heads;
        let scale = 1.0 / (head as f32).sqrt();
        s.attended.clear();
        s.attended.resize(s.query.len(), 0.0);
        let mut outs = Vec::with_capacity(texts.len());
        let mut rest = s.attended.as_mut_slice();
        let mut start = 0;
        for text in texts {
            let (out, others) = rest.split_at_mut(text.len() * width);
            outs.push((start * width, out));
            start += text.len();
            rest = others;
        }
        let (query, key, value) = (&s.query, &s.key, &s.value);
        outs.into_par_iter().for_each(|(start, out)| {
            let end = start + out.len();
            let (Some(query), Some(key), Some(value)) =
                (query.get(start..end), key.get(start..end), value.get(start..end))
            else {
                return;
            };
            let mut scores = vec![0.0_f32; out.len() / width];
            for first in (0..width).step_by(head) {
                let part =
                    |row: &'_ [f32]| -> std::ops::Range<usize> { first..(first + head).min(row.len()) };
                for (out, query) in out.chunks_exact_mut(width).zip(query.chunks_exact(width)) {
                    let query = query.get(part(query)).unwrap_or_default();
                    for (score, key) in scores.iter_mut().zip(key.chunks_exact(width)) {
                        let key = key.get(part(key)).unwrap_or_default();
                        *score = query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>() * scale;
                    }
                    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    scores.iter_mut().for_each(|score| *score = (*score - greatest).exp());
                    let total: f32 = scores.iter().sum();
                    let range = part(out);
                    let out = out.get_mut(range).unwrap_or_default();
                    for (score, value) in scores.iter().zip(value.chunks_exact(width)) {
                        let value = value.get(part(value)).unwrap_or_default();
                        out.iter_mut().zip(value).for_each(|(out, value)| *out += score / total * value);
                    }
                }
            }
        });
    }
}

impl LayerNorm {
    fn apply(&self, rows: &mut [f32]) {
        for row in rows.chunks_exact_mut(self.scales.len()) {
            let mean = row.iter().sum::<f32>() / row.len() as f32;
            let variance =
                row.iter().map(|value| (value - mean) * (value - mean)).sum::<f32>() / row.len() as f32;
            let scale = 1.0 / (variance + EPSILON).sqrt();
            for ((value, weight), shift) in row.iter_mut().zip(&self.scales).zip(&self.shifts) {
                *value = (*value - mean) * scale * weight + shift;
            }
        }
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

/// The exact form, by the error function: BERT was trained with it.
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + candle_core::cpu::erf::erf_f32(x * std::f32::consts::FRAC_1_SQRT_2))
}
