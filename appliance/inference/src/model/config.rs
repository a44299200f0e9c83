//! What a header says about a model's shape, checked before anything is allocated by it.

use crate::{error::ModelError, gguf::Gguf, types::Family};

/// Limits of shapes; far above what runs on a board, far below what could overflow.
const MAX_LAYERS: usize = 256;
const MAX_WIDTH: usize = 1 << 17;
const MAX_HEADS: usize = 512;
const MAX_HEAD: usize = cairn_kernels::MAX_HEAD_DIM;
/// Heads are a multiple of this wide: the kernels' attention takes so many components at a time.
const HEAD_STEP: usize = cairn_kernels::TILE_ROWS;
/// Longest context, tokens.
const MAX_CONTEXT: usize = 1 << 20;

/// A model's shape.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) feed_forward: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head: usize,
    pub(crate) context: usize,
    pub(crate) vocabulary: usize,
    pub(crate) epsilon: f32,
    pub(crate) rope: RopeConfig,
    /// Sliding-window layers (Gemma 3).
    pub(crate) sliding: Option<Sliding>,
}

/// How positions turn queries and keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RopeConfig {
    pub(crate) base: f32,
    /// Components of a head that turn; the rest stays.
    pub(crate) dimensions: usize,
    /// Neighbours turn together (Llama's files) or the two halves do (all others).
    pub(crate) interleaved: bool,
    /// Positions are divided by this.
    pub(crate) stretch: f32,
    /// Cosine and sine are multiplied by this.
    pub(crate) magnitude: f32,
    /// Context before it was stretched by per-frequency factors (Phi-3).
    pub(crate) original_context: Option<usize>,
}

/// Gemma's pattern: of `period` layers all but the last see only `window` tokens, with a rotation of their own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sliding {
    pub(crate) window: usize,
    pub(crate) period: usize,
    pub(crate) base: f32,
}

struct Keys<'a> {
    header: &'a Gguf,
    prefix: &'static str,
}

impl Keys<'_> {
    fn optional(&self, key: &str) -> Option<usize> {
        self.header.int(&format!("{}.{key}", self.prefix)).and_then(|value| usize::try_from(value).ok())
    }

    fn required(&self, key: &str, limit: usize) -> Result<usize, ModelError> {
        let name = format!("{}.{key}", self.prefix);
        match self.header.metadata.get(&name) {
            None => Err(ModelError::Missing(name)),
            Some(_) => match self.optional(key) {
                Some(value) if (1..=limit).contains(&value) => Ok(value),
                _ => Err(ModelError::Mismatch {
                    found: self
                        .header
                        .int(&name)
                        .map_or("not a single integer".into(), |value| value.to_string()),
                    what: name,
                    expected: format!("between 1 and {limit}"),
                }),
            },
        }
    }

    fn float(&self, key: &str) -> Option<f32> {
        self.header.float(&format!("{}.{key}", self.prefix)).map(|value| value as f32)
    }

    fn positive(&self, key: &str, default: Option<f32>) -> Result<f32, ModelError> {
        let value = self.float(key).or(default);
        let name = || format!("{}.{key}", self.prefix);
        match value {
            None => Err(ModelError::Missing(name())),
            Some(value) if value.is_finite() && value > 0.0 => Ok(value),
            Some(value) => Err(ModelError::Mismatch {
                what: name(),
                found: value.to_string(),
                expected: "a positive number".into(),
            }),
        }
    }
}

