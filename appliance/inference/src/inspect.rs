//! What a model file says about itself, from its header alone.

use std::{collections::BTreeMap, fs::Metadata, os::unix::fs::MetadataExt, path::Path, time::SystemTime};

use crate::{
    error::ModelError,
    gguf::{self, Gguf, TensorType},
    types::{Family, ModelInfo, ModelState},
};

/// Context that the memory estimate of a model counts with, tokens.
const ESTIMATED_CONTEXT: u64 = 4096;
/// Memory for activations, tokenizer and everything else beside weights and cache, bytes.
const ESTIMATED_OVERHEAD: u64 = 48 << 20;

/// What tells a file from one that stood in its place before: when it was written, and which one it is (its inode), because two can be written
/// in one tick of the kernel's clock and exchanged afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    modified: SystemTime,
    inode: u64,
}

impl Stamp {
    /// `None` where the file system tells no times.
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        Some(Self { modified: metadata.modified().ok()?, inode: metadata.ino() })
    }
}

/// Reads a model file's header and says what it is; refuses what cannot be run. Costs no memory beyond the header.
///
/// # Errors
/// [`ModelError`] for files that are damaged, hostile or of no supported family.
pub fn inspect(path: &Path) -> Result<ModelInfo, ModelError> {
    let header = gguf::read_file(path)?;
    describe(path, &header)
}

/// The same from a header that was read already.
pub(crate) fn describe(path: &Path, header: &Gguf) -> Result<ModelInfo, ModelError> {
    let architecture = header
        .text("general.architecture")
        .ok_or_else(|| ModelError::Missing("its architecture (general.architecture)".into()))?;
    let family = Family::from_architecture(architecture)
        .ok_or_else(|| ModelError::Architecture(architecture.chars().take(64).collect()))?;
    let context = header.int(&format!("{architecture}.context_length")).unwrap_or(0);
    let context = u32::try_from(context).unwrap_or(0);
    let weights: u64 = header.tensors.values().map(|tensor| tensor.bytes).sum();
    Ok(ModelInfo {
        name: name_of(path),
        title: header.text("general.name").map(|title| title.chars().take(128).collect()),
        path: path.to_owned(),
        family: Some(family),
        quantization: quantization(header).name().to_owned(),
        parameters: header.tensors.values().map(gguf::TensorInfo::elements).sum(),
        context,
        file_bytes: header.file_bytes,
        memory_bytes: weights + cache_bytes(header, architecture, context.into()) + ESTIMATED_OVERHEAD,
        state: ModelState::Available,
    })
}

/// A model's name: its file's name without the extension.
pub(crate) fn name_of(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The type that most weights have.
fn quantization(header: &Gguf) -> TensorType {
    let mut elements: BTreeMap<TensorType, u64> = BTreeMap::new();
    for tensor in header.tensors.values().filter(|tensor| tensor.dims.len() > 1) {
        *elements.entry(tensor.kind).or_default() += tensor.elements();
    }
    elements.into_iter().max_by_key(|(_, count)| *count).map_or(TensorType::F32, |(kind, _)| kind)
}

/// Size of the key and value cache for one conversation of usual length, bytes.
fn cache_bytes(header: &Gguf, architecture: &str, context: u64) -> u64 {
    let get = |key: &str| {
        let value = header.int(&format!("{architecture}.{key}")).unwrap_or(0);
        u64::try_from(value).unwrap_or(0).min(1 << 20)
    };
    let heads = get("attention.head_count").max(1);
    let kv_heads = get("attention.head_count_kv").max(1);
    let head = match get("attention.key_length") {
        0 => get("embedding_length") / heads,
        length => length,
    };
    let per_token = get("block_count").saturating_mul(2 * 2).saturating_mul(kv_heads).saturating_mul(head);
    per_token.saturating_mul(context.min(ESTIMATED_CONTEXT))
}
