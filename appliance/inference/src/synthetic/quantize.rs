//! Blocks of quantized weights: random ones, made directly in their packed form, and Q8_0 from floats.

use half::f16;

use crate::{gguf::TensorType, sample::SplitMix};

/// Appends one block of random weights with mean (about) zero and this standard deviation.
pub(super) fn random_block(kind: TensorType, deviation: f32, random: &mut SplitMix, out: &mut Vec<u8>) {
    // The standard deviation of the integers in a block, by which the scale is divided.
    let scale = |integers: f32| f16::from_f32(deviation / integers).to_le_bytes();
    match kind {
        TensorType::F32 => out.extend((random.gaussian() * deviation).to_le_bytes()),
        TensorType::F16 => out.extend(f16::from_f32(random.gaussian() * deviation).to_le_bytes()),
        TensorType::Bf16 => out.extend(half::bf16::from_f32(random.gaussian() * deviation).to_le_bytes()),
        TensorType::Q4_0 => {
            out.extend(scale(4.61));
            random.fill(16, out);
        }
        TensorType::Q4_1 => {
            out.extend(scale(4.61));
            out.extend(f16::from_f32(-7.5 * deviation / 4.61).to_le_bytes());
            random.fill(16, out);
        }
        TensorType::Q5_0 => {
            out.extend(scale(9.23));
            random.fill(20, out);
        }
        TensorType::Q5_1 => {
            out.extend(scale(9.23));
            out.extend(f16::from_f32(-15.5 * deviation / 9.23).to_le_bytes());
            random.fill(20, out);
        }
        TensorType::Q8_0 => {
            out.extend(scale(73.9));
            random.fill(32, out);
        }
        TensorType::Q2K => {
            random.fill(80, out);
            out.extend(scale(13.6));
            out.extend(f16::from_f32(1.5 * deviation / 13.6).to_le_bytes());
        }
        TensorType::Q3K => {
            random.fill(108, out);
            out.extend(scale(42.0));
        }
        TensorType::Q4K => {
            out.extend(scale(258.0));
            out.extend(f16::from_f32(7.5 * deviation / 258.0).to_le_bytes());
            random.fill(140, out);
        }
        TensorType::Q5K => {
            out.extend(scale(527.0));
            out.extend(f16::from_f32(15.5 * deviation / 527.0).to_le_bytes());
            random.fill(172, out);
        }
        TensorType::Q6K => {
            random.fill(208, out);
            out.extend(scale(1366.0));
        }
    }
}

/// Q8_0 of a row of floats whose length is a multiple of 32.
pub(super) fn q8_0(row: &[f32], out: &mut Vec<u8>) {
    for block in row.chunks_exact(32) {
        let greatest = block.iter().fold(0.0_f32, |greatest, value| greatest.max(value.abs()));
        let scale = f16::from_f32(greatest / 127.0);
        let inverse = if greatest > 0.0 { 1.0 / scale.to_f32() } else { 0.0 };
        out.extend(scale.to_le_bytes());
        out.extend(block.iter().flat_map(|value| ((value * inverse).round() as i8).to_le_bytes()));
    }
}
