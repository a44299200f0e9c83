//! Shapes of models: those of well-known ones, and small ones for tests.

use crate::types::Family;

/// How a tokenizer's file calls its way of cutting words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    Llama3,
    Qwen2,
    Smollm,
    /// SentencePiece; whether a space is put before texts.
    Spm(bool),
}

/// Everything that decides what a model costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Name of the model whose shape this is.
    pub name: &'static str,
    /// Family.
    pub family: Family,
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward network.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head: usize,
    /// Number of tokens.
    pub vocabulary: usize,
    /// Longest context, tokens.
    pub context: usize,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// Whether the embedding is the output, too.
    pub tied: bool,
    /// Window of sliding layers.
    pub window: Option<usize>,
    /// Whether frequencies have factors.
    pub frequency_factors: bool,
    pub(super) words: Words,
}

impl Shape {
    /// SmolLM2-360M.
    pub const SMOLLM2_360M: Self = Self {
        name: "SmolLM2-360M",
        family: Family::Llama,
        layers: 32,
        hidden: 960,
        feed_forward: 2560,
        heads: 15,
        kv_heads: 5,
        head: 64,
        vocabulary: 49_152,
        context: 8192,
        rope_base: 100_000.0,
        tied: true,
        window: None,
        frequency_factors: false,
        words: Words::Smollm,
    };
    /// Qwen2.5-0.5B.
    pub const QWEN2_5_0_5B: Self = Self {
        name: "Qwen2.5-0.5B",
        family: Family::Qwen2,
        layers: 24,
        hidden: 896,
        feed_forward: 4864,
        heads: 14,
        kv_heads: 2,
        head: 64,
        vocabulary: 151_936,
        context: 32_768,
        rope_base: 1_000_000.0,
        words: Words::Qwen2,
        ..Self::SMOLLM2_360M
    };
    /// Qwen3-0.6B.
    pub const QWEN3_0_6B: Self = Self {
        name: "Qwen3-0.6B",
        family: Family::Qwen3,
        layers: 28,
        hidden: 1024,
        feed_forward: 3072,
        heads: 16,
        kv_heads: 8,
        head: 128,
        context: 40_960,
        ..Self::QWEN2_5_0_5B
    };
    /// Llama-3.2-1B.
    pub const LLAMA_3_2_1B: Self = Self {
        name: "Llama-3.2-1B",
        layers: 16,
        hidden: 2048,
        feed_forward: 8192,
        heads: 32,
        kv_heads: 8,
        vocabulary: 128_256,
        context: 131_072,
        rope_base: 500_000.0,
        frequency_factors: true,
        words: Words::Llama3,
        ..Self::SMOLLM2_360M
    };
    /// Gemma-3-1B.
    pub const GEMMA_3_1B: Self = Self {
        name: "Gemma-3-1B",
        family: Family::Gemma3,
        layers: 26,
        hidden: 1152,
        feed_forward: 6912,
        heads: 4,
        kv_heads: 1,
        head: 256,
        vocabulary: 262_144,
        context: 32_768,
        rope_base: 1_000_000.0,
        window: Some(512),
        words: Words::Spm(false),
        ..Self::SMOLLM2_360M
    };
    /// The shapes that benchmarks use.
    pub const BENCHMARKS: [Self; 5] =
        [Self::SMOLLM2_360M, Self::QWEN2_5_0_5B, Self::QWEN3_0_6B, Self::LLAMA_3_2_1B, Self::GEMMA_3_1B];

    /// A small model of a family, quick to compute, with everything that the family has: enough layers for Gemma's
    /// pattern, a window shorter than test prompts, grouped heads.
    ///
    /// [`Family::Bert`] has no generating models; it gives the small Llama.
    pub const fn small(family: Family) -> Self {
        let base = Self {
            name: "small",
            layers: 3,
            hidden: 256,
            feed_forward: 512,
            heads: 4,
            kv_heads: 2,
            head: 64,
            vocabulary: 1024,
            context: 2048,
            rope_base: 10_000.0,
            ..Self::SMOLLM2_360M
        };
        match family {
            Family::Llama | Family::Bert => Self { frequency_factors: true, words: Words::Llama3, ..base },
            Family::Qwen2 => Self { family, words: Words::Qwen2, ..base },
            Family::Qwen3 => Self { family, tied: false, words: Words::Qwen2, ..base },
            Family::Gemma3 => Self { family, layers: 7, window: Some(16), words: Words::Spm(false), ..base },
            Family::Phi3 => Self { family, tied: false, words: Words::Spm(true), ..base },
        }
    }
}