impl Config {
    /// Reads and checks the shape.
    pub(crate) fn from_gguf(header: &Gguf) -> Result<Self, ModelError> {
        let architecture = header
            .text("general.architecture")
            .ok_or_else(|| ModelError::Missing("its architecture".into()))?;
        let family = Family::from_architecture(architecture)
            .filter(|family| *family != Family::Bert)
            .ok_or_else(|| ModelError::Architecture(architecture.chars().take(64).collect()))?;
        let keys = Keys { header, prefix: family.architecture() };
        if keys.optional("expert_count").unwrap_or(0) > 0 {
            return Err(ModelError::Unsupported("a mixture of experts".into()));
        }
        let hidden = keys.required("embedding_length", MAX_WIDTH)?;
        let heads = keys.required("attention.head_count", MAX_HEADS)?;
        let kv_heads = match keys.optional("attention.head_count_kv") {
            None => heads,
            Some(_) => keys.required("attention.head_count_kv", MAX_HEADS)?,
        };
        let head = match keys.optional("attention.key_length") {
            None => hidden / heads,
            Some(_) => keys.required("attention.key_length", MAX_HEAD)?,
        };
        let value_length = keys.optional("attention.value_length").unwrap_or(head);
        if value_length != head {
            return Err(ModelError::Unsupported("keys and values of different lengths".into()));
        }
        if !heads.is_multiple_of(kv_heads) || head == 0 || !head.is_multiple_of(HEAD_STEP) || head > MAX_HEAD
        {
            return Err(ModelError::Mismatch {
                what: "the attention's shape".into(),
                found: format!("{heads} heads, {kv_heads} key heads, {head} wide"),
                expected: format!(
                    "a multiple of heads per key head, a multiple of {HEAD_STEP} up to {MAX_HEAD} wide"
                ),
            });
        }
        let vocabulary = header.tensors.get("token_embd.weight").map_or(0, crate::gguf::TensorInfo::rows);
        let context = keys.required("context_length", MAX_CONTEXT)?;
        Ok(Self {
            family,
            layers: keys.required("block_count", MAX_LAYERS)?,
            hidden,
            feed_forward: keys.required("feed_forward_length", MAX_WIDTH)?,
            heads,
            kv_heads,
            head,
            context,
            vocabulary,
            epsilon: keys.positive("attention.layer_norm_rms_epsilon", None)?,
            rope: rope(&keys, family, head)?,
            sliding: sliding(&keys, family)?,
        })
    }

    /// Width of all keys (or values) of a position.
    pub(crate) const fn kv_width(&self) -> usize {
        self.kv_heads * self.head
    }

    /// Width of all queries of a position.
    pub(crate) const fn query_width(&self) -> usize {
        self.heads * self.head
    }
}

fn rope(keys: &Keys<'_>, family: Family, head: usize) -> Result<RopeConfig, ModelError> {
    let scaling = keys.header.text(&format!("{}.rope.scaling.type", keys.prefix)).unwrap_or("none");
    let stretch = match scaling {
        "linear" => keys.positive("rope.scaling.factor", Some(1.0))?,
        "none" | "longrope" => 1.0,
        other => return Err(ModelError::Unsupported(format!("the position scaling {other:?}"))),
    };
    let default_base = if family == Family::Gemma3 { 1_000_000.0 } else { 10_000.0 };
    let dimensions = keys.optional("rope.dimension_count").unwrap_or(head);
    if dimensions == 0 || !dimensions.is_multiple_of(2) || dimensions > head {
        return Err(ModelError::Mismatch {
            what: format!("{}.rope.dimension_count", keys.prefix),
            found: dimensions.to_string(),
            expected: format!("even, at most {head}"),
        });
    }
    Ok(RopeConfig {
        base: keys.positive("rope.freq_base", Some(default_base))?,
        dimensions,
        interleaved: family == Family::Llama,
        stretch,
        magnitude: keys.positive("rope.scaling.attn_factor", Some(1.0))?,
        original_context: keys.optional("rope.scaling.original_context_length"),
    })
}

fn sliding(keys: &Keys<'_>, family: Family) -> Result<Option<Sliding>, ModelError> {
    /// Gemma 3 has one layer of six that sees everything.
    const PERIOD: usize = 6;
    if family != Family::Gemma3 {
        return Ok(None);
    }
    let Some(window) = keys.optional("attention.sliding_window").filter(|window| *window > 0) else {
        return Ok(None);
    };
    Ok(Some(Sliding { window, period: PERIOD, base: keys.positive("rope.freq_base_swa", Some(10_000.0))? }))
}
