//! What the integration tests share: references in double precision, and one `Compute` per kernel path.
#![allow(dead_code, reason = "each test file uses a part of this")]

use cairn_kernels::{
    Activations, Compute, Format, Isa, PackedMatrix, PoolOptions, Product, RawTensor, Write,
};

/// One [`Compute`] for every kernel path of this processor.
pub(crate) fn computes(threads: usize) -> Vec<Compute> {
    Isa::available()
        .into_iter()
        .map(|isa| Compute::with_isa(PoolOptions { threads, pinned: false }, isa).unwrap())
        .collect()
}

/// The values of a raw matrix, row after row.
pub(crate) fn values(raw: &RawTensor<'_>) -> Vec<f32> {
    let mut out = vec![0.0; raw.rows() * raw.cols()];
    for (row, out) in out.chunks_exact_mut(raw.cols()).enumerate() {
        raw.dequantize_row(row, out).unwrap();
    }
    out
}

/// The product of quantized activations with one matrix.
pub(crate) fn multiply(compute: &Compute, activations: &Activations, matrix: &PackedMatrix) -> Vec<f32> {
    let mut out = vec![f32::NAN; activations.rows() * matrix.rows()];
    let product = Product { matrix, bias: None, write: Write::Store, out: &mut out };
    compute.multiply(activations, &mut [product]).unwrap();
    out
}

/// Quantized activations.
pub(crate) fn quantize(compute: &Compute, x: &[f32], rows: usize) -> Activations {
    let mut activations = Activations::new();
    compute.quantize(x, rows, x.len() / rows, &mut activations).unwrap();
    activations
}

/// The activations as the kernels see them: code × scale.
pub(crate) fn seen(activations: &Activations) -> Vec<f32> {
    let mut out = vec![0.0; activations.rows() * activations.cols()];
    for (row, out) in out.chunks_exact_mut(activations.cols()).enumerate() {
        activations.dequantize_row(row, out).unwrap();
    }
    out
}

/// Each `rows(a) · rows(b)` in double precision, and the size of what was added up, which the tolerance is relative to.
pub(crate) fn reference(a: &[f32], b: &[f32], cols: usize) -> Vec<(f64, f64)> {
    a.chunks_exact(cols)
        .flat_map(|a| {
            b.chunks_exact(cols).map(move |b| {
                let largest = b.iter().fold(0f64, |m, b| m.max(f64::from(b.abs())));
                let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
                (
                    pairs().map(|(a, b)| a * b).sum::<f64>(),
                    pairs().map(|(a, _)| a.abs() * largest).sum::<f64>(),
                )
            })
        })
        .collect()
}

/// Fails unless every result is within `tolerance` × size of the reference.
pub(crate) fn assert_close(found: &[f32], wanted: &[(f64, f64)], tolerance: f64, what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (found, (wanted, size))) in found.iter().zip(wanted).enumerate() {
        let error = (f64::from(*found) - wanted).abs();
        assert!(
            error <= tolerance * size + 1e-30,
            "{what}: value {i} is {found}, wanted {wanted}, allowed error {}",
            tolerance * size
        );
    }
}

/// Columns of `blocks` blocks of a format, at least one run.
pub(crate) fn columns(format: Format, blocks: usize) -> usize {
    format.block_values().max(32) * blocks
}
