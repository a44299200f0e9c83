//! Every kernel path against the reference: all formats, tails of rows, batches of every size, extreme values.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use cairn_kernels::synthetic::{Random, raw_tensor};
use cairn_kernels::{
    Activations, Compute, Format, Gate, Isa, KernelError, PackedMatrix, Pool, PoolOptions, Product,
    RawTensor, Write,
};
use common::*;
use proptest::prelude::*;

/// Single precision sums of up to some thousand terms, relative to the sum of sizes.
const TOLERANCE: f64 = 2e-6;

fn pool() -> Pool {
    Pool::new(PoolOptions { threads: 1, pinned: false }).unwrap()
}

fn check(compute: &Compute, format: Format, rows: usize, cols: usize, batch: usize, x: &[f32], seed: u64) {
    let bytes = raw_tensor(format, rows, cols, 0.05, &mut Random::new(seed));
    let raw = RawTensor::new(format, rows, cols, &bytes).unwrap();
    let matrix = PackedMatrix::pack(&pool(), &raw).unwrap();
    let activations = quantize(compute, x, batch);
    let found = multiply(compute, &activations, &matrix);
    let wanted = reference(&seen(&activations), &values(&raw), cols);
    let what = format!("{} {format} {rows}×{cols}, batch {batch}", compute.isa());
    assert_close(&found, &wanted, TOLERANCE, &what);
}

#[test]
fn products_agree_with_the_reference_at_every_tail() {
    for compute in computes(2) {
        for format in Format::QUANTIZED {
            for (rows, blocks, batch) in [
                (1, 1, 1),
                (15, 1, 2),
                (16, 3, 1),
                (17, 2, 3),
                (33, 1, 4),
                (48, 5, 5),
                (16, 1, 7),
                (31, 2, 8),
                (64, 1, 19),
            ] {
                let cols = columns(format, blocks);
                let x = Random::new(7).units(cols * batch);
                check(&compute, format, rows, cols, batch, &x, 11);
            }
        }
    }
}

