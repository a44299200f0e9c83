//! Generating models made on the spot, because none is shipped: one that quotes its prompt, and one whose weights mean
//! nothing but cost what a real model's do.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cairn_inference::{
    Family,
    gguf::TensorType,
    synthetic::{self, Shape},
};

/// A small model that quotes this passage when its prompt shows it: see [`synthetic::write_quoting`].
///
/// # Errors
/// When the file cannot be written.
pub fn quoting(folder: &Path, passage: &str) -> Result<PathBuf> {
    let path = folder.join("quoting.gguf");
    synthetic::write_quoting(&path, passage)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}

/// A model that writes words without meaning, slowly enough that something can happen in the middle of its answer.
///
/// # Errors
/// As [`quoting`].
pub fn rambling(folder: &Path) -> Result<PathBuf> {
    let mut shape = Shape::small(Family::Llama);
    (shape.name, shape.layers, shape.hidden, shape.feed_forward) = ("rambling", 8, 1024, 2816);
    (shape.heads, shape.kv_heads, shape.context) = (16, 16, 4096);
    // Hardly more than the tokens that are text, so that what it writes can be seen.
    shape.vocabulary = 704;
    random(folder, &shape)
}

/// Weights without meaning in the shape of SmolLM2-360M, 4 bits: what an answer of such a model costs.
///
/// # Errors
/// As [`quoting`].
pub fn as_large_as_smollm2(folder: &Path) -> Result<PathBuf> {
    random(folder, &Shape::SMOLLM2_360M)
}

fn random(folder: &Path, shape: &Shape) -> Result<PathBuf> {
    let path = folder.join(format!("{}.gguf", shape.name.to_lowercase()));
    synthetic::write_random(&path, shape, TensorType::Q4_0, 1)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    Ok(path)
}
