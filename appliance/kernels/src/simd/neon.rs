//! aarch64: the baseline of every board (`smlal`), and the dot product instructions of newer ones (`sdot`).
//!
//! The intrinsics for `sdot` are not stable in the Rust that we build with, so that instruction is written as inline assembly.
#![allow(unsafe_op_in_unsafe_fn, reason = "each function is one unsafe block under the contract of `Simd`")]
#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

use std::arch::aarch64::*;
use std::arch::asm;

use super::{ACTIVATION_MAX, Simd};

/// The instructions that every aarch64 processor has: Cortex-A53, Cortex-A72.
pub(crate) struct Neon;
/// [`Neon`] and `sdot`: Cortex-A76.
pub(crate) struct Dot;

/// Four columns of eight rows.
pub(super) type Codes = [int8x16_t; 2];
pub(super) type Ints = [int32x4_t; 2];
pub(super) type Floats = [float32x4_t; 2];

/// Everything in which the paths do not differ.
macro_rules! shared_methods {
    () => {
        const LANES: usize = 8;
        const PANEL: usize = 4;

        type Codes = Codes;
        type Signed = Codes;
        type Ints = Ints;
        type Floats = Floats;

        #[inline(always)]
        unsafe fn load_codes(from: *const u8) -> Codes {
            [vld1q_s8(from.cast()), vld1q_s8(from.add(16).cast())]
        }

        #[inline(always)]
        unsafe fn low_nibbles(codes: Codes) -> Codes {
            let mask = vdupq_n_s8(15);
            [vandq_s8(codes[0], mask), vandq_s8(codes[1], mask)]
        }

        #[inline(always)]
        unsafe fn high_nibbles(codes: Codes) -> Codes {
            let high = |c| vreinterpretq_s8_u8(vshrq_n_u8::<4>(vreinterpretq_u8_s8(c)));
            [high(codes[0]), high(codes[1])]
        }

        #[inline(always)]
        unsafe fn add_fifth_bit<const GROUP: u32>(codes: Codes, bits: Codes) -> Codes {
            $crate::simd::neon::add_bits(codes, bits, 4 - GROUP as i8, 0x10)
        }

        #[inline(always)]
        unsafe fn add_two_bits<const GROUP: u32>(codes: Codes, bits: Codes) -> Codes {
            $crate::simd::neon::add_bits(codes, bits, 4 - 2 * GROUP as i8, 0x30)
        }

        #[inline(always)]
        unsafe fn signed(codes: Codes) -> Codes {
            codes
        }

        #[inline(always)]
        unsafe fn zero() -> Ints {
            [vdupq_n_s32(0); 2]
        }

        #[inline(always)]
        unsafe fn to_floats(ints: Ints) -> Floats {
            [vcvtq_f32_s32(ints[0]), vcvtq_f32_s32(ints[1])]
        }

        #[inline(always)]
        unsafe fn splat(value: f32) -> Floats {
            [vdupq_n_f32(value); 2]
        }

        #[inline(always)]
        unsafe fn load_halves(from: *const u8) -> Floats {
            let halves = vreinterpretq_f16_u16(vld1q_u16(from.cast()));
            [vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)]
        }

        #[inline(always)]
        unsafe fn load_floats(from: *const f32) -> Floats {
            [vld1q_f32(from), vld1q_f32(from.add(4))]
        }

        #[inline(always)]
        unsafe fn load_bytes(from: *const u8) -> Floats {
            let wide = vmovl_u8(vld1_u8(from));
            [vcvtq_f32_u32(vmovl_u16(vget_low_u16(wide))), vcvtq_f32_u32(vmovl_high_u16(wide))]
        }

        #[inline(always)]
        unsafe fn load_signed_bytes(from: *const u8) -> Floats {
            let wide = vmovl_s8(vld1_s8(from.cast()));
            [vcvtq_f32_s32(vmovl_s16(vget_low_s16(wide))), vcvtq_f32_s32(vmovl_high_s16(wide))]
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, floats: Floats) {
            vst1q_f32(to, floats[0]);
            vst1q_f32(to.add(4), floats[1]);
        }

        #[inline(always)]
        unsafe fn store_halves(to: *mut u8, floats: Floats) {
            let halves = vcombine_f16(vcvt_f16_f32(floats[0]), vcvt_f16_f32(floats[1]));
            vst1q_u16(to.cast(), vreinterpretq_u16_f16(halves));
        }

        #[inline(always)]
        unsafe fn mul(a: Floats, b: Floats) -> Floats {
            [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])]
        }

        #[inline(always)]
        unsafe fn mul_add(a: Floats, b: Floats, c: Floats) -> Floats {
            [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])]
        }

        /// Nothing: the hardware follows one forward stream by itself, and on an in-order core the instruction is not free.
        #[inline(always)]
        unsafe fn prefetch(_from: *const u8) {}
    };
}
pub(super) use shared_methods;

/// `codes | (bits moved left by `shift`) & mask`; a negative shift moves right.
///
/// # Safety
/// NEON only, which every aarch64 processor has.
#[inline(always)]
pub(super) unsafe fn add_bits(codes: Codes, bits: Codes, shift: i8, mask: u8) -> Codes {
    let (shift, mask) = (vdupq_n_s8(shift), vdupq_n_u8(mask));
    let add = |code: int8x16_t, bits: int8x16_t| {
        let moved = vandq_u8(vshlq_u8(vreinterpretq_u8_s8(bits), shift), mask);
        vorrq_s8(code, vreinterpretq_s8_u8(moved))
    };
    [add(codes[0], bits[0]), add(codes[1], bits[1])]
}

