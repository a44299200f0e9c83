//! Generating models: one loop for all families, over weights that exist once and caches that belong to conversations.
//!
//! The loop works on plain slices of `f32`. What depends on the processor stands behind two seams: [`Product`] (weights
//! times activations) and [`attention`].

mod attention;
mod cache;
mod config;
mod forward;
mod load;
mod product;
mod rope;

pub(crate) use cache::Cache;
pub(crate) use config::Config;
pub(crate) use forward::{Scratch, Segment, Want};
pub(crate) use load::{Source, load};
pub(crate) use product::Product;

use rope::Rope;

/// A matrix with what is added after it.
pub(crate) struct Linear {
    product: Box<dyn Product>,
    bias: Option<Vec<f32>>,
}

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
enum Gate {
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
    gate: Gate,
    down: Linear,
    ffn_post_norm: Option<Norm>,
    /// Keys that a position sees, itself included; none: all.
    window: Option<usize>,
    rope: usize,
}

/// A model in memory. Shared by all conversations.
pub(crate) struct Model {
    pub(crate) config: Config,
    embedding: std::sync::Arc<dyn Product>,
    layers: Vec<Layer>,
    norm: Norm,
    output: std::sync::Arc<dyn Product>,
    /// Rotations: one for most families, two where sliding layers have their own.
    ropes: Vec<Rope>,
}
