//! One tile of weights times one panel of activations: the inner loop of every product, written once over
//! [`Simd`] and the packed formats.
#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

use crate::RUN;
use crate::layout::{NIBBLES, TILE_ROWS, VECTOR};
use crate::panel::{self, PanelRun};
use crate::simd::Simd;

mod formats;

pub(crate) use formats::{Q4_0, Q4K, Q5_0, Q5K, Q6K, Q8_0};

/// `out[m × stride + r] = Σ tile[r] × panel[m]` for the 16 rows `r` of a tile and the rows `m` of a panel.
///
/// # Safety
/// `tile` is `units` units of the format, `panel` as many runs as those units have, of a panel with the function's number
/// of rows; `out` is valid for 16 floats at each of `m × stride`. The processor has the path's instructions.
pub(crate) type TileProduct =
    unsafe fn(tile: *const u8, panel: *const u8, units: usize, out: *mut f32, stride: usize);

/// Most register groups of a tile on any path.
const MAX_PARTS: usize = 4;
/// How far ahead of the loads memory is asked for, in bytes.
const AHEAD: usize = 4096;

/// A packed weight format, seen by the inner loop.
pub(crate) trait PackedFormat: 'static {
    /// Bytes of one unit.
    const UNIT_BYTES: usize;
    /// Runs of 32 columns in one unit.
    const RUNS: usize;

    /// Adds the products of one unit to `sums`, for the rows of register group `part`.
    ///
    /// # Safety
    /// As [`TileProduct`], for one unit.
    unsafe fn accumulate<S: Simd, const M: usize>(
        unit: *const u8,
        panel: *const u8,
        part: usize,
        sums: &mut [S::Floats; M],
    );
}

/// [`TileProduct`] for one path, format and panel height.
///
/// # Safety
/// As [`TileProduct`].
#[inline(always)]
pub(crate) unsafe fn tile_product<S: Simd, P: PackedFormat, const M: usize>(
    tile: *const u8,
    panel: *const u8,
    units: usize,
    out: *mut f32,
    stride: usize,
) {
    let panel_unit = P::RUNS * panel::stride(M);
    // SAFETY: the offsets stay inside the units, runs and rows that the contract names.
    unsafe {
        if M == 1 {
            // Decode: the weights come from memory and are used once, so all rows of a tile are done in one pass.
            let mut sums = [[S::splat(0.0); M]; MAX_PARTS];
            for unit in 0..units {
                let weights = tile.add(unit * P::UNIT_BYTES);
                if P::RUNS == 1 {
                    prefetch::<S>(weights, P::UNIT_BYTES, 0, 1);
                }
                for (part, sums) in sums.iter_mut().enumerate().take(S::PARTS) {
                    P::accumulate::<S, M>(weights, panel.add(unit * panel_unit), part, sums);
                }
            }
            for (part, sums) in sums.iter().enumerate().take(S::PARTS) {
                S::store(out.add(part * S::LANES), sums[0]);
            }
        } else {
            // Prefill: the weights are in the cache; as many sums as possible stay in registers.
            for part in 0..S::PARTS {
                let mut sums = [S::splat(0.0); M];
                for unit in 0..units {
                    P::accumulate::<S, M>(
                        tile.add(unit * P::UNIT_BYTES),
                        panel.add(unit * panel_unit),
                        part,
                        &mut sums,
                    );
                }
                for (m, sums) in sums.iter().enumerate() {
                    S::store(out.add(m * stride + part * S::LANES), *sums);
                }
            }
        }
    }
}

/// Asks for memory that decoding needs soon: as many bytes as the `bytes` at `from`, behind them; the `share`th of `shares` parts.
/// A processor keeps only so many requests at a time. A unit of a K format at once, 37 to 53 lines, measured slower by a fifth to a
/// half (`kernel_bench`), so each register group asks for its share with every run.
///
/// # Safety
/// The processor has the path's instructions; the address is not read.
#[inline(always)]
unsafe fn prefetch<S: Simd>(from: *const u8, bytes: usize, share: usize, shares: usize) {
    let mut line = share * VECTOR;
    while line < bytes {
        // SAFETY: by the contract above.
        unsafe { S::prefetch(from.wrapping_add(AHEAD + line)) };
        line += shares * VECTOR;
    }
}

/// Sixteen f16 scales: those of register group `part`.
///
/// # Safety
/// `from` is 32 readable bytes.
#[inline(always)]
unsafe fn halves<S: Simd>(from: *const u8, part: usize) -> S::Floats {
    // SAFETY: the part lies inside the 32 bytes.
    unsafe { S::load_halves(from.add(2 * S::LANES * part)) }
}

