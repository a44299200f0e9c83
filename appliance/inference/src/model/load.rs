//! From a file to a model in memory, tensor by tensor, each of the shape that the configuration demands.
//!
//! The file is read in pieces of a few MiB that are packed as they come, not mapped: what was read of a mapped file counts as
//! this process's memory until it is given back, and a mapped file that gets shorter ends the process with a signal, where
//! reading it gives an error.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_kernels::{Arena, Compute, PackedMatrix, RopeTable};

use super::{
    Config, Gated, Layer, Linear, Model, Norm, Qkv, Weights,
    product::{CandleProduct, packed_format},
};
use crate::{
    error::ModelError,
    gguf::{self, Gguf, TensorInfo, TensorType},
    types::Family,
};

/// An open model file with its checked header.
pub(crate) struct Source {
    path: PathBuf,
    file: File,
    pub(crate) header: Gguf,
    /// Bytes of tensors read so far, for progress.
    read: Arc<AtomicU64>,
    /// Memory of the matrices; there once the first one is wanted.
    arena: OnceLock<Arena>,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let io = |source| ModelError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let bytes = file.metadata().map_err(io)?.len();
        let header = gguf::read_header(std::io::BufReader::with_capacity(1 << 16, &file), bytes)?;
        Ok(Self { path: path.to_owned(), file, header, read: Arc::default(), arena: OnceLock::new() })
    }

    /// Counts the bytes of tensors as they are read, so that somebody else can tell how far loading is.
    pub(crate) fn counting(mut self, counter: Arc<AtomicU64>) -> Self {
        self.read = counter;
        self
    }

    fn info(&self, name: &str) -> Result<&TensorInfo, ModelError> {
        self.header.tensors.get(name).ok_or_else(|| ModelError::Missing(format!("the tensor {name:?}")))
    }

    fn bytes(&self, info: &TensorInfo) -> Result<Vec<u8>, ModelError> {
        let mut bytes = vec![0; usize::try_from(info.bytes).unwrap_or(0)];
        self.file
            .read_exact_at(&mut bytes, info.start)
            .map_err(|source| ModelError::Io { path: self.path.clone(), source })?;
        self.read.fetch_add(info.bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    /// A matrix of exactly this shape, in the layout of the kernels where they have its format.
    pub(crate) fn matrix(
        &self,
        compute: &Compute,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Weights, ModelError> {
        let info = self.info(name)?;
        expect_shape(name, info, rows, columns)?;
        let Some(format) = packed_format(info) else {
            return Ok(Weights::Candle(CandleProduct::new(info, self.bytes(info)?)?));
        };
        let arena = self.arena.get_or_init(|| {
            let tensors = self.header.tensors.values();
            Arena::for_matrices(
                tensors.filter_map(|info| Some((packed_format(info)?, info.rows(), info.columns()))),
            )
        });
        let matrix =
            PackedMatrix::pack_from(compute.pool(), arena, format, rows, columns, |offset, piece| {
                self.file.read_exact_at(piece, info.start + offset)?;
                self.read.fetch_add(piece.len() as u64, Ordering::Relaxed);
                Ok(())
            });
        Ok(Weights::Packed(matrix.map_err(|source| ModelError::Io { path: self.path.clone(), source })?))
    }

    /// A vector of exactly this length, as floats.
    pub(crate) fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        let info = self.info(name)?;
        expect_shape(name, info, 1, length)?;
        let bytes = self.bytes(info)?;
        match info.kind {
            TensorType::F32 => Ok(bytes
                .chunks_exact(4)
                .map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap_or_default()))
                .collect()),
            TensorType::F16 => Ok(bytes
                .chunks_exact(2)
                .map(|chunk| half::f16::from_le_bytes(chunk.try_into().unwrap_or_default()).to_f32())
                .collect()),
            kind => Err(ModelError::Unsupported(format!("the vector {name:?} stored as {}", kind.name()))),
        }
    }

    pub(crate) fn optional_vector(&self, name: &str, length: usize) -> Result<Option<Vec<f32>>, ModelError> {
        self.header.tensors.contains_key(name).then(|| self.vector(name, length)).transpose()
    }

    fn norm(&self, name: &str, length: usize) -> Result<Norm, ModelError> {
        Ok(Norm { scales: self.vector(name, length)? })
    }

    fn optional_norm(&self, name: &str, length: usize) -> Result<Option<Norm>, ModelError> {
        Ok(self.optional_vector(name, length)?.map(|scales| Norm { scales }))
    }

    pub(crate) fn linear(
        &self,
        compute: &Compute,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<Linear, ModelError> {
        let weights = self.matrix(compute, &format!("{name}.weight"), rows, columns)?;
        Ok(Linear { weights, bias: self.optional_vector(&format!("{name}.bias"), rows)? })
    }
}

