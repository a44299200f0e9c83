//! The loop itself: a batch of stretches of several conversations goes through all layers together.

use cairn_kernels::{AttentionOptions, AttentionScratch, Gate, Mask, RopeStyle, Sequence, Write};

use super::{Cache, Gated, Layer, Model, Operand, Qkv, Target};
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

impl Segment<'_> {
    /// Rows of logits that it gets.
    pub(crate) fn wanted(&self) -> usize {
        match self.want {
            Want::Nothing => 0,
            Want::Last => 1,
            Want::All => self.tokens.len(),
        }
    }
}

/// Memory for activations, kept between steps.
#[derive(Default)]
pub(crate) struct Scratch {
    hidden: Vec<f32>,
    operand: Operand,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    fused: Vec<f32>,
    attended: Vec<f32>,
    projected: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    tokens: Vec<u32>,
    positions: Vec<u32>,
    attention: AttentionScratch,
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
        self.layers(batch, scratch)?;
        batch.iter_mut().try_for_each(|segment| segment.cache.commit(segment.tokens))
    }

    fn layers(&self, batch: &mut [Segment<'_>], s: &mut Scratch) -> Result<(), ModelError> {
        let (config, compute) = (&self.config, &*self.compute);
        s.tokens.clear();
        s.positions.clear();
        for segment in &*batch {
            s.tokens.extend_from_slice(segment.tokens);
            s.positions.extend((segment.cache.len() as u32..).take(segment.tokens.len()));
        }
        let count = s.tokens.len();
        s.hidden.resize(count * config.hidden, 0.0);
        self.embedding.lookup(compute, &s.tokens, &mut s.hidden)?;
        if config.family == Family::Gemma3 {
            let scale = (config.hidden as f32).sqrt();
            s.hidden.iter_mut().for_each(|value| *value *= scale);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            self.project(layer, count, s)?;
            self.attend(index, layer, batch, s)?;
            s.operand.take(compute, &s.attended, count, &[&layer.attention_output.weights])?;
            self.add(&layer.attention_output, layer.attention_post_norm.as_ref(), count, s)?;
            self.feed_forward(layer, count, s)?;
            s.operand.take(compute, &s.gate, count, &[&layer.down.weights])?;
            self.add(&layer.down, layer.ffn_post_norm.as_ref(), count, s)?;
        }
        self.logits(batch, s)
    }

    /// Queries, keys and values of the normed residual stream, normed and turned.
    fn project(&self, layer: &Layer, count: usize, s: &mut Scratch) -> Result<(), ModelError> {
        let (config, compute) = (&self.config, &*self.compute);
        let norm = (layer.attention_norm.scales.as_slice(), config.epsilon);
        let (query_width, kv_width) = (config.query_width(), config.kv_width());
        s.query.resize(count * query_width, 0.0);
        s.key.resize(count * kv_width, 0.0);
        s.value.resize(count * kv_width, 0.0);
        match &layer.qkv {
            Qkv::Separate { query, key, value } => {
                let users = [&query.weights, &key.weights, &value.weights];
                s.operand.take_normed(compute, &s.hidden, norm, count, &users)?;
                let targets = vec![
                    Target::new(query, &mut s.query),
                    Target::new(key, &mut s.key),
                    Target::new(value, &mut s.value),
                ];
                s.operand.multiply(compute, Write::Store, targets)?;
            }
            Qkv::Fused(linear) => {
                s.operand.take_normed(compute, &s.hidden, norm, count, &[&linear.weights])?;
                s.fused.resize(count * linear.rows(), 0.0);
                s.operand.multiply(compute, Write::Store, vec![Target::new(linear, &mut s.fused)])?;
                let to = s.query.chunks_exact_mut(query_width);
                let to = to.zip(s.key.chunks_exact_mut(kv_width)).zip(s.value.chunks_exact_mut(kv_width));
                for (row, ((query, key), value)) in s.fused.chunks_exact(linear.rows()).zip(to) {
                    let (q, rest) = row.split_at(query_width);
                    let (k, v) = rest.split_at(kv_width);
                    query.copy_from_slice(q);
                    key.copy_from_slice(k);
                    value.copy_from_slice(v);
                }
            }
        }
        for (norm, heads) in [(&layer.query_norm, &mut s.query), (&layer.key_norm, &mut s.key)] {
            if let Some(norm) = norm {
                compute.rms_norm_in_place(heads, &norm.scales, config.epsilon)?;
            }
        }
        let Some(rope) = self.ropes.get(layer.rope) else { return Ok(()) };
        let style = if config.rope.interleaved { RopeStyle::Interleaved } else { RopeStyle::Neox };
        compute.rope(&mut s.query, config.head, &s.positions, rope, style)?;
        Ok(compute.rope(&mut s.key, config.head, &s.positions, rope, style)?)
    }

    /// Appends keys and values to the caches, and attends.
    fn attend(
        &self,
        index: usize,
        layer: &Layer,
        batch: &mut [Segment<'_>],
        s: &mut Scratch,
    ) -> Result<(), ModelError> {
        let config = &self.config;
        let width = config.kv_width();
        let mut row = 0;
        for segment in &mut *batch {
            let count = segment.tokens.len();
            let range = row * width..(row + count) * width;
            if let (Some(keys), Some(values)) = (s.key.get(range.clone()), s.value.get(range)) {
                segment.cache.append(&self.compute, index, keys, values, count)?;
            }
            row += count;
        }
        let sequences: Vec<Sequence<'_>> = batch
            .iter()
            .map(|segment| Sequence {
                cache: &segment.cache.kv,
                start: segment.cache.len(),
                count: segment.tokens.len(),
            })
            .collect();
        let options = AttentionOptions {
            heads: config.heads,
            scale: 1.0 / (config.head as f32).sqrt(),
            mask: Mask::Causal,
            window: layer.window,
            soft_cap: None,
        };
        s.attended.resize(s.query.len(), 0.0);
        Ok(self.compute.attention(
            index,
            &sequences,
            &options,
            &s.query,
            &mut s.attended,
            &mut s.attention,
        )?)
    }

    /// Adds a block's last product to the residual stream, normed first where the family does so.
    fn add(
        &self,
        linear: &super::Linear,
        norm: Option<&super::Norm>,
        count: usize,
        s: &mut Scratch,
    ) -> Result<(), ModelError> {
        let compute = &*self.compute;
        let Some(norm) = norm else {
            return s.operand.multiply(compute, Write::Add, vec![Target::new(linear, &mut s.hidden)]);
        };
        s.projected.resize(count * linear.rows(), 0.0);
        s.operand.multiply(compute, Write::Store, vec![Target::new(linear, &mut s.projected)])?;
        compute.rms_norm_in_place(&mut s.projected, &norm.scales, self.config.epsilon)?;
        s.hidden.iter_mut().zip(&s.projected).for_each(|(hidden, block)| *hidden += *block);
        Ok(())
    }

    fn feed_forward(&self, layer: &Layer, count: usize, s: &mut Scratch) -> Result<(), ModelError> {
        let (config, compute) = (&self.config, &*self.compute);
        let norm = (layer.ffn_norm.scales.as_slice(), config.epsilon);
        let function = if config.family == Family::Gemma3 { Gate::GeluTanh } else { Gate::Silu };
        let width = config.feed_forward;
        s.gate.resize(count * width, 0.0);
        match &layer.gate {
            Gated::Separate { gate, up } => {
                s.operand.take_normed(compute, &s.hidden, norm, count, &[&gate.weights, &up.weights])?;
                s.operand.multiply_gated(compute, (gate, up), function, &mut s.gate, &mut s.up)
            }
            Gated::Fused(linear) => {
                s.operand.take_normed(compute, &s.hidden, norm, count, &[&linear.weights])?;
                s.fused.resize(count * linear.rows(), 0.0);
                s.operand.multiply(compute, Write::Store, vec![Target::new(linear, &mut s.fused)])?;
                s.up.resize(count * width, 0.0);
                let to = s.gate.chunks_exact_mut(width).zip(s.up.chunks_exact_mut(width));
                for (row, (gate, up)) in s.fused.chunks_exact(2 * width).zip(to) {
                    let (first, second) = row.split_at(width);
                    gate.copy_from_slice(first);
                    up.copy_from_slice(second);
                }
                Ok(compute.gate(function, &mut s.gate, &s.up, width)?)
            }
        }
    }

    fn logits(&self, batch: &[Segment<'_>], s: &mut Scratch) -> Result<(), ModelError> {
        let hidden = self.config.hidden;
        s.projected.clear();
        let mut row = 0;
        for segment in batch {
            let end = row + segment.tokens.len();
            let start = end - segment.wanted();
            s.projected.extend_from_slice(s.hidden.get(start * hidden..end * hidden).unwrap_or_default());
            row = end;
        }
        let wanted = s.projected.len() / hidden;
        s.logits.resize(wanted * self.config.vocabulary, 0.0);
        if wanted == 0 {
            return Ok(());
        }
        let norm = (self.norm.scales.as_slice(), self.config.epsilon);
        s.operand.take_normed(&self.compute, &s.projected, norm, wanted, &[&self.output])?;
        let target = Target { weights: &self.output, bias: None, out: &mut s.logits };
        s.operand.multiply(&self.compute, Write::Store, vec![target])
    }
}