/// The eight groups of a run stored as nibbles, for register group `part`.
///
/// # Safety
/// `from` is [`NIBBLES`] readable bytes.
#[inline(always)]
unsafe fn nibbles<S: Simd>(from: *const u8, part: usize) -> [S::Codes; 8] {
    // SAFETY: vector and part lie inside the nibbles.
    unsafe {
        let from = from.add(4 * S::LANES * part);
        let (a, b) = (S::load_codes(from), S::load_codes(from.add(VECTOR)));
        let (c, d) = (S::load_codes(from.add(2 * VECTOR)), S::load_codes(from.add(3 * VECTOR)));
        [
            S::low_nibbles(a),
            S::high_nibbles(a),
            S::low_nibbles(b),
            S::high_nibbles(b),
            S::low_nibbles(c),
            S::high_nibbles(c),
            S::low_nibbles(d),
            S::high_nibbles(d),
        ]
    }
}

/// The eight groups of a run stored as fifth bits and nibbles, for register group `part`.
///
/// # Safety
/// `from` is `VECTOR + NIBBLES` readable bytes.
#[inline(always)]
unsafe fn five_bits<S: Simd>(from: *const u8, part: usize) -> [S::Codes; 8] {
    // SAFETY: all offsets lie inside the vector and the nibbles.
    unsafe {
        let [a, b, c, d, e, f, g, h] = nibbles::<S>(from.add(VECTOR), part);
        let bits = S::load_codes(from.add(4 * S::LANES * part));
        [
            S::add_fifth_bit::<0>(a, bits),
            S::add_fifth_bit::<1>(b, bits),
            S::add_fifth_bit::<2>(c, bits),
            S::add_fifth_bit::<3>(d, bits),
            S::add_fifth_bit::<4>(e, bits),
            S::add_fifth_bit::<5>(f, bits),
            S::add_fifth_bit::<6>(g, bits),
            S::add_fifth_bit::<7>(h, bits),
        ]
    }
}

/// The four groups of half a run of Q6_K, stored as bits 4 and 5 and nibbles, for register group `part`.
///
/// # Safety
/// `from` is `2 * VECTOR + NIBBLES` readable bytes; `half` is below 2.
#[inline(always)]
unsafe fn six_bits<S: Simd>(from: *const u8, half: usize, part: usize) -> [S::Codes; 4] {
    // SAFETY: all offsets lie inside the vectors of bits and the nibbles.
    unsafe {
        let from = from.add(4 * S::LANES * part);
        let bits = S::load_codes(from.add(half * VECTOR));
        let codes = from.add((2 + 2 * half) * VECTOR);
        let (a, b) = (S::load_codes(codes), S::load_codes(codes.add(VECTOR)));
        [
            S::add_two_bits::<0>(S::low_nibbles(a), bits),
            S::add_two_bits::<1>(S::high_nibbles(a), bits),
            S::add_two_bits::<2>(S::low_nibbles(b), bits),
            S::add_two_bits::<3>(S::high_nibbles(b), bits),
        ]
    }
}

/// One scale and one set of codes per run: the products of unsigned codes with offset `1 << OFFSET_BITS`; no offset
/// where `OFFSET_BITS` is negative.
///
/// # Safety
/// As [`PackedFormat::accumulate`]; codes are at most `MAX`.
#[inline(always)]
unsafe fn unsigned_run<S: Simd, const M: usize, const MAX: i32, const OFFSET_BITS: i32>(
    codes: &[S::Codes; 8],
    scale: S::Floats,
    run: PanelRun<M>,
    sums: &mut [S::Floats; M],
) {
    // SAFETY: all row numbers are below `M`, which is 1 or even.
    unsafe {
        if M == 1 {
            let ints = S::dot::<8, MAX>(codes, run.codes(0), offset::<M, OFFSET_BITS>(run, 0));
            sums[0] = S::add_scaled(ints, scale, run.scale(0), sums[0]);
            return;
        }
        let mut m = 0;
        while m < M {
            let init = [offset::<M, OFFSET_BITS>(run, m), offset::<M, OFFSET_BITS>(run, m + 1)];
            let [a, b] = S::dot_two::<8, MAX>(codes, [run.codes(m), run.codes(m + 1)], init);
            sums[m] = S::add_scaled(a, scale, run.scale(m), sums[m]);
            sums[m + 1] = S::add_scaled(b, scale, run.scale(m + 1), sums[m + 1]);
            m += 2;
        }
    }
}

