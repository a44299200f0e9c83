//! The vocabulary in which the kernels are written once for every processor.
//!
//! [`Simd`] is implemented by one zero-sized type per kernel path. Its methods are `unsafe` and always inlined: they may
//! only run inside a function compiled for the path's instructions, which only [`crate::dispatch`] makes and only hands
//! out after the processor was asked.

#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon_matrix;
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_256;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86_512;

use crate::layout::VECTOR;
use crate::panel::PanelRun;

/// Largest absolute value of an activation code; the overflow bounds below rest on it.
pub(crate) const ACTIVATION_MAX: i32 = 127;

/// What the kernels need of a processor.
///
/// A register group holds [`Simd::LANES`] rows of a tile: `Codes` four columns of each, `Ints` and `Floats` one number
/// of each.
///
/// # Safety
/// For every method: the processor has the instructions of the implementing path, and pointers are valid for the bytes
/// stated (no alignment needed).
pub(crate) trait Simd: Sized + 'static {
    /// Rows in one register group; 16 is a multiple of it.
    const LANES: usize;
    /// Register groups of one tile.
    const PARTS: usize = crate::TILE_ROWS / Self::LANES;
    /// Activation rows that one pass over a tile multiplies; 1, 2, 4 or 8.
    const PANEL: usize;

    type Codes: Copy;
    /// Signed codes in the form that [`Simd::dot_signed`] wants.
    type Signed: Copy;
    type Ints: Copy;
    type Floats: Copy;

    /// Reads `4 × LANES` bytes.
    unsafe fn load_codes(from: *const u8) -> Self::Codes;
    unsafe fn low_nibbles(codes: Self::Codes) -> Self::Codes;
    unsafe fn high_nibbles(codes: Self::Codes) -> Self::Codes;
    /// `codes | (bits >> GROUP & 1) << 4` in each byte.
    unsafe fn add_fifth_bit<const GROUP: u32>(codes: Self::Codes, bits: Self::Codes) -> Self::Codes;
    /// `codes | (bits >> 2 × GROUP & 3) << 4` in each byte.
    unsafe fn add_two_bits<const GROUP: u32>(codes: Self::Codes, bits: Self::Codes) -> Self::Codes;
    /// Prepares two's complement codes.
    unsafe fn signed(codes: Self::Codes) -> Self::Signed;

    /// `init + Σ codes × activations` over `G` groups (4 `G` columns) per row, where codes are `0 ..= MAX` with
    /// `MAX × G ≤ 258` (so that 16-bit sums hold), and activations are `4 G` bytes in ±[`ACTIVATION_MAX`].
    unsafe fn dot<const G: usize, const MAX: i32>(
        codes: &[Self::Codes; G],
        activations: *const i8,
        init: i32,
    ) -> Self::Ints;

    /// [`Simd::dot`] for two activation rows at once.
    #[inline(always)]
    unsafe fn dot_two<const G: usize, const MAX: i32>(
        codes: &[Self::Codes; G],
        activations: [*const i8; 2],
        init: [i32; 2],
    ) -> [Self::Ints; 2] {
        let ([a, b], [c, d]) = (activations, init);
        // SAFETY: the caller's contract is the one of `dot`.
        unsafe { [Self::dot::<G, MAX>(codes, a, c), Self::dot::<G, MAX>(codes, b, d)] }
    }

    /// `Σ codes × activations` over 32 columns of two's complement codes; `minus_sum` is the negated sum of the 32
    /// activations, for paths whose instruction takes unsigned codes.
    unsafe fn dot_signed(codes: &[Self::Signed; 8], activations: *const i8, minus_sum: i32) -> Self::Ints;

    /// [`Simd::dot_signed`] for two activation rows at once.
    #[inline(always)]
    unsafe fn dot_signed_two(
        codes: &[Self::Signed; 8],
        activations: [*const i8; 2],
        minus_sum: [i32; 2],
    ) -> [Self::Ints; 2] {
        let ([a, b], [c, d]) = (activations, minus_sum);
        // SAFETY: the caller's contract is the one of `dot_signed`.
        unsafe { [Self::dot_signed(codes, a, c), Self::dot_signed(codes, b, d)] }
    }

    /// [`Simd::dot_signed`] for the rows of a panel's run; `M` is even, and group `g` of the codes stands at `from + VECTOR × g`.
    #[inline(always)]
    unsafe fn dot_signed_rows<const M: usize>(from: *const u8, run: PanelRun<M>) -> [Self::Ints; M] {
        // SAFETY: the caller's contract is the one of `dot_signed`; `m + 1` is below `M`.
        unsafe {
            let codes = signed_codes::<Self>(from);
            let mut ints = [Self::zero(); M];
            let mut m = 0;
            while m < M {
                let minus_sums = [run.minus_sum(m), run.minus_sum(m + 1)];
                [ints[m], ints[m + 1]] =
                    Self::dot_signed_two(&codes, [run.codes(m), run.codes(m + 1)], minus_sums);
                m += 2;
            }
            ints
        }
    }

    unsafe fn zero() -> Self::Ints;
    unsafe fn to_floats(ints: Self::Ints) -> Self::Floats;
    unsafe fn splat(value: f32) -> Self::Floats;
    /// Reads `LANES` f16.
    unsafe fn load_halves(from: *const u8) -> Self::Floats;
    /// Reads `LANES` f32.
    unsafe fn load_floats(from: *const f32) -> Self::Floats;
    /// Reads `LANES` unsigned bytes.
    unsafe fn load_bytes(from: *const u8) -> Self::Floats;
    /// Reads `LANES` signed bytes.
    unsafe fn load_signed_bytes(from: *const u8) -> Self::Floats;
    /// Writes `LANES` f32.
    unsafe fn store(to: *mut f32, floats: Self::Floats);
    /// Writes `LANES` f16, rounded to nearest.
    unsafe fn store_halves(to: *mut u8, floats: Self::Floats);
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a × b + c`, fused where the processor can.
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// Asks for the line at `from` to be brought near. Any address is fine.
    unsafe fn prefetch(from: *const u8);
}

/// The eight groups of a run stored as two's complement bytes.
///
/// # Safety
/// As [`Simd::load_codes`], for groups that stand [`VECTOR`] bytes apart.
#[inline(always)]
pub(crate) unsafe fn signed_codes<S: Simd>(from: *const u8) -> [S::Signed; 8] {
    // SAFETY: by the contract above.
    unsafe {
        [
            S::signed(S::load_codes(from)),
            S::signed(S::load_codes(from.add(VECTOR))),
            S::signed(S::load_codes(from.add(2 * VECTOR))),
            S::signed(S::load_codes(from.add(3 * VECTOR))),
            S::signed(S::load_codes(from.add(4 * VECTOR))),
            S::signed(S::load_codes(from.add(5 * VECTOR))),
            S::signed(S::load_codes(from.add(6 * VECTOR))),
            S::signed(S::load_codes(from.add(7 * VECTOR))),
        ]
    }
}
