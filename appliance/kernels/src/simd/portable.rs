//! The path that every processor can run: plain Rust, one lane after the other.
#![allow(unsafe_op_in_unsafe_fn, reason = "each function is one unsafe block under the contract of `Simd`")]
#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

use half::f16;

use super::Simd;

/// Plain Rust.
pub(crate) struct Portable;

const LANES: usize = 4;

// Every method reads as many bytes as the trait says and uses no special instruction.
impl Simd for Portable {
    const LANES: usize = LANES;
    const PANEL: usize = 4;

    type Codes = [u8; 4 * LANES];
    type Signed = [u8; 4 * LANES];
    type Ints = [i32; LANES];
    type Floats = [f32; LANES];

    #[inline(always)]
    unsafe fn load_codes(from: *const u8) -> Self::Codes {
        from.cast::<Self::Codes>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn low_nibbles(codes: Self::Codes) -> Self::Codes {
        codes.map(|c| c & 15)
    }

    #[inline(always)]
    unsafe fn high_nibbles(codes: Self::Codes) -> Self::Codes {
        codes.map(|c| c >> 4)
    }

    #[inline(always)]
    unsafe fn add_fifth_bit<const GROUP: u32>(codes: Self::Codes, bits: Self::Codes) -> Self::Codes {
        std::array::from_fn(|i| codes[i] | (bits[i] >> GROUP & 1) << 4)
    }

    #[inline(always)]
    unsafe fn add_two_bits<const GROUP: u32>(codes: Self::Codes, bits: Self::Codes) -> Self::Codes {
        std::array::from_fn(|i| codes[i] | (bits[i] >> (2 * GROUP) & 3) << 4)
    }

    #[inline(always)]
    unsafe fn signed(codes: Self::Codes) -> Self::Signed {
        codes
    }

    #[inline(always)]
    unsafe fn dot<const G: usize, const MAX: i32>(
        codes: &[Self::Codes; G],
        activations: *const i8,
        init: i32,
    ) -> Self::Ints {
        let mut sums = [init; LANES];
        for (g, group) in codes.iter().enumerate() {
            for (i, code) in group.iter().enumerate() {
                sums[i / 4] += i32::from(*code) * i32::from(activations.add(4 * g + i % 4).read());
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn dot_signed(codes: &[Self::Signed; 8], activations: *const i8, _minus_sum: i32) -> Self::Ints {
        let mut sums = [0; LANES];
        for (g, group) in codes.iter().enumerate() {
            for (i, code) in group.iter().enumerate() {
                sums[i / 4] += i32::from(*code as i8) * i32::from(activations.add(4 * g + i % 4).read());
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Ints {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn to_floats(ints: Self::Ints) -> Self::Floats {
        ints.map(|i| i as f32)
    }

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::Floats {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load_halves(from: *const u8) -> Self::Floats {
        from.cast::<[u16; LANES]>().read_unaligned().map(|bits| f16::from_bits(bits).to_f32())
    }

    #[inline(always)]
    unsafe fn load_floats(from: *const f32) -> Self::Floats {
        from.cast::<Self::Floats>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn load_bytes(from: *const u8) -> Self::Floats {
        from.cast::<[u8; LANES]>().read_unaligned().map(f32::from)
    }

    #[inline(always)]
    unsafe fn load_signed_bytes(from: *const u8) -> Self::Floats {
        from.cast::<[i8; LANES]>().read_unaligned().map(f32::from)
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, floats: Self::Floats) {
        to.cast::<Self::Floats>().write_unaligned(floats);
    }

    #[inline(always)]
    unsafe fn store_halves(to: *mut u8, floats: Self::Floats) {
        to.cast::<[u16; LANES]>().write_unaligned(floats.map(|f| f16::from_f32(f).to_bits()));
    }

    #[inline(always)]
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    unsafe fn prefetch(_from: *const u8) {}
}
