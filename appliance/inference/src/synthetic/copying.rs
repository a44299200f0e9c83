//! A model whose answers quote its prompt: two layers of attention set by hand.
//!
//! The first layer's two heads copy, by position, what the token before and the one before that were. The second layer
//! looks for an earlier place whose two tokens before it are the current ones and copies the token that stands there
//! (an induction head; Olsson et al., 2022). Where nothing fits both tokens, what fits one decides. So the model goes on
//! as the prompt went on after the same words, and ends its turn where the prompt's turn ended.

use std::{
    fs::File,
    io::{self, BufWriter},
    path::Path,
};

use super::{Shape, finish, quantize, vocabulary::CHATML_BEHIND_A_BRACKET};
use crate::{
    gguf::{
        TensorType,
        write::{Tensor, Value, Writer},
    },
    sample::SplitMix,
};

/// Numbers that stand for a token: random signs, so that those of different tokens are nearly at right angles.
const CODE: usize = 128;
/// Where the codes lie in the residual stream: this token, the one before, the one before that, the prediction.
const CURRENT: usize = 0;
const BEFORE: usize = CODE;
const BEFORE_THAT: usize = 2 * CODE;
const PREDICTION: usize = 3 * CODE;
/// A component that is the same everywhere; attention by position is made from it.
const CONSTANT: usize = 4 * CODE;
const CONSTANT_VALUE: f32 = 8.0;
const HIDDEN: usize = 4 * CODE + 32;
/// Pairs of a head that turn with the position; the others do not turn.
const TURNING: usize = 32;
const HEAD: usize = 2 * TURNING + 2 * CODE;
const FEED_FORWARD: usize = 32;
/// Layers that are set by hand.
const LAYERS: usize = 2;
/// What makes the model as large as one of 360 million weights: layers, and the width of what is in them.
const BALLAST: (usize, usize) = (30, 5632);
/// Strength of a query by position, and of one by content.
const POSITION_GAIN: f32 = 20.0;
const CONTENT_GAIN: f32 = 2.0;
const PREDICTION_GAIN: f32 = 4.0;
/// A frequency factor this large keeps a pair from turning.
const STILL: f32 = 1e12;

/// Dense rows, set entry by entry.
struct Matrix {
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    fn zero(columns: usize, rows: usize) -> Self {
        Self { columns, values: vec![0.0; columns * rows] }
    }

    fn set(&mut self, row: usize, column: usize, value: f32) {
        if let Some(place) = self.values.get_mut(row * self.columns + column) {
            *place = value;
        }
    }

    /// Copies `count` inputs from `column` on to outputs from `row` on.
    fn copy(&mut self, row: usize, column: usize, count: usize, gain: f32) {
        (0..count).for_each(|index| self.set(row + index, column + index, gain));
    }
}

/// Writes the model: a Llama with a byte-level tokenizer and the ChatML template, Q8_0, about 3 MiB.
///
/// # Errors
/// What the file system says.
pub fn write_copying(path: &Path) -> io::Result<()> {
    write(path, "", None, (0, FEED_FORWARD))
}

/// As [`write_copying`], with layers behind that are read and computed like any other and add nothing, because their last products
/// are with zeros: a token costs what it costs a real model of 340 MiB.
///
/// # Errors
/// As [`write_copying`].
pub fn write_copying_with_ballast(path: &Path) -> io::Result<()> {
    write(path, "", None, BALLAST)
}

/// As [`write_copying`], but the words of `passage` are one token each and an answer goes on behind a closing bracket.
///
/// Where a prompt shows the passage as `(title) text`, with no other bracket and no two of the passage's neighbouring words
/// anywhere else, the model quotes the text from its first word on, whatever the rounding: one place fits best at every word.
///
/// # Errors
/// As [`write_copying`].
pub fn write_quoting(path: &Path, passage: &str) -> io::Result<()> {
    write(path, passage, Some(CHATML_BEHIND_A_BRACKET), (0, FEED_FORWARD))
}

fn write(
    path: &Path,
    whole: &str,
    template: Option<&str>,
    (ballast, feed_forward): (usize, usize),
) -> io::Result<()> {
    let shape = Shape {
        name: "copying",
        layers: LAYERS + ballast,
        hidden: HIDDEN,
        feed_forward,
        heads: 2,
        kv_heads: 2,
        head: HEAD,
        vocabulary: 1024,
        context: 4096,
        rope_base: 10_000.0,
        tied: false,
        frequency_factors: true,
        ..Shape::SMOLLM2_360M
    };
    let tensors = tensors(&shape);
    let table: Vec<Tensor> = tensors.iter().map(|(tensor, _)| tensor.clone()).collect();
    let mut metadata = super::metadata(&shape, whole);
    metadata.retain(|(key, _)| key != "general.name");
    if let Some(template) = template {
        metadata.retain(|(key, _)| key != "tokenizer.chat_template");
        metadata.push(("tokenizer.chat_template".into(), Value::Text(template.into())));
    }
    metadata.push(("general.name".into(), Value::Text("A model that quotes its prompt".into())));
    let out = BufWriter::new(File::create(path)?);
    let mut writer = Writer::new(out, &metadata, &table)?;
    for (_, bytes) in &tensors {
        writer.data(bytes)?;
        writer.end_tensor()?;
    }
    finish(writer)
}

