//! The loop itself: a batch of stretches of several conversations goes through all layers together.

use super::{Cache, Gate, Linear, Model, Norm, Qkv, attention::Attention};
use crate::{error::ModelError, types::Family};

/// Which logits a stretch wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// None: more of the prompt follows.
    Nothing,
    /// Those after the last token.
    Last,
    /// Those after every token.
    All,
}

/// New tokens of one conversation.
pub(crate) struct Segment<'a> {
    pub(crate) cache: &'a mut Cache,
    pub(crate) tokens: &'a [u32],
    pub(crate) want: Want,
}

/// Memory for activations, kept between steps so that a step allocates nothing.
#[derive(Default)]
pub(crate) struct Scratch {
    hidden: Vec<f32>,
    normed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    fused: Vec<f32>,
    attended: Vec<f32>,
    projected: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    turns: Vec<(f32, f32)>,
    tokens: Vec<u32>,
    /// Logits of the stretches that wanted some, one after the other.
    pub(crate) logits: Vec<f32>,
}

impl Model {
    /// Reads the new tokens of all stretches: afterwards they are in the caches, and the wanted logits in `scratch.logits`.
    /// After an error the caches are as before.
    pub(crate) fn forward(&self, batch: &mut [Segment<'_>], scratch: &mut Scratch) -> Result<(), ModelError> {
        for segment in &*batch {
            let known = segment.tokens.iter().all(|token| (*token as usize) < self.config.vocabulary);
            if segment.tokens.is_empty() || segment.tokens.len() > segment.cache.room() || !known {
                return Err(ModelError::Compute(candle_core::Error::Msg(format!(
                    "{} tokens do not fit a cache with room for {}, or are none of the model's",
                    segment.tokens.len(),
                    segment.cache.room()
                ))));
            }
        }
        let done = self.layers(batch, scratch);
        for segment in batch {
            match done {
                Ok(()) => segment.cache.commit(segment.tokens),
                Err(_) => segment.cache.roll_back(),
            }
        }
        done
    }

    fn layers(&self, batch: &mut [Segment<'_>], scratch: &mut Scratch) -> Result<(), ModelError> {
        let config = &self.config;
        scratch.tokens.clear();
        batch.iter().for_each(|segment| scratch.tokens.extend_from_slice(segment.tokens));
        let count = scratch.tokens.len();
        let s = scratch;
        s.hidden.resize(count * config.hidden, 0.0);
        self.embedding.lookup(&s.tokens, &mut s.hidden)?;
        if config.family == Family::Gemma3 {
            let scale = (config.hidden as f32).sqrt();
            s.hidden.iter_mut().for_each(|value| *value *= scale);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            norm_rows(&layer.attention_norm, config.epsilon, &s.hidden, &mut s.normed);
            self.project(&layer.qkv, count, s)?;
            self.place(index, batch, s)?;
            s.attended.resize(count * config.query_width(), 0.0);
            let mut row = 0;
            for segment in &*batch {
                let range = row * config.query_width()..(row + segment.tokens.len()) * config.query_width();
                let (keys, values) = segment.cache.layer(index);
                let (Some(queries), Some(out)) = (s.query.get(range.clone()), s.attended.get_mut(range))
                else {
                    continue;
                };
                let (first, window) = (segment.cache.len(), layer.window);
                Attention { config, queries, keys, values, first, window }.run(out);
                row += segment.tokens.len();
            }
            apply(&layer.attention_output, &s.attended, count, &mut s.projected)?;
            add_normed(layer.attention_post_norm.as_ref(), config.epsilon, &mut s.projected, &mut s.hidden);

            norm_rows(&layer.ffn_norm, config.epsilon, &s.hidden, &mut s.normed);
            self.feed_forward(&layer.gate, count, s)?;
            apply(&layer.down, &s.gate, count, &mut s.projected)?;
            add_normed(layer.ffn_post_norm.as_ref(), config.epsilon, &mut s.projected, &mut s.hidden);
        }
        self.logits(batch, s)
    }

    fn project(&self, qkv: &Qkv, count: usize, s: &mut Scratch) -> Result<(), ModelError> {
        match qkv {
            Qkv::Separate { query, key, value } => {
                apply(query, &s.normed, count, &mut s.query)?;
                apply(key, &s.normed, count, &mut s.key)?;
                apply(value, &s.normed, count, &mut s.value)
            }
            Qkv::Fused(linear) => {
                apply(linear, &s.normed, count, &mut s.fused)?;
                let (query, kv) = (self.config.query_width(), self.config.kv_width());
                s.query.clear();
                s.key.clear();
                s.value.clear();
                for row in s.fused.chunks_exact(query + 2 * kv) {
                    let (q, rest) = row.split_at(query);
                    let (k, v) = rest.split_at(kv);
                    s.query.extend_from_slice(q);
                    s.key.extend_from_slice(k);
                    s.value.extend_from_slice(v);
                }
                Ok(())
            }
        }
    }

    /// Norms and turns queries and keys, and appends keys and values to the caches.
    fn place(&self, index: usize, batch: &mut [Segment<'_>], s: &mut Scratch) -> Result<(), ModelError> {
        let config = &self.config;
        let Some(layer) = self.layers.get(index) else { return Ok(()) };
        for (norm, heads) in [(&layer.query_norm, &mut s.query), (&layer.key_norm, &mut s.key)] {
            if let Some(norm) = norm {
                heads.chunks_exact_mut(config.head).for_each(|head| norm.apply(config.epsilon, head));
            }
        }
        let Some(rope) = self.ropes.get(layer.rope) else { return Ok(()) };
        let mut row = 0;
        for segment in batch {
            let first = row;
            for offset in 0..segment.tokens.len() {
                rope.at(segment.cache.len() + offset, &mut s.turns);
                for (width, values) in [(config.query_width(), &mut s.query), (config.kv_width(), &mut s.key)]
                {
                    let heads = values.get_mut(row * width..(row + 1) * width).unwrap_or_default();
                    heads.chunks_exact_mut(config.head).for_each(|head| rope.turn(head, &s.turns));
                }
                row += 1;
            }
            let range = first * config.kv_width()..row * config.kv_width();
            if let (Some(keys), Some(values)) = (s.key.get(range.clone()), s.value.get(range)) {
                segment.cache.append(index, keys, values);
            }
        }
        Ok(())
    }

    fn feed_forward(&self, gate: &Gate, count: usize, s: &mut Scratch) -> Result<(), ModelError> {
        match gate {
            Gate::Separate { gate, up } => {
                apply(gate, &s.normed, count, &mut s.gate)?;
                apply(up, &s.normed, count, &mut s.up)?;
            }
            Gate::Fused(linear) => {
                apply(linear, &s.normed, count, &mut s.fused)?;
                s.gate.clear();
                s.up.clear();
                for row in s.fused.chunks_exact(2 * self.config.feed_forward) {
                    let (gate, up) = row.split_at(self.config.feed_forward);
                    s.gate.extend_from_slice(gate);
                    s.up.extend_from_slice(up);
                }
            }
        }
        let activation = if self.config.family == Family::Gemma3 { gelu } else { silu };
        for (gate, up) in s.gate.iter_mut().zip(&s.up) {
            *gate = activation(*gate) * up;
        }
        Ok(())
    }

    fn logits(&self, batch: &[Segment<'_>], s: &mut Scratch) -> Result<(), ModelError> {
        let hidden = self.config.hidden;
        s.projected.clear();
        let mut row = 0;
        for segment in batch {
            let end = row + segment.tokens.len();
            let start = match segment.want {
                Want::Nothing => end,
                Want::Last => end - 1,
                Want::All => row,
            };
            s.projected.extend_from_slice(s.hidden.get(start * hidden..end * hidden).unwrap_or_default());
            row = end;
        }
        let wanted = s.projected.len() / hidden;
        s.logits.resize(wanted * self.config.vocabulary, 0.0);
        if wanted == 0 {
            return Ok(());
        }
        norm_rows(&self.norm, self.config.epsilon, &s.projected, &mut s.normed);
        self.output.apply(&s.normed, wanted, &mut s.logits)
    }
}

impl Norm {
    /// Root-mean-square normalization of one row in place.
    fn apply(&self, epsilon: f32, row: &mut [f32]) {
        let mean = row.iter().map(|value| f64::from(value * value)).sum::<f64>() / row.len() as f64;
        let scale = 1.0 / (mean as f32 + epsilon).sqrt();
        for (value, weight) in row.iter_mut().zip(&self.scales) {
            *value *= scale * weight;
        }
    }
}

fn norm_rows(norm: &Norm, epsilon: f32, from: &[f32], to: &mut Vec<f32>) {
    to.clear();
    to.extend_from_slice(from);
    to.chunks_exact_mut(norm.scales.len()).for_each(|row| norm.apply(epsilon, row));
}

/// Adds a block's result to the residual stream, normalized first where the family does so.
fn add_normed(norm: Option<&Norm>, epsilon: f32, block: &mut [f32], hidden: &mut [f32]) {
    if let Some(norm) = norm {
        block.chunks_exact_mut(norm.scales.len()).for_each(|row| norm.apply(epsilon, row));
    }
    hidden.iter_mut().zip(block).for_each(|(hidden, block)| *hidden += *block);
}

fn apply(linear: &Linear, x: &[f32], count: usize, out: &mut Vec<f32>) -> Result<(), ModelError> {
    let rows = linear.product.rows();
    out.resize(count * rows, 0.0);
    linear.product.apply(x, count, out)?;
    if let Some(bias) = &linear.bias {
        for row in out.chunks_exact_mut(rows) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
    }
    Ok(())
}

fn silu(x: f32) -> f32 {
    x / (1.0 + (-x).exp())
}

/// The tanh approximation, as Gemma was trained with.
fn gelu(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + (SQRT_2_OVER_PI * x * (1.0 + 0.044_715 * x * x)).tanh())
}

impl Linear {
    pub(crate) fn run(&self, x: &[f32], count: usize, out: &mut Vec<f32>) -> Result<(), ModelError> {
        apply(self, x, count, out)
    }
}
