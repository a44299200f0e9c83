//! x86-64 with AVX-512 F, BW, VL and VNNI: a whole tile in one register.
#![allow(unsafe_op_in_unsafe_fn, reason = "each function is one unsafe block under the contract of `Simd`")]
#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

use std::arch::x86_64::*;

use super::Simd;

/// AVX-512 with VNNI.
pub(crate) struct Avx512;

#[inline(always)]
unsafe fn broadcast(activations: *const i8, group: usize) -> __m512i {
    _mm512_set1_epi32(activations.add(4 * group).cast::<i32>().read_unaligned())
}

// The intrinsics run on a processor that has them, by the contract of the trait; loads and stores are the unaligned ones.
impl Simd for Avx512 {
    const LANES: usize = 16;
    const PANEL: usize = 8;

    type Codes = __m512i;
    /// Codes + 128, as `vpdpbusd` takes them.
    type Signed = __m512i;
    type Ints = __m512i;
    type Floats = __m512;

    #[inline(always)]
    unsafe fn load_codes(from: *const u8) -> __m512i {
        _mm512_loadu_si512(from.cast())
    }

    #[inline(always)]
    unsafe fn low_nibbles(codes: __m512i) -> __m512i {
        _mm512_and_si512(codes, _mm512_set1_epi8(15))
    }

    #[inline(always)]
    unsafe fn high_nibbles(codes: __m512i) -> __m512i {
        _mm512_and_si512(_mm512_srli_epi16::<4>(codes), _mm512_set1_epi8(15))
    }

    #[inline(always)]
    unsafe fn add_fifth_bit<const GROUP: u32>(codes: __m512i, bits: __m512i) -> __m512i {
        let moved = match GROUP {
            0 => _mm512_slli_epi16::<4>(bits),
            1 => _mm512_slli_epi16::<3>(bits),
            2 => _mm512_slli_epi16::<2>(bits),
            3 => _mm512_slli_epi16::<1>(bits),
            4 => bits,
            5 => _mm512_srli_epi16::<1>(bits),
            6 => _mm512_srli_epi16::<2>(bits),
            _ => _mm512_srli_epi16::<3>(bits),
        };
        // codes | (moved & 0x10)
        _mm512_ternarylogic_epi32::<0xf8>(codes, moved, _mm512_set1_epi8(0x10))
    }

    #[inline(always)]
    unsafe fn add_two_bits<const GROUP: u32>(codes: __m512i, bits: __m512i) -> __m512i {
        let moved = match GROUP {
            0 => _mm512_slli_epi16::<4>(bits),
            1 => _mm512_slli_epi16::<2>(bits),
            2 => bits,
            _ => _mm512_srli_epi16::<2>(bits),
        };
        // codes | (moved & 0x30)
        _mm512_ternarylogic_epi32::<0xf8>(codes, moved, _mm512_set1_epi8(0x30))
    }

    #[inline(always)]
    unsafe fn signed(codes: __m512i) -> __m512i {
        _mm512_xor_si512(codes, _mm512_set1_epi8(-128))
    }

    #[inline(always)]
    unsafe fn dot<const G: usize, const MAX: i32>(
        codes: &[__m512i; G],
        activations: *const i8,
        init: i32,
    ) -> __m512i {
        let mut sum = _mm512_set1_epi32(init);
        for (g, group) in codes.iter().enumerate() {
            sum = _mm512_dpbusd_epi32(sum, *group, broadcast(activations, g));
        }
        sum
    }

    #[inline(always)]
    unsafe fn dot_signed(codes: &[__m512i; 8], activations: *const i8, minus_sum: i32) -> __m512i {
        Self::dot::<8, 255>(codes, activations, minus_sum << 7)
    }

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        _mm512_setzero_si512()
    }

    #[inline(always)]
    unsafe fn to_floats(ints: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(ints)
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
    }

    #[inline(always)]
    unsafe fn load_floats(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())))
    }

    #[inline(always)]
    unsafe fn load_signed_bytes(from: *const u8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, floats: __m512) {
        _mm512_storeu_ps(to, floats);
    }

    #[inline(always)]
    unsafe fn store_halves(to: *mut u8, floats: __m512) {
        _mm256_storeu_si256(to.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(floats));
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn prefetch(from: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(from.cast());
    }
}
