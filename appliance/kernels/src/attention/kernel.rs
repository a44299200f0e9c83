//! Inner loops of attention, written once over [`Simd`].
//!
//! Keys lie in tiles of 16 positions, dimension after dimension, so that one register holds the same dimension of many
//! positions and no sum across lanes is needed; values lie position after position for the same reason.

use crate::TILE_ROWS;
use crate::simd::Simd;

/// `scores[m × stride + p] = Σ_d queries[m × dim + d] × keys[d][p]` for the 16 positions `p` of a tile of f16 keys.
///
/// # Safety
/// `queries` is `M` rows of `dim` floats, `keys` is `dim` × 16 f16, `scores` is valid for 16 floats at each `m × stride`.
/// The processor has the path's instructions.
pub(crate) type KeyScores =
    unsafe fn(queries: *const f32, keys: *const u8, dim: usize, scores: *mut f32, stride: usize);

/// `sums[m × dim + d] += Σ_p weights[m × stride + p] × values[p × dim + d]` over `count` positions of f16 values.
///
/// # Safety
/// `weights` is `M` rows of `count` floats, `stride` apart; `values` is `count` × `dim` f16; `sums` is `M` × `dim` floats;
/// `dim` is a multiple of 16. The processor has the path's instructions.
pub(crate) type ValueSum = unsafe fn(
    weights: *const f32,
    stride: usize,
    values: *const u8,
    count: usize,
    dim: usize,
    sums: *mut f32,
);

/// [`ValueSum`] over 8-bit values with one f32 scale per position and 32 dimensions.
///
/// # Safety
/// As [`ValueSum`], with `values` of `count` × `dim` bytes, `scales` of `count` × `dim / 32` floats and `dim` a multiple of 32.
pub(crate) type ValueSumQ8 = unsafe fn(
    weights: *const f32,
    stride: usize,
    values: *const u8,
    scales: *const f32,
    count: usize,
    dim: usize,
    sums: *mut f32,
);

/// The body of [`KeyScores`].
///
/// # Safety
/// As [`KeyScores`].
#[inline(always)]
pub(crate) unsafe fn key_scores<S: Simd, const M: usize>(
    queries: *const f32,
    keys: *const u8,
    dim: usize,
    scores: *mut f32,
    stride: usize,
) {
    // SAFETY: all offsets are inside what the contract names.
    unsafe {
        for part in 0..S::PARTS {
            let lane = part * S::LANES;
            let mut sums = [S::splat(0.0); M];
            for d in 0..dim {
                let key = S::load_halves(keys.add(2 * (d * TILE_ROWS + lane)));
                for (m, sum) in sums.iter_mut().enumerate() {
                    *sum = S::mul_add(key, S::splat(queries.add(m * dim + d).read()), *sum);
                }
            }
            for (m, sum) in sums.iter().enumerate() {
                S::store(scores.add(m * stride + lane), *sum);
            }
        }
    }
}

/// The body of [`ValueSum`].
///
/// # Safety
/// As [`ValueSum`].
#[inline(always)]
pub(crate) unsafe fn value_sum<S: Simd, const M: usize>(
    weights: *const f32,
    stride: usize,
    values: *const u8,
    count: usize,
    dim: usize,
    sums: *mut f32,
) {
    // SAFETY: all offsets are inside what the contract names; `dim` is a multiple of `LANES`.
    unsafe {
        let mut d = 0;
        while d < dim {
            let mut local = [S::splat(0.0); M];
            for (m, sum) in local.iter_mut().enumerate() {
                *sum = S::load_floats(sums.add(m * dim + d));
            }
            for p in 0..count {
                let value = S::load_halves(values.add(2 * (p * dim + d)));
                for (m, sum) in local.iter_mut().enumerate() {
                    *sum = S::mul_add(value, S::splat(weights.add(m * stride + p).read()), *sum);
                }
            }
            for (m, sum) in local.iter().enumerate() {
                S::store(sums.add(m * dim + d), *sum);
            }
            d += S::LANES;
        }
    }
}

/// The body of [`ValueSumQ8`].
///
/// # Safety
/// As [`ValueSumQ8`].
#[inline(always)]
pub(crate) unsafe fn value_sum_q8<S: Simd, const M: usize>(
    weights: *const f32,
    stride: usize,
    values: *const u8,
    scales: *const f32,
    count: usize,
    dim: usize,
    sums: *mut f32,
) {
    // SAFETY: all offsets are inside what the contract names; `dim` is a multiple of 32.
    unsafe {
        let blocks = dim / crate::RUN;
        let mut d = 0;
        while d < dim {
            let mut local = [S::splat(0.0); M];
            for (m, sum) in local.iter_mut().enumerate() {
                *sum = S::load_floats(sums.add(m * dim + d));
            }
            for p in 0..count {
                let scale = S::splat(scales.add(p * blocks + d / crate::RUN).read());
                let value = S::mul(scale, S::load_signed_bytes(values.add(p * dim + d)));
                for (m, sum) in local.iter_mut().enumerate() {
                    *sum = S::mul_add(value, S::splat(weights.add(m * stride + p).read()), *sum);
                }
            }
            for (m, sum) in local.iter().enumerate() {
                S::store(sums.add(m * dim + d), *sum);
            }
            d += S::LANES;
        }
    }
}
