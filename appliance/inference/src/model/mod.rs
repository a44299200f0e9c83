//! Generating models: one loop for all families, over weights that exist once and caches that belong to conversations.
//!
//! The arithmetic is that of `cairn-kernels`; [`product`] decides which kernel computes which matrix.

mod cache;
mod config;
mod forward;
mod load;
mod product;

use std::sync::Arc;

use cairn_kernels::{Compute, RopeTable};

pub(crate) use cache::Cache;
pub(crate) use config::Config;
pub(crate) use forward::{Scratch, Segment, Want};
pub(crate) use load::{Source, load};
pub(crate) use product::{Linear, Operand, Target, Weights};

/// Scales of a root-mean-square normalization.
pub(crate) struct Norm {
    scales: Vec<f32>,
}

/// The projections into attention, as the file has them.
enum Qkv {
    Separate {
        query: Linear,
        key: Linear,
        value: Linear,
    },
    /// Rows of query, key and value one after the other (Phi-3).
    Fused(Linear),
}

/// The gated feed-forward network, as the file has it.
enum Gated {
    Separate {
        gate: Linear,
        up: Linear,
    },
    /// Rows of gate and up one after the other (Phi-3).
    Fused(Linear),
}

struct Layer {
    attention_norm: Norm,
    qkv: Qkv,
    query_norm: Option<Norm>,
    key_norm: Option<Norm>,
    attention_output: Linear,
    attention_post_norm: Option<Norm>,
    ffn_norm: Norm,
    gate: Gated,
    down: Linear,
    ffn_post_norm: Option<Norm>,
    /// Keys that a position sees, itself included; none: all.
    window: Option<usize>,
    rope: usize,
}

/// A model in memory. Shared by all conversations.
pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) compute: Arc<Compute>,
    embedding: Arc<Weights>,
    layers: Vec<Layer>,
    norm: Norm,
    output: Arc<Weights>,
    /// Rotations: one for most families, two where sliding layers have their own.
    ropes: Vec<RopeTable>,
}

impl Model {
    /// Whether tokens that are read together give the same logits, to the bit, as tokens that are read one by one: what
    /// makes drafts possible that change nothing. False where Candle computes a matrix.
    pub(crate) fn is_steady(&self) -> bool {
        let layer = |layer: &Layer| {
            let qkv = match &layer.qkv {
                Qkv::Separate { query, key, value } => {
                    query.is_steady() && key.is_steady() && value.is_steady()
                }
                Qkv::Fused(linear) => linear.is_steady(),
            };
            let gate = match &layer.gate {
                Gated::Separate { gate, up } => gate.is_steady() && up.is_steady(),
                Gated::Fused(linear) => linear.is_steady(),
            };
            qkv && gate && layer.attention_output.is_steady() && layer.down.is_steady()
        };
        self.output.is_steady() && self.layers.iter().all(layer)
    }
}