/// Four activations in every lane.
#[inline(always)]
unsafe fn broadcast(activations: *const i8, group: usize) -> int8x16_t {
    vreinterpretq_s8_s32(vdupq_n_s32(activations.add(4 * group).cast::<i32>().read_unaligned()))
}

/// Sums of the four products of each row out of the 16-bit sums of rows 0 and 1, and of rows 2 and 3.
#[inline(always)]
unsafe fn widen(low: int16x8_t, high: int16x8_t) -> int32x4_t {
    vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))
}

// The intrinsics are in the baseline of aarch64; loads and stores take any alignment.
impl Simd for Neon {
    shared_methods!();

    #[inline(always)]
    unsafe fn dot<const G: usize, const MAX: i32>(
        codes: &[Codes; G],
        activations: *const i8,
        init: i32,
    ) -> Ints {
        // One product of each group goes to each 16-bit sum.
        const { assert!(G as i32 * MAX * ACTIVATION_MAX <= i16::MAX as i32) };
        let mut sums = [[vdupq_n_s16(0); 2]; 2];
        for (g, group) in codes.iter().enumerate() {
            let a = broadcast(activations, g);
            for (sums, codes) in sums.iter_mut().zip(group) {
                sums[0] = vmlal_s8(sums[0], vget_low_s8(*codes), vget_low_s8(a));
                sums[1] = vmlal_high_s8(sums[1], *codes, a);
            }
        }
        let init = vdupq_n_s32(init);
        [vaddq_s32(init, widen(sums[0][0], sums[0][1])), vaddq_s32(init, widen(sums[1][0], sums[1][1]))]
    }

    #[inline(always)]
    unsafe fn dot_signed(codes: &[Codes; 8], activations: *const i8, _minus_sum: i32) -> Ints {
        // Two products of at most 128 × 127 fit 16 bits.
        let mut sums = [[vdupq_n_s32(0); 2]; 2];
        let mut g = 0;
        while g < 8 {
            let (a, b) = (broadcast(activations, g), broadcast(activations, g + 1));
            for (q, sums) in sums.iter_mut().enumerate() {
                let (first, second) = (codes[g][q], codes[g + 1][q]);
                let low = vmlal_s8(
                    vmull_s8(vget_low_s8(first), vget_low_s8(a)),
                    vget_low_s8(second),
                    vget_low_s8(b),
                );
                let high = vmlal_high_s8(vmull_high_s8(first, a), second, b);
                sums[0] = vpadalq_s16(sums[0], low);
                sums[1] = vpadalq_s16(sums[1], high);
            }
            g += 2;
        }
        [vpaddq_s32(sums[0][0], sums[0][1]), vpaddq_s32(sums[1][0], sums[1][1])]
    }
}

/// `sum + Σ codes × activations` of each row, for the four activations in lane `LANE` of `activations`.
///
/// # Safety
/// The processor has the dot product instructions.
#[inline(always)]
unsafe fn sdot<const LANE: usize>(sum: int32x4_t, codes: int8x16_t, activations: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    macro_rules! instruction {
        ($lane:literal) => {
            asm!(
                ".arch_extension dotprod",
                concat!("sdot {sum:v}.4s, {codes:v}.16b, {activations:v}.4b[", $lane, "]"),
                sum = inout(vreg) sum,
                codes = in(vreg) codes,
                activations = in(vreg) activations,
                options(pure, nomem, nostack, preserves_flags),
            )
        };
    }
    match LANE {
        0 => instruction!(0),
        1 => instruction!(1),
        2 => instruction!(2),
        _ => instruction!(3),
    }
    sum
}

/// Four groups of `sdot`.
///
/// # Safety
/// The processor has the dot product instructions; `activations` is 16 bytes; `first + 4` is at most `G`.
#[inline(always)]
unsafe fn four_groups<const G: usize>(
    sums: Ints,
    codes: &[Codes; G],
    first: usize,
    activations: *const i8,
) -> Ints {
    let a = vld1q_s8(activations);
    let mut sums = sums;
    for (q, sum) in sums.iter_mut().enumerate() {
        *sum = sdot::<0>(*sum, codes[first][q], a);
        *sum = sdot::<1>(*sum, codes[first + 1][q], a);
        *sum = sdot::<2>(*sum, codes[first + 2][q], a);
        *sum = sdot::<3>(*sum, codes[first + 3][q], a);
    }
    sums
}

/// [`Simd::dot`] with `sdot`, which does not care whether codes are signed.
///
/// # Safety
/// As [`Simd::dot`] of [`Dot`].
#[inline(always)]
pub(super) unsafe fn dot_groups<const G: usize>(
    codes: &[Codes; G],
    activations: *const i8,
    init: i32,
) -> Ints {
    let mut sums = [vdupq_n_s32(init); 2];
    let mut g = 0;
    while g + 4 <= G {
        sums = four_groups(sums, codes, g, activations.add(4 * g));
        g += 4;
    }
    sums
}

// As above; `sdot` is there by the contract of the trait.
impl Simd for Dot {
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
    unsafe fn dot_signed(codes: &[Codes; 8], activations: *const i8, _minus_sum: i32) -> Ints {
        dot_groups(codes, activations, 0)
    }
}
