//! Model files made here: for tests, where weights need not mean anything, and for benchmarks, where they cost the same.
//!
//! [`write_random`] makes any family in any quantization with random weights, a valid tokenizer and a chat template;
//! other engines load these files too. [`write_copying`] makes a small model that quotes from its prompt,
//! [`write_quoting`] one that is certain to quote the passages of its prompt.

mod copying;
mod quantize;
mod shapes;
mod vocabulary;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

pub use copying::{write_copying, write_copying_with_ballast, write_quoting};
pub use shapes::Shape;

use crate::{
    gguf::{
        TensorType,
        write::{Tensor, Value, Writer},
    },
    sample::SplitMix,
    types::Family,
};

/// Bytes of random weights that are made at a time.
const CHUNK_BLOCKS: u64 = 4096;

/// What a tensor is filled with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fill {
    /// Random with this standard deviation.
    Random(f32),
    /// Around one, as norms' scales are.
    AroundOne,
    /// Llama 3's frequency factors.
    Frequencies,
}

struct Planned {
    tensor: Tensor,
    kind: TensorType,
    fill: Fill,
}

/// Writes a model with random weights. The same shape, quantization and seed give the same file.
///
/// # Errors
/// What the file system says.
pub fn write_random(path: &Path, shape: &Shape, quantization: TensorType, seed: u64) -> io::Result<()> {
    let plan = plan(shape, quantization);
    let table: Vec<Tensor> = plan.iter().map(|planned| planned.tensor.clone()).collect();
    let out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut writer = Writer::new(out, &metadata(shape, ""), &table)?;
    let mut random = SplitMix::new(seed);
    let mut bytes = Vec::new();
    for planned in &plan {
        let elements: u64 = planned.tensor.dims.iter().product();
        let blocks = elements / planned.kind.block_elements();
        let mut done = 0;
        while done < blocks {
            let count = CHUNK_BLOCKS.min(blocks - done);
            bytes.clear();
            match planned.fill {
                Fill::Random(deviation) => {
                    for _ in 0..count {
                        quantize::random_block(planned.kind, deviation, &mut random, &mut bytes);
                    }
                }
                Fill::AroundOne => {
                    for _ in 0..count {
                        bytes.extend((1.0 + 0.1 * random.gaussian()).to_le_bytes());
                    }
                }
                Fill::Frequencies => {
                    for pair in done..done + count {
                        let factor = if pair * 2 < blocks { 1.0_f32 } else { 8.0 };
                        bytes.extend(factor.to_le_bytes());
                    }
                }
            }
            writer.data(&bytes)?;
            done += count;
        }
        writer.end_tensor()?;
    }
    finish(writer)
}

fn finish(writer: Writer<BufWriter<File>>) -> io::Result<()> {
    let mut out = writer.finish()?;
    out.flush()?;
    out.get_ref().sync_all()
}

/// The quantization of a matrix whose rows have this many elements: where the wanted one does not divide them, the one
/// that llama.cpp's tool takes instead.
fn fitting(quantization: TensorType, columns: u64) -> TensorType {
    if columns.is_multiple_of(quantization.block_elements()) {
        return quantization;
    }
    match quantization {
        TensorType::Q4K => TensorType::Q5_0,
        TensorType::Q5K => TensorType::Q5_1,
        _ => TensorType::Q8_0,
    }
}