/// What the offset of the codes contributes to the product with row `m`.
///
/// # Safety
/// As [`PanelRun`].
#[inline(always)]
unsafe fn offset<const M: usize, const OFFSET_BITS: i32>(run: PanelRun<M>, m: usize) -> i32 {
    // SAFETY: by the contract above.
    if OFFSET_BITS < 0 { 0 } else { unsafe { run.minus_sum(m) << OFFSET_BITS } }
}

/// One scale, one minimum and one set of codes per run.
///
/// # Safety
/// As [`PackedFormat::accumulate`]; codes are at most `MAX`.
#[inline(always)]
unsafe fn minimum_run<S: Simd, const M: usize, const MAX: i32>(
    codes: &[S::Codes; 8],
    scale: S::Floats,
    minimum: S::Floats,
    run: PanelRun<M>,
    sums: &mut [S::Floats; M],
) {
    // SAFETY: `m` is below `M`; the rest is the caller's contract.
    unsafe {
        for (m, sum) in sums.iter_mut().enumerate() {
            *sum = S::mul_add(minimum, S::splat(run.minus_scaled_sum(m)), *sum);
        }
        unsigned_run::<S, M, MAX, -1>(codes, scale, run, sums);
    }
}

/// One half run (four groups) of Q6_K for panel rows `m` and, where there are more than one, `m + 1`.
///
/// # Safety
/// As [`PackedFormat::accumulate`]; `m + 1` is below `M` or `M` is 1; `half` is below 2.
#[inline(always)]
unsafe fn half_run<S: Simd, const M: usize>(
    codes: &[S::Codes; 4],
    run: PanelRun<M>,
    half: usize,
    m: usize,
) -> [S::Ints; 2] {
    // SAFETY: by the contract above; six bits are at most 63.
    unsafe {
        let at = RUN / 2 * half;
        let (first, init) = (run.codes(m).add(at), run.minus_half_sum(m, half) << 5);
        if M == 1 {
            let ints = S::dot::<4, 63>(codes, first, init);
            return [ints, ints];
        }
        let (second, other) = (run.codes(m + 1).add(at), run.minus_half_sum(m + 1, half) << 5);
        S::dot_two::<4, 63>(codes, [first, second], [init, other])
    }
}

/// Adds the two half runs of Q6_K to the sum of panel row `m`.
///
/// # Safety
/// As [`PackedFormat::accumulate`]; `m` is below `M`.
#[inline(always)]
unsafe fn add_halves<S: Simd, const M: usize>(
    ints: [S::Ints; 2],
    scales: [S::Floats; 2],
    run: PanelRun<M>,
    m: usize,
    sums: &mut [S::Floats; M],
) {
    // SAFETY: `m` is below `M`.
    unsafe {
        let sum = S::mul(S::to_floats(ints[0]), scales[0]);
        let sum = S::mul_add(S::to_floats(ints[1]), scales[1], sum);
        sums[m] = S::mul_add(sum, S::splat(run.scale(m)), sums[m]);
    }
}

/// F32 or F16 weights times f32 activations: `out[m × stride + r] = Σ tile[r] × rows[m × cols + …]`.
///
/// # Safety
/// `tile` is `cols` units of the format; `activations` is `M` rows of `cols` floats; `out` as in [`TileProduct`].
#[inline(always)]
pub(crate) unsafe fn dense_tile<S: Simd, const HALF: bool, const M: usize>(
    tile: *const u8,
    activations: *const f32,
    cols: usize,
    out: *mut f32,
    stride: usize,
) {
    // SAFETY: the offsets stay inside what the contract names.
    unsafe {
        for part in 0..S::PARTS {
            let mut sums = [S::splat(0.0); M];
            for col in 0..cols {
                let lane = part * S::LANES;
                let weights = if HALF {
                    S::load_halves(tile.add(2 * (col * TILE_ROWS + lane)))
                } else {
                    S::load_floats(tile.add(4 * (col * TILE_ROWS + lane)).cast())
                };
                for (m, sum) in sums.iter_mut().enumerate() {
                    *sum = S::mul_add(weights, S::splat(activations.add(m * cols + col).read()), *sum);
                }
            }
            for (m, sum) in sums.iter().enumerate() {
                S::store(out.add(m * stride + part * S::LANES), *sum);
            }
        }
    }
}

const _: () = assert!(NIBBLES == 4 * VECTOR && RUN == 32);