#[test]
fn products_agree_at_the_shapes_of_real_models() {
    for compute in computes(2) {
        // Plain Rust and emulated processors take too long for whole matrices; some rows of the real width will do.
        for (format, cols) in [
            (Format::Q8_0, 960),
            (Format::Q5_0, 896),
            (Format::Q4_0, 2560),
            (Format::Q4K, 2048),
            (Format::Q6K, 4864),
        ] {
            let x = Random::new(3).units(cols * 3);
            check(&compute, format, 40, cols, 3, &x, 5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn products_agree_for_any_shape_and_size_of_values(
        which in 0usize..6, rows in 1usize..70, blocks in 1usize..4, batch in 1usize..20,
        exponent in -20i32..20, sparse in 0u64..4, seed: u64,
    ) {
        let format = Format::QUANTIZED[which];
        let cols = columns(format, blocks);
        let mut random = Random::new(seed);
        let x: Vec<f32> = (0..cols * batch)
            .map(|_| if random.bits() % 4 < sparse { 0.0 } else { random.unit() * 10f32.powi(exponent) })
            .collect();
        for compute in computes(2) {
            check(&compute, format, rows, cols, batch, &x, seed);
        }
    }
}

/// A block whose scales are small whole numbers and whose codes are mostly the largest and the smallest.
fn extreme_block(format: Format, random: &mut Random) -> Vec<u8> {
    let mut block = vec![0u8; format.block_bytes()];
    for byte in &mut block {
        *byte = match random.bits() % 4 {
            0 => 0x00,
            1 => 0xff,
            2 => 0x80,
            _ => random.bits() as u8,
        };
    }
    let one = [0x00, 0x3c];
    match format {
        Format::Q4K | Format::Q5K => {
            block[0..2].copy_from_slice(&one);
            block[2..4].copy_from_slice(&one);
            for byte in &mut block[4..12] {
                *byte &= 7;
            }
            for byte in &mut block[12..16] {
                *byte &= 0x77;
            }
        }
        Format::Q6K => {
            for byte in &mut block[192..208] {
                *byte = (*byte as i8 % 8) as u8;
            }
            block[208..210].copy_from_slice(&one);
        }
        _ => block[0..2].copy_from_slice(&one),
    }
    block
}

/// Whole scales, whole activations with scale 1 and sums below 2^24: single precision is exact, so every path must give the
/// very same whole numbers.
#[test]
fn integer_parts_are_exact_at_the_extremes() {
    for compute in computes(1) {
        for format in Format::QUANTIZED {
            let (rows, cols, batch) = (19, columns(format, 2).min(256), 11);
            let mut random = Random::new(0xe);
            let blocks = rows * cols / format.block_values();
            let bytes: Vec<u8> = (0..blocks).flat_map(|_| extreme_block(format, &mut random)).collect();
            let raw = RawTensor::new(format, rows, cols, &bytes).unwrap();
            let matrix = PackedMatrix::pack(&pool(), &raw).unwrap();
            let x: Vec<f32> = (0..cols * batch)
                .map(|i| match random.bits() % 5 {
                    _ if i % 32 == 0 => 127.0,
                    0 | 1 => 127.0,
                    2 | 3 => -127.0,
                    _ => (random.bits() % 255) as f32 - 127.0,
                })
                .collect();
            let activations = quantize(&compute, &x, batch);
            assert_eq!(seen(&activations), x, "whole numbers up to 127 are their own codes");
            let found = multiply(&compute, &activations, &matrix);
            for (found, (wanted, _)) in found.iter().zip(reference(&x, &values(&raw), cols)) {
                assert!(wanted.abs() < f64::from(1 << 24), "the test's own premise");
                assert_eq!(f64::from(*found), wanted, "{} {format}", compute.isa());
            }
        }
    }
}

#[test]
fn a_row_of_a_batch_is_bit_for_bit_the_row_alone_on_any_number_of_threads() {
    let (rows, batch) = (100, 13);
    for format in Format::QUANTIZED {
        let cols = columns(format, 2);
        let bytes = raw_tensor(format, rows, cols, 0.05, &mut Random::new(1));
        let raw = RawTensor::new(format, rows, cols, &bytes).unwrap();
        let x = Random::new(2).units(cols * batch);
        for (one, many) in computes(1).iter().zip(&computes(5)) {
            let matrix = PackedMatrix::pack(one.pool(), &raw).unwrap();
            let together = multiply(many, &quantize(many, &x, batch), &matrix);
            for (x, together) in x.chunks(cols).zip(together.chunks(rows)) {
                let alone = multiply(one, &quantize(one, x, 1), &matrix);
                assert_eq!(alone, together, "{} {format}", one.isa());
            }
        }
    }
}

#[test]
fn quantized_activations_are_within_half_a_step() {
    for compute in computes(1) {
        for factor in [1e-30f32, 1e-3, 1.0, 1e20] {
            let x: Vec<f32> = Random::new(9).units(32 * 5 * 11).iter().map(|v| v * factor).collect();
            let back = seen(&quantize(&compute, &x, 11));
            for (x, back) in x.chunks(32).zip(back.chunks(32)) {
                let step = x.iter().fold(0f32, |m, v| m.max(v.abs())) / 127.0;
                for (x, back) in x.iter().zip(back) {
                    assert!(
                        (x - back).abs() <= step * 0.5001,
                        "{}: {x} became {back}, step {step}",
                        compute.isa()
                    );
                }
            }
        }
    }
}

#[test]
fn values_that_are_not_finite_show_in_the_result_and_stay_in_their_row() {
    let (rows, cols) = (20, 64);
    let bytes = raw_tensor(Format::Q8_0, rows, cols, 0.05, &mut Random::new(4));
    let raw = RawTensor::new(Format::Q8_0, rows, cols, &bytes).unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for compute in computes(1) {
            let matrix = PackedMatrix::pack(compute.pool(), &raw).unwrap();
            let mut x = Random::new(5).units(cols * 3);
            x[cols + 7] = bad;
            let out = multiply(&compute, &quantize(&compute, &x, 3), &matrix);
            assert!(out[..rows].iter().chain(&out[2 * rows..]).all(|v| v.is_finite()), "{}", compute.isa());
            assert!(out[rows..2 * rows].iter().all(|v| v.is_nan()), "{} {bad}", compute.isa());
        }
    }
}

#[test]
fn zeros_and_the_smallest_numbers_give_zero_or_almost() {
    for compute in computes(1) {
        let x = [0.0f32, -0.0, f32::MIN_POSITIVE / 4.0, 1e-45].repeat(16);
        let bytes = raw_tensor(Format::Q4_0, 16, 64, 0.05, &mut Random::new(4));
        let matrix =
            PackedMatrix::pack(compute.pool(), &RawTensor::new(Format::Q4_0, 16, 64, &bytes).unwrap())
                .unwrap();
        let out = multiply(&compute, &quantize(&compute, &x, 1), &matrix);
        assert!(out.iter().all(|v| v.abs() < 1e-30), "{}: {out:?}", compute.isa());
    }
}

#[test]
fn several_matrices_with_bias_and_residual_share_one_call() {
    let (cols, batch) = (256, 6);
    let x = Random::new(1).units(cols * batch);
    let shapes = [(Format::Q4K, 48), (Format::Q6K, 16), (Format::Q8_0, 37)];
    let bytes: Vec<Vec<u8>> = shapes
        .iter()
        .map(|(f, rows)| raw_tensor(*f, *rows, cols, 0.05, &mut Random::new(*rows as u64)))
        .collect();
    for compute in computes(3) {
        let raws: Vec<_> =
            shapes.iter().zip(&bytes).map(|((f, r), b)| RawTensor::new(*f, *r, cols, b).unwrap()).collect();
        let matrices: Vec<_> =
            raws.iter().map(|raw| PackedMatrix::pack(compute.pool(), raw).unwrap()).collect();
        let activations = quantize(&compute, &x, batch);
        let bias: Vec<f32> = (0..48).map(|i| i as f32).collect();
        let mut outs: Vec<Vec<f32>> = shapes.iter().map(|(_, rows)| vec![0.5; rows * batch]).collect();
        let mut products: Vec<Product<'_>> = matrices
            .iter()
            .zip(&mut outs)
            .map(|(matrix, out)| Product { matrix, bias: None, write: Write::Store, out })
            .collect();
        products[0].bias = Some(&bias);
        products[2].write = Write::Add;
        compute.multiply(&activations, &mut products).unwrap();
        for (i, (matrix, out)) in matrices.iter().zip(&outs).enumerate() {
            let plain = multiply(&compute, &activations, matrix);
            for (j, (plain, out)) in plain.iter().zip(out).enumerate() {
                let wanted = match i {
                    0 => plain + bias[j % 48],
                    1 => *plain,
                    _ => 0.5 + plain,
                };
                assert_eq!(*out, wanted, "{} matrix {i} value {j}", compute.isa());
            }
        }
    }
}

#[test]
fn gated_products_apply_their_function() {
    let (rows, cols, batch) = (50, 256, 5);
    let x = Random::new(1).units(cols * batch);
    for format in Format::QUANTIZED {
        let bytes = [1, 2].map(|seed| raw_tensor(format, rows, cols, 0.3, &mut Random::new(seed)));
        for compute in computes(2) {
            let [gate, up] = [0, 1].map(|i| {
                PackedMatrix::pack(compute.pool(), &RawTensor::new(format, rows, cols, &bytes[i]).unwrap())
                    .unwrap()
            });
            let activations = quantize(&compute, &x, batch);
            let (gates, ups) =
                (multiply(&compute, &activations, &gate), multiply(&compute, &activations, &up));
            for function in [Gate::Silu, Gate::GeluTanh] {
                let mut out = vec![0.0; rows * batch];
                compute.multiply_gated(&activations, &gate, &up, function, &mut out).unwrap();
                for ((gate, up), out) in gates.iter().zip(&ups).zip(&out) {
                    let g = f64::from(*gate);
                    let wanted = f64::from(*up)
                        * match function {
                            Gate::Silu => g / (1.0 + (-g).exp()),
                            Gate::GeluTanh => {
                                0.5 * g
                                    * (1.0
                                        + ((2.0 / std::f64::consts::PI).sqrt() * (g + 0.044_715 * g.powi(3)))
                                            .tanh())
                            }
                        };
                    let error = (f64::from(*out) - wanted).abs();
                    assert!(
                        error <= 2e-6 * (f64::from(gate * up).abs() + 1e-3),
                        "{} {function:?}: {out} {wanted}",
                        compute.isa()
                    );
                }
            }
        }
    }
}

#[test]
fn dense_products_agree_with_the_reference() {
    for format in [Format::F32, Format::F16] {
        for (rows, cols, batch) in [(1, 1, 1), (17, 33, 3), (40, 384, 9)] {
            let bytes = raw_tensor(format, rows, cols, 0.1, &mut Random::new(6));
            let raw = RawTensor::new(format, rows, cols, &bytes).unwrap();
            let x = Random::new(8).units(cols * batch);
            let wanted = reference(&x, &values(&raw), cols);
            for compute in computes(2) {
                let matrix = PackedMatrix::pack(compute.pool(), &raw).unwrap();
                let mut out = vec![0.0; rows * batch];
                let product = Product { matrix: &matrix, bias: None, write: Write::Store, out: &mut out };
                compute.multiply_dense(&x, batch, &mut [product]).unwrap();
                assert_close(&out, &wanted, TOLERANCE, &format!("{} {format}", compute.isa()));
            }
        }
    }
}

#[test]
fn arguments_that_do_not_fit_are_typed_errors() {
    let compute = Compute::new(PoolOptions { threads: 1, pinned: false }).unwrap();
    let bytes = raw_tensor(Format::Q8_0, 16, 64, 0.1, &mut Random::new(1));
    let matrix =
        PackedMatrix::pack(compute.pool(), &RawTensor::new(Format::Q8_0, 16, 64, &bytes).unwrap()).unwrap();
    let narrow = quantize(&compute, &[1.0; 32], 1);
    let fitting = quantize(&compute, &[1.0; 64], 1);
    let mut out = [0.0; 16];
    let mut try_with = |activations: &Activations, bias: Option<&[f32]>, len: usize| {
        let product = Product { matrix: &matrix, bias, write: Write::Store, out: &mut out[..len] };
        compute.multiply(activations, &mut [product])
    };
    assert!(matches!(try_with(&narrow, None, 16), Err(KernelError::Shape { .. })));
    assert!(matches!(try_with(&fitting, None, 15), Err(KernelError::Shape { .. })));
    assert!(matches!(try_with(&fitting, Some(&[0.0; 3]), 16), Err(KernelError::Shape { .. })));
    assert!(matches!(try_with(&Activations::new(), None, 16), Err(KernelError::Shape { .. })));
    assert_eq!(try_with(&fitting, None, 16), Ok(()));
    let mut into = Activations::new();
    assert!(matches!(compute.quantize(&[0.0; 33], 1, 33, &mut into), Err(KernelError::Dimensions { .. })));
    assert!(matches!(compute.quantize(&[0.0; 64], 1, 32, &mut into), Err(KernelError::Shape { .. })));
    assert!(matches!(compute.quantize(&[], 0, 32, &mut into), Err(KernelError::Dimensions { .. })));
}

#[test]
fn activations_of_another_path_are_refused_where_their_panels_differ() {
    let computes = computes(1);
    let bytes = raw_tensor(Format::Q8_0, 16, 64, 0.1, &mut Random::new(1));
    let raw = RawTensor::new(Format::Q8_0, 16, 64, &bytes).unwrap();
    for a in &computes {
        for b in &computes {
            let matrix = PackedMatrix::pack(a.pool(), &raw).unwrap();
            let x = Random::new(1).units(64 * 9);
            let activations = quantize(a, &x, 9);
            let mut out = vec![0.0; 16 * 9];
            let product = Product { matrix: &matrix, bias: None, write: Write::Store, out: &mut out };
            // Either the panels are the same and so is the result, or it is an error.
            if b.multiply(&activations, &mut [product]).is_ok() {
                let wanted = reference(&seen(&activations), &values(&raw), 64);
                assert_close(&out, &wanted, TOLERANCE, &format!("{} → {}", a.isa(), b.isa()));
            } else {
                assert_ne!(a.isa(), b.isa());
            }
        }
    }
}

#[test]
fn the_path_can_be_chosen() {
    for isa in Isa::available() {
        assert_eq!(Compute::with_isa(PoolOptions { threads: 1, pinned: false }, isa).unwrap().isa(), isa);
    }
    let foreign = if cfg!(target_arch = "x86_64") { Isa::NeonDot } else { Isa::Avx512 };
    let refused = Compute::with_isa(PoolOptions::default(), foreign).err().unwrap();
    assert!(matches!(refused, KernelError::UnknownPath { .. }), "{refused}");
}