fn tensors(shape: &Shape) -> Vec<(Tensor, Vec<u8>)> {
    let mut tensors = Vec::new();
    let mut add = |name: &str, matrix: &Matrix| {
        let mut bytes = Vec::new();
        quantize::q8_0(&matrix.values, &mut bytes);
        let dims = vec![matrix.columns as u64, (matrix.values.len() / matrix.columns) as u64];
        let (kind, length) = (TensorType::Q8_0.number(), bytes.len() as u64);
        tensors.push((Tensor { name: name.into(), dims, kind, bytes: length }, bytes));
    };
    let mut random = SplitMix::new(1);
    let (mut embedding, mut output) =
        (Matrix::zero(HIDDEN, shape.vocabulary), Matrix::zero(HIDDEN, shape.vocabulary));
    for token in 0..shape.vocabulary {
        for index in 0..CODE {
            let sign = if random.next() & 1 == 0 { 1.0 } else { -1.0 };
            embedding.set(token, CURRENT + index, sign);
            output.set(token, PREDICTION + index, sign);
        }
        embedding.set(token, CONSTANT, CONSTANT_VALUE);
    }
    add("token_embd.weight", &embedding);
    add("output.weight", &output);

    let width = 2 * HEAD;
    // What the norm leaves of a one: all tokens have codes of the same length.
    let norm =
        |codes: usize| (HIDDEN as f32 / ((codes * CODE) as f32 + CONSTANT_VALUE * CONSTANT_VALUE)).sqrt();
    for layer in 0..shape.layers {
        let (mut query, mut key, mut value) =
            (Matrix::zero(HIDDEN, width), Matrix::zero(HIDDEN, width), Matrix::zero(HIDDEN, width));
        let mut out = Matrix::zero(width, HIDDEN);
        if layer == 0 {
            let one = norm(1);
            let constant = POSITION_GAIN / (CONSTANT_VALUE * one);
            for (head, (distance, place)) in [(1.0, BEFORE), (2.0, BEFORE_THAT)].into_iter().enumerate() {
                let first = head * HEAD;
                for pair in 0..TURNING {
                    let angle = -distance * turn(pair);
                    query.set(first + 2 * pair, CONSTANT, constant * angle.cos());
                    query.set(first + 2 * pair + 1, CONSTANT, constant * angle.sin());
                    key.set(first + 2 * pair, CONSTANT, constant);
                }
                value.copy(first, CURRENT, CODE, 1.0 / one);
                out.copy(place, first, CODE, 1.0);
            }
        } else if layer < LAYERS {
            let one = norm(3);
            let gain = CONTENT_GAIN / one;
            let content = 2 * TURNING;
            query.copy(content, CURRENT, CODE, gain);
            query.copy(content + CODE, BEFORE, CODE, gain);
            key.copy(content, BEFORE, CODE, gain);
            key.copy(content + CODE, BEFORE_THAT, CODE, gain);
            value.copy(0, CURRENT, CODE, 1.0 / one);
            out.copy(PREDICTION, 0, CODE, PREDICTION_GAIN);
        }
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        add(&name("attn_q"), &query);
        add(&name("attn_k"), &key);
        add(&name("attn_v"), &value);
        add(&name("attn_output"), &out);
        add(&name("ffn_gate"), &Matrix::zero(HIDDEN, shape.feed_forward));
        add(&name("ffn_up"), &Matrix::zero(HIDDEN, shape.feed_forward));
        add(&name("ffn_down"), &Matrix::zero(shape.feed_forward, HIDDEN));
    }
    let mut vector = |name: String, values: Vec<f32>| {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dims = vec![values.len() as u64];
        let kind = TensorType::F32.number();
        tensors.push((Tensor { name, dims, kind, bytes: bytes.len() as u64 }, bytes));
    };
    vector("output_norm.weight".into(), vec![1.0; HIDDEN]);
    for layer in 0..shape.layers {
        for norm in ["attn_norm", "ffn_norm"] {
            vector(format!("blk.{layer}.{norm}.weight"), vec![1.0; HIDDEN]);
        }
    }
    let pairs = HEAD / 2;
    let factors = (0..pairs).map(|pair| {
        let usual = shape.rope_base.powf(-(2.0 * pair as f32) / HEAD as f32);
        if pair < TURNING { usual / turn(pair) } else { STILL }
    });
    vector("rope_freqs.weight".into(), factors.collect());
    tensors
}

/// How far a turning pair turns per position: from one radian down to a thousandth.
fn turn(pair: usize) -> f32 {
    0.001_f32.powf(pair as f32 / (TURNING - 1) as f32)
}