fn plan(shape: &Shape, quantization: TensorType) -> Vec<Planned> {
    let mut plan = Vec::new();
    let mut add = |name: String, dims: &[usize], kind: TensorType, fill: Fill| {
        let dims: Vec<u64> = dims.iter().map(|dim| *dim as u64).collect();
        let bytes = dims.iter().product::<u64>() / kind.block_elements() * kind.block_bytes();
        plan.push(Planned { tensor: Tensor { name, dims, kind: kind.number(), bytes }, kind, fill });
    };
    let matrix =
        |columns: usize| (fitting(quantization, columns as u64), Fill::Random(1.0 / (columns as f32).sqrt()));
    let (hidden, ffn) = (shape.hidden, shape.feed_forward);
    let (query, kv) = (shape.heads * shape.head, shape.kv_heads * shape.head);
    // As llama.cpp's tool does: what is both embedding and output keeps more bits.
    let embedding = match quantization {
        TensorType::Q4_0 | TensorType::Q4K | TensorType::Q5K => fitting(TensorType::Q6K, hidden as u64),
        other => fitting(other, hidden as u64),
    };
    add("token_embd.weight".into(), &[hidden, shape.vocabulary], embedding, Fill::Random(0.05));
    if !shape.tied {
        add("output.weight".into(), &[hidden, shape.vocabulary], embedding, Fill::Random(0.05));
    }
    add("output_norm.weight".into(), &[hidden], TensorType::F32, Fill::AroundOne);
    if shape.frequency_factors {
        add("rope_freqs.weight".into(), &[shape.head / 2], TensorType::F32, Fill::Frequencies);
    }
    for layer in 0..shape.layers {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let mut linear = |part: &str, columns: usize, rows: usize| {
            let (kind, fill) = matrix(columns);
            add(name(&format!("{part}.weight")), &[columns, rows], kind, fill);
        };
        if shape.family == Family::Phi3 {
            linear("attn_qkv", hidden, query + 2 * kv);
            linear("ffn_up", hidden, 2 * ffn);
        } else {
            linear("attn_q", hidden, query);
            linear("attn_k", hidden, kv);
            linear("attn_v", hidden, kv);
            linear("ffn_gate", hidden, ffn);
            linear("ffn_up", hidden, ffn);
        }
        linear("attn_output", query, hidden);
        linear("ffn_down", ffn, hidden);
        let mut vector = |part: &str, length: usize, fill: Fill| {
            add(name(part), &[length], TensorType::F32, fill);
        };
        vector("attn_norm.weight", hidden, Fill::AroundOne);
        vector("ffn_norm.weight", hidden, Fill::AroundOne);
        if shape.family == Family::Qwen2 {
            for (part, length) in [("attn_q.bias", query), ("attn_k.bias", kv), ("attn_v.bias", kv)] {
                vector(part, length, Fill::Random(0.2));
            }
        }
        if matches!(shape.family, Family::Qwen3 | Family::Gemma3) {
            vector("attn_q_norm.weight", shape.head, Fill::AroundOne);
            vector("attn_k_norm.weight", shape.head, Fill::AroundOne);
        }
        if shape.family == Family::Gemma3 {
            vector("post_attention_norm.weight", hidden, Fill::AroundOne);
            vector("post_ffw_norm.weight", hidden, Fill::AroundOne);
        }
    }
    plan
}

fn metadata(shape: &Shape, whole: &str) -> Vec<(String, Value)> {
    let number = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
    let architecture = shape.family.architecture();
    let mut entries: Vec<(String, Value)> = vec![
        ("general.architecture".into(), Value::Text(architecture.into())),
        ("general.name".into(), Value::Text(format!("{} with made-up weights", shape.name))),
    ];
    let own = [
        ("block_count", number(shape.layers)),
        ("context_length", number(shape.context)),
        ("embedding_length", number(shape.hidden)),
        ("feed_forward_length", number(shape.feed_forward)),
        ("attention.head_count", number(shape.heads)),
        ("attention.head_count_kv", number(shape.kv_heads)),
        ("attention.key_length", number(shape.head)),
        ("attention.value_length", number(shape.head)),
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
        ("rope.dimension_count", number(shape.head)),
        ("rope.freq_base", Value::F32(shape.rope_base)),
        ("vocab_size", number(shape.vocabulary)),
    ];
    entries.extend(own.into_iter().map(|(key, value)| (format!("{architecture}.{key}"), value)));
    if let Some(window) = shape.window {
        entries.push((format!("{architecture}.attention.sliding_window"), number(window)));
    }
    if shape.family == Family::Phi3 {
        let original = format!("{architecture}.rope.scaling.original_context_length");
        entries.push((original, number(shape.context)));
    }
    entries.extend(vocabulary::metadata(shape, whole));
    entries
}

#[cfg(test)]
mod tests;
