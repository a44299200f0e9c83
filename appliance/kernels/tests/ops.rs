//! Norms, rotary positions, gates and softmax against their definitions in double precision.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use cairn_kernels::synthetic::Random;
use cairn_kernels::{Activations, Gate, KernelError, RopeStyle, RopeTable};
use common::*;

fn assert_near(found: &[f32], wanted: impl IntoIterator<Item = f64>, tolerance: f64, what: &str) {
    let wanted: Vec<f64> = wanted.into_iter().collect();
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs();
        assert!(error <= tolerance * (1.0 + wanted.abs()), "{what}: value {i} is {found}, wanted {wanted}");
    }
}

#[test]
fn norms() {
    for (cols, rows) in [(1, 1), (17, 3), (64, 2), (960, 40)] {
        let mut random = Random::new(2);
        let (x, weight, bias) = (random.units(cols * rows), random.units(cols), random.units(cols));
        let rows_of = |f: &dyn Fn(&[f32]) -> Vec<f64>| x.chunks(cols).flat_map(f).collect::<Vec<f64>>();
        let wide = |x: &f32| f64::from(*x);
        let rms = rows_of(&|row| {
            let mean = row.iter().map(|x| wide(x).powi(2)).sum::<f64>() / cols as f64;
            row.iter().zip(&weight).map(|(x, w)| wide(x) / (mean + 1e-5).sqrt() * wide(w)).collect()
        });
        let layer = rows_of(&|row| {
            let mean = row.iter().map(wide).sum::<f64>() / cols as f64;
            let variance = row.iter().map(|x| (wide(x) - mean).powi(2)).sum::<f64>() / cols as f64;
            let scaled = |(x, (w, b)): (&f32, (&f32, &f32))| {
                (wide(x) - mean) / (variance + 1e-5).sqrt() * wide(w) + wide(b)
            };
            row.iter().zip(weight.iter().zip(&bias)).map(scaled).collect()
        });
        for compute in computes(2) {
            let what = format!("{} {rows}×{cols}", compute.isa());
            let mut out = vec![0.0; x.len()];
            compute.rms_norm(&x, &weight, 1e-5, &mut out).unwrap();
            assert_near(&out, rms.clone(), 3e-6, &what);
            let mut in_place = x.clone();
            compute.rms_norm_in_place(&mut in_place, &weight, 1e-5).unwrap();
            assert_eq!(in_place, out, "{what}");
            compute.layer_norm(&x, &weight, &bias, 1e-5, &mut out).unwrap();
            assert_near(&out, layer.clone(), 3e-6, &what);
            assert!(matches!(
                compute.layer_norm(&x, &weight, &bias[1..], 1e-5, &mut out),
                Err(KernelError::Shape { .. })
            ));
        }
    }
}

#[test]
fn norm_and_quantization_in_one_are_the_two_after_each_other() {
    let (cols, rows) = (96, 11);
    let (x, weight) = (Random::new(1).units(cols * rows), Random::new(2).units(cols));
    for compute in computes(2) {
        let mut normed = vec![0.0; x.len()];
        compute.rms_norm(&x, &weight, 1e-6, &mut normed).unwrap();
        let mut at_once = Activations::new();
        compute.rms_norm_quantize(&x, &weight, 1e-6, rows, &mut at_once).unwrap();
        assert_eq!(seen(&at_once), seen(&quantize(&compute, &normed, rows)), "{}", compute.isa());
    }
}

#[test]
fn gates_gelu_softmax_and_cap() {
    let (cols, rows) = (77, 5);
    let x: Vec<f32> = Random::new(1).units(cols * rows).iter().map(|x| x * 12.0).collect();
    let up = Random::new(2).units(cols * rows);
    let wide = |x: &f32| f64::from(*x);
    for compute in computes(2) {
        let what = compute.isa().name();
        let mut out = x.clone();
        compute.gate(Gate::Silu, &mut out, &up, cols).unwrap();
        assert_near(
            &out,
            x.iter().zip(&up).map(|(x, u)| wide(x) / (1.0 + (-wide(x)).exp()) * wide(u)),
            2e-6,
            what,
        );
        let mut out = x.clone();
        compute.gelu(&mut out, cols).unwrap();
        let tanh_form = |x: f64| 0.5 * x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh());
        // The two forms of GELU differ by up to 5e-4; each must be near the other and exact at the ends.
        assert_near(&out, x.iter().map(|x| tanh_form(wide(x))), 6e-4, what);
        let mut out = x.clone();
        compute.softmax(&mut out, cols).unwrap();
        let wanted = x.chunks(cols).flat_map(|row| {
            let total: f64 = row.iter().map(|x| wide(x).exp()).sum();
            row.iter().map(move |x| wide(x).exp() / total).collect::<Vec<_>>()
        });
        assert_near(&out, wanted, 1e-6, what);
        let mut out = x.clone();
        compute.soft_cap(&mut out, 5.0).unwrap();
        assert_near(&out, x.iter().map(|x| 5.0 * (wide(x) / 5.0).tanh()), 2e-6, what);
    }
}

#[test]
fn rotary_positions() {
    let (heads, dim, positions) = (3, 64, [0u32, 1, 7, 500]);
    let x = Random::new(4).units(positions.len() * heads * dim);
    let factors: Vec<f32> = (0..24).map(|i| 1.0 + i as f32 / 8.0).collect();
    // The rotary part is 48 of 64 dimensions, so that a part of each head stays as it is.
    let table = RopeTable::new(48, 10_000.0, 0.5, Some(&factors), 501).unwrap();
    for style in [RopeStyle::Interleaved, RopeStyle::Neox] {
        let mut wanted: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
        for (row, position) in positions.iter().enumerate() {
            for head in 0..heads {
                let head = &mut wanted[(row * heads + head) * dim..][..dim];
                for (i, factor) in factors.iter().enumerate() {
                    let angle = f64::from(*position) * 0.5 * 10_000f64.powf(-2.0 * i as f64 / 48.0)
                        / f64::from(*factor);
                    let (a, b) = if style == RopeStyle::Neox { (i, i + 24) } else { (2 * i, 2 * i + 1) };
                    let (first, second) = (head[a], head[b]);
                    head[a] = first * angle.cos() - second * angle.sin();
                    head[b] = first * angle.sin() + second * angle.cos();
                }
            }
        }
        for compute in computes(2) {
            let mut out = x.clone();
            compute.rope(&mut out, dim, &positions, &table, style).unwrap();
            assert_near(&out, wanted.clone(), 1e-6, &format!("{} {style:?}", compute.isa()));
            let past = compute.rope(&mut out, dim, &[0, 1, 2, 501], &table, style);
            assert!(matches!(past, Err(KernelError::OutOfRange { index: 501, .. })));
            assert!(matches!(
                compute.rope(&mut out, 32, &positions, &table, style),
                Err(KernelError::Shape { .. })
            ));
        }
    }
    assert!(RopeTable::new(47, 1e4, 1.0, None, 10).is_err());
    assert!(RopeTable::new(48, 1e4, 1.0, Some(&[1.0]), 10).is_err());
    assert!(RopeTable::new(512, 1e4, 1.0, None, 10).is_err());
}