fn expect_shape(name: &str, info: &TensorInfo, rows: usize, columns: usize) -> Result<(), ModelError> {
    if info.rows() == rows && info.columns() == columns {
        return Ok(());
    }
    Err(ModelError::Mismatch {
        what: format!("the shape of the tensor {name:?}"),
        found: format!("{} × {}", info.rows(), info.columns()),
        expected: format!("{rows} × {columns}"),
    })
}

/// Loads a model. `context` is the longest conversation that it will have: it chooses between the two sets of rotation
/// factors of Phi-3.
pub(crate) fn load(source: &Source, context: usize, compute: Arc<Compute>) -> Result<Model, ModelError> {
    let config = Config::from_gguf(&source.header)?;
    let table = |name: &str| -> Result<Arc<Weights>, ModelError> {
        Ok(Arc::new(source.matrix(&compute, name, config.vocabulary, config.hidden)?))
    };
    let embedding = table("token_embd.weight")?;
    let output = if source.header.tensors.contains_key("output.weight") {
        table("output.weight")?
    } else {
        Arc::clone(&embedding)
    };
    let layers =
        (0..config.layers).map(|index| layer(source, &compute, &config, index)).collect::<Result<_, _>>()?;
    Ok(Model {
        norm: source.norm("output_norm.weight", config.hidden)?,
        ropes: ropes(source, &config, context)?,
        embedding,
        output,
        layers,
        config,
        compute,
    })
}

fn layer(source: &Source, compute: &Compute, config: &Config, index: usize) -> Result<Layer, ModelError> {
    let name = |part: &str| format!("blk.{index}.{part}");
    let (hidden, head, ffn) = (config.hidden, config.head, config.feed_forward);
    let (query, kv) = (config.query_width(), config.kv_width());
    let fused = config.family == Family::Phi3;
    let qkv = if fused {
        Qkv::Fused(source.linear(compute, &name("attn_qkv"), query + 2 * kv, hidden)?)
    } else {
        Qkv::Separate {
            query: source.linear(compute, &name("attn_q"), query, hidden)?,
            key: source.linear(compute, &name("attn_k"), kv, hidden)?,
            value: source.linear(compute, &name("attn_v"), kv, hidden)?,
        }
    };
    let gate = if fused {
        Gated::Fused(source.linear(compute, &name("ffn_up"), 2 * ffn, hidden)?)
    } else {
        Gated::Separate {
            gate: source.linear(compute, &name("ffn_gate"), ffn, hidden)?,
            up: source.linear(compute, &name("ffn_up"), ffn, hidden)?,
        }
    };
    let slides = config.sliding.as_ref().filter(|sliding| index % sliding.period + 1 < sliding.period);
    let normed = matches!(config.family, Family::Qwen3 | Family::Gemma3);
    let gemma = config.family == Family::Gemma3;
    let required = |norm: Option<Norm>, part: &str, wanted: bool| match norm {
        None if wanted => Err(ModelError::Missing(format!("the tensor {:?}", name(part)))),
        norm => Ok(norm),
    };
    let optional = |part: &str, length: usize, wanted: bool| {
        let norm = if wanted { source.optional_norm(&name(part), length)? } else { None };
        required(norm, part, wanted)
    };
    Ok(Layer {
        attention_norm: source.norm(&name("attn_norm.weight"), hidden)?,
        qkv,
        query_norm: optional("attn_q_norm.weight", head, normed)?,
        key_norm: optional("attn_k_norm.weight", head, normed)?,
        attention_output: source.linear(compute, &name("attn_output"), hidden, query)?,
        attention_post_norm: optional("post_attention_norm.weight", hidden, gemma)?,
        ffn_norm: source.norm(&name("ffn_norm.weight"), hidden)?,
        gate,
        down: source.linear(compute, &name("ffn_down"), hidden, ffn)?,
        ffn_post_norm: optional("post_ffw_norm.weight", hidden, gemma)?,
        window: slides.map(|sliding| sliding.window),
        rope: usize::from(slides.is_some()),
    })
}

/// The rotations: of all layers, and of sliding layers where there are some.
fn ropes(source: &Source, config: &Config, context: usize) -> Result<Vec<RopeTable>, ModelError> {
    let rope = &config.rope;
    let long = rope.original_context.is_some_and(|original| context > original);
    let name = match config.family {
        Family::Phi3 if long => "rope_factors_long.weight",
        Family::Phi3 => "rope_factors_short.weight",
        _ => "rope_freqs.weight",
    };
    let factors = source.optional_vector(name, rope.dimensions / 2)?;
    let positions = context.min(config.context);
    let table = |base: f32, stretch: f32, factors: Option<&[f32]>| -> Result<RopeTable, ModelError> {
        let table = RopeTable::new(rope.dimensions, base, 1.0 / stretch, factors, positions)?;
        Ok(table.with_magnitude(rope.magnitude))
    };
    let mut ropes = vec![table(rope.base, rope.stretch, factors.as_deref())?];
    if let Some(sliding) = &config.sliding {
        ropes.push(table(sliding.base, 1.0, None)?);
    }
    Ok(ropes)
}
