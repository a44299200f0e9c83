//! Our loop against the models of `candle-transformers`, where those follow the original models.

use cairn_inference::{
    Family,
    gguf::TensorType,
    probe::Probe,
    stock::{self, Stock},
    synthetic::{self, Shape},
};

/// How far a logit may be off, in standard deviations. Both use the same products; caches (ours keeps halves) and sums differ,
/// and products that round activations to 8 bits pass every difference on.
const EXACT: f32 = 0.02;
const ROUNDED: f32 = 0.3;

fn compare(shape: &Shape, quantization: TensorType) {
    let tolerance = if quantization == TensorType::F16 { EXACT } else { ROUNDED };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    synthetic::write_random(&path, shape, quantization, 11).unwrap();
    let mut ours = Probe::open(&path, 512).unwrap();
    let mut reference = Stock::open(&path).unwrap();
    let prompt: Vec<u32> = (0..40).map(|index| 10 + index * 29 % 500).collect();
    let mut session = ours.session().unwrap();
    for tokens in [&prompt[..30], &prompt[30..31], &prompt[31..32]] {
        let ours = ours.read(&mut session, tokens).unwrap();
        let stock = reference.read(tokens).unwrap();
        let apart = stock::apart(ours, &stock);
        assert!(apart < tolerance, "{:?} {quantization:?}: {apart}", shape.family);
    }
}

#[test]
fn llama_equals_stock() {
    // Stock does not know Llama 3's frequency factors.
    let mut shape = Shape::small(Family::Llama);
    shape.frequency_factors = false;
    compare(&shape, TensorType::F16);
    compare(&shape, TensorType::Q8_0);
    compare(&shape, TensorType::Q4K);
}

#[test]
fn qwen2_equals_stock() {
    compare(&Shape::small(Family::Qwen2), TensorType::F16);
    compare(&Shape::small(Family::Qwen2), TensorType::Q8_0);
}

#[test]
fn qwen3_equals_stock() {
    compare(&Shape::small(Family::Qwen3), TensorType::F16);
    compare(&Shape::small(Family::Qwen3), TensorType::Q8_0);
}

#[test]
fn phi3_equals_stock() {
    compare(&Shape::small(Family::Phi3), TensorType::F16);
    compare(&Shape::small(Family::Phi3), TensorType::Q8_0);
}
