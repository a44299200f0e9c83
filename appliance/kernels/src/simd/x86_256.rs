//! x86-64 with AVX2, FMA and F16C, without and with AVX-VNNI: half a tile in one register.
#![allow(unsafe_op_in_unsafe_fn, reason = "each function is one unsafe block under the contract of `Simd`")]
#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

use std::arch::x86_64::*;

use super::{ACTIVATION_MAX, Simd};
use crate::layout::VECTOR;
use crate::panel::PanelRun;

/// AVX2, FMA, F16C.
pub(crate) struct Avx2;
/// [`Avx2`] and AVX-VNNI.
pub(crate) struct AvxVnni;

#[inline(always)]
unsafe fn broadcast(activations: *const i8, group: usize) -> __m256i {
    _mm256_set1_epi32(activations.add(4 * group).cast::<i32>().read_unaligned())
}

/// Everything in which the two paths do not differ.
macro_rules! shared_methods {
    () => {
        const LANES: usize = 8;
        const PANEL: usize = 4;

        type Codes = __m256i;
        type Ints = __m256i;
        type Floats = __m256;

        #[inline(always)]
        unsafe fn load_codes(from: *const u8) -> __m256i {
            _mm256_loadu_si256(from.cast())
        }

        #[inline(always)]
        unsafe fn low_nibbles(codes: __m256i) -> __m256i {
            _mm256_and_si256(codes, _mm256_set1_epi8(15))
        }

        #[inline(always)]
        unsafe fn high_nibbles(codes: __m256i) -> __m256i {
            _mm256_and_si256(_mm256_srli_epi16::<4>(codes), _mm256_set1_epi8(15))
        }

        #[inline(always)]
        unsafe fn add_fifth_bit<const GROUP: u32>(codes: __m256i, bits: __m256i) -> __m256i {
            let moved = match GROUP {
                0 => _mm256_slli_epi16::<4>(bits),
                1 => _mm256_slli_epi16::<3>(bits),
                2 => _mm256_slli_epi16::<2>(bits),
                3 => _mm256_slli_epi16::<1>(bits),
                4 => bits,
                5 => _mm256_srli_epi16::<1>(bits),
                6 => _mm256_srli_epi16::<2>(bits),
                _ => _mm256_srli_epi16::<3>(bits),
            };
            _mm256_or_si256(codes, _mm256_and_si256(moved, _mm256_set1_epi8(0x10)))
        }

        #[inline(always)]
        unsafe fn add_two_bits<const GROUP: u32>(codes: __m256i, bits: __m256i) -> __m256i {
            let moved = match GROUP {
                0 => _mm256_slli_epi16::<4>(bits),
                1 => _mm256_slli_epi16::<2>(bits),
                2 => bits,
                _ => _mm256_srli_epi16::<2>(bits),
            };
            _mm256_or_si256(codes, _mm256_and_si256(moved, _mm256_set1_epi8(0x30)))
        }

        #[inline(always)]
        unsafe fn zero() -> __m256i {
            _mm256_setzero_si256()
        }

        #[inline(always)]
        unsafe fn to_floats(ints: __m256i) -> __m256 {
            _mm256_cvtepi32_ps(ints)
        }

        #[inline(always)]
        unsafe fn splat(value: f32) -> __m256 {
            _mm256_set1_ps(value)
        }

        #[inline(always)]
        unsafe fn load_halves(from: *const u8) -> __m256 {
            _mm256_cvtph_ps(_mm_loadu_si128(from.cast()))
        }

        #[inline(always)]
        unsafe fn load_floats(from: *const f32) -> __m256 {
            _mm256_loadu_ps(from)
        }

        #[inline(always)]
        unsafe fn load_bytes(from: *const u8) -> __m256 {
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())))
        }

        #[inline(always)]
        unsafe fn load_signed_bytes(from: *const u8) -> __m256 {
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.cast())))
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, floats: __m256) {
            _mm256_storeu_ps(to, floats);
        }

        #[inline(always)]
        unsafe fn store_halves(to: *mut u8, floats: __m256) {
            _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats));
        }

        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            _mm256_mul_ps(a, b)
        }

        #[inline(always)]
        unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
            _mm256_fmadd_ps(a, b, c)
        }

        #[inline(always)]
        unsafe fn prefetch(from: *const u8) {
            _mm_prefetch::<_MM_HINT_T0>(from.cast());
        }
    };
}

// The intrinsics run on a processor that has them, by the contract of the trait; loads and stores are the unaligned ones.
impl Simd for Avx2 {
    shared_methods!();

    /// Absolute values and the codes themselves.
    type Signed = (__m256i, __m256i);

