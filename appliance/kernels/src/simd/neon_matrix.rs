//! aarch64 with the 8-bit matrix instructions: `smmla` multiplies two rows of weights with two rows of activations.
//!
//! Its intrinsic is not stable in the Rust that we build with, so the instruction is written as inline assembly.
#![allow(unsafe_op_in_unsafe_fn, reason = "each function is one unsafe block under the contract of `Simd`")]
#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

use std::arch::aarch64::*;
use std::arch::asm;

use super::Simd;
use super::neon::{Codes, Floats, Ints, dot_groups, shared_methods};

/// `sdot` for one row of activations, `smmla` for two.
pub(crate) struct Matrix;

/// `sum[i][j] + Σ a[i] × b[j]` over eight columns, for 2 × 8 matrices `a` and `b`.
///
/// # Safety
/// The processor has the matrix instructions.
#[inline(always)]
unsafe fn smmla(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    asm!(
        ".arch_extension i8mm",
        "smmla {sum:v}.4s, {a:v}.16b, {b:v}.16b",
        sum = inout(vreg) sum,
        a = in(vreg) a,
        b = in(vreg) b,
        options(pure, nomem, nostack, preserves_flags),
    );
    sum
}

/// Groups `first` and `second` of four rows, as rows 0 and 1, and rows 2 and 3, of eight columns each.
#[inline(always)]
unsafe fn eight_columns(first: int8x16_t, second: int8x16_t) -> [int8x16_t; 2] {
    let (first, second) = (vreinterpretq_s32_s8(first), vreinterpretq_s32_s8(second));
    [vreinterpretq_s8_s32(vzip1q_s32(first, second)), vreinterpretq_s8_s32(vzip2q_s32(first, second))]
}

/// Two rows of activations at once.
///
/// # Safety
/// As [`Simd::dot_two`].
#[inline(always)]
unsafe fn two_rows<const G: usize>(
    codes: &[Codes; G],
    activations: [*const i8; 2],
    init: [i32; 2],
) -> [Ints; 2] {
    let start = vzip1q_s32(vdupq_n_s32(init[0]), vdupq_n_s32(init[1]));
    let mut sums = [[start; 2]; 2];
    let mut g = 0;
    while g + 2 <= G {
        let b = vcombine_s8(vld1_s8(activations[0].add(4 * g)), vld1_s8(activations[1].add(4 * g)));
        for (q, sums) in sums.iter_mut().enumerate() {
            let [low, high] = eight_columns(codes[g][q], codes[g + 1][q]);
            sums[0] = smmla(sums[0], low, b);
            sums[1] = smmla(sums[1], high, b);
        }
        g += 2;
    }
    [
        [vuzp1q_s32(sums[0][0], sums[0][1]), vuzp1q_s32(sums[1][0], sums[1][1])],
        [vuzp2q_s32(sums[0][0], sums[0][1]), vuzp2q_s32(sums[1][0], sums[1][1])],
    ]
}

// The intrinsics are in the baseline of aarch64, `sdot` and `smmla` are there by the contract of the trait; loads and
// stores take any alignment.
impl Simd for Matrix {
    shared_methods!();

    #[inline(always)]
    unsafe fn dot<const G: usize, const MAX: i32>(
        codes: &[Codes; G],
        activations: *const i8,
        init: i32,
    ) -> Ints {
        dot_groups(codes, activations, init)
    }

    #[inline(always)]
    unsafe fn dot_two<const G: usize, const MAX: i32>(
        codes: &[Codes; G],
        activations: [*const i8; 2],
        init: [i32; 2],
    ) -> [Ints; 2] {
        two_rows(codes, activations, init)
    }

    #[inline(always)]
    unsafe fn dot_signed(codes: &[Codes; 8], activations: *const i8, _minus_sum: i32) -> Ints {
        dot_groups(codes, activations, 0)
    }

    #[inline(always)]
    unsafe fn dot_signed_two(
        codes: &[Codes; 8],
        activations: [*const i8; 2],
        _minus_sum: [i32; 2],
    ) -> [Ints; 2] {
        two_rows(codes, activations, [0, 0])
    }
}