    #[inline(always)]
    unsafe fn signed(codes: __m256i) -> (__m256i, __m256i) {
        (_mm256_abs_epi8(codes), codes)
    }

    #[inline(always)]
    unsafe fn dot<const G: usize, const MAX: i32>(
        codes: &[__m256i; G],
        activations: *const i8,
        init: i32,
    ) -> __m256i {
        // `vpmaddubsw` adds two products in 16 bits; that many groups can be added before they must be widened.
        let in_16_bits = const { i16::MAX as i32 / (2 * MAX * ACTIVATION_MAX) };
        const { assert!(G == 4 || G == 8, "runs and half runs") };
        // Written out: of a loop over the groups the compiler makes one that stores all codes and loads them again.
        macro_rules! two_groups {
            ($g:literal) => {{
                let first = _mm256_maddubs_epi16(codes[$g], broadcast(activations, $g));
                let second = _mm256_maddubs_epi16(codes[$g + 1], broadcast(activations, $g + 1));
                if in_16_bits >= 2 {
                    [_mm256_add_epi16(first, second), _mm256_setzero_si256()]
                } else {
                    [first, second]
                }
            }};
        }
        let ones = _mm256_set1_epi16(1);
        let add = |a: __m256i, b: __m256i| _mm256_add_epi32(a, b);
        let wide = |[a, b]: [__m256i; 2]| {
            let a = _mm256_madd_epi16(a, ones);
            if in_16_bits >= 2 { a } else { add(a, _mm256_madd_epi16(b, ones)) }
        };
        let four_groups = |a: [__m256i; 2], b: [__m256i; 2]| {
            if in_16_bits >= 4 { wide([_mm256_add_epi16(a[0], b[0]), a[1]]) } else { add(wide(a), wide(b)) }
        };
        let init = _mm256_set1_epi32(init);
        let (ab, cd) = (two_groups!(0), two_groups!(2));
        if G == 4 {
            return add(init, four_groups(ab, cd));
        }
        let (ef, gh) = (two_groups!(4), two_groups!(6));
        if in_16_bits >= 8 {
            let (first, second) = (_mm256_add_epi16(ab[0], cd[0]), _mm256_add_epi16(ef[0], gh[0]));
            return add(init, wide([_mm256_add_epi16(first, second), ab[1]]));
        }
        add(init, add(four_groups(ab, cd), four_groups(ef, gh)))
    }

    #[inline(always)]
    unsafe fn dot_signed(
        codes: &[(__m256i, __m256i); 8],
        activations: *const i8,
        _minus_sum: i32,
    ) -> __m256i {
        // |−128| × 127 × 2 is below 2^15, so one group fits 16 bits.
        let ones = _mm256_set1_epi16(1);
        let mut sum = _mm256_setzero_si256();
        for (g, (absolute, codes)) in codes.iter().enumerate() {
            let signed = _mm256_sign_epi8(broadcast(activations, g), *codes);
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(*absolute, signed), ones));
        }
        sum
    }

    /// Group by group for all rows: codes and absolute values of a run are as many registers as there are.
    #[inline(always)]
    unsafe fn dot_signed_rows<const M: usize>(from: *const u8, run: PanelRun<M>) -> [__m256i; M] {
        let ones = _mm256_set1_epi16(1);
        let mut sums = [_mm256_setzero_si256(); M];
        for g in 0..8 {
            let (absolute, codes) = Self::signed(Self::load_codes(from.add(VECTOR * g)));
            for (m, sum) in sums.iter_mut().enumerate() {
                let signed = _mm256_sign_epi8(broadcast(run.codes(m), g), codes);
                *sum =
                    _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(absolute, signed), ones));
            }
        }
        sums
    }
}

// As above.
impl Simd for AvxVnni {
    shared_methods!();

    /// Codes + 128, as `vpdpbusd` takes them.
    type Signed = __m256i;

    #[inline(always)]
    unsafe fn signed(codes: __m256i) -> __m256i {
        _mm256_xor_si256(codes, _mm256_set1_epi8(-128))
    }

    #[inline(always)]
    unsafe fn dot<const G: usize, const MAX: i32>(
        codes: &[__m256i; G],
        activations: *const i8,
        init: i32,
    ) -> __m256i {
        let mut sum = _mm256_set1_epi32(init);
        for (g, group) in codes.iter().enumerate() {
            sum = _mm256_dpbusd_avx_epi32(sum, *group, broadcast(activations, g));
        }
        sum
    }

    #[inline(always)]
    unsafe fn dot_signed(codes: &[__m256i; 8], activations: *const i8, minus_sum: i32) -> __m256i {
        Self::dot::<8, 255>(codes, activations, minus_sum << 7)
    }
}
