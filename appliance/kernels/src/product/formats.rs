//! The inner loop's view of each packed format.
#![allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]

use super::{
    PackedFormat, add_halves, add_scaled, five_bits, half_run, halves, minimum_run, nibbles, prefetch,
    six_bits, unsigned_run,
};
use crate::Format;
use crate::layout::{HALVES, SUB_Q4K, SUB_Q5K, SUB_Q6K, TILE_ROWS, unit_bytes};
use crate::panel::{self, PanelRun};
use crate::simd::{Simd, signed_codes};

/// Q4_0 as packed.
pub(crate) struct Q4_0;
/// Q5_0 as packed.
pub(crate) struct Q5_0;
/// Q8_0 as packed.
pub(crate) struct Q8_0;
/// Q4_K as packed.
pub(crate) struct Q4K;
/// Q5_K as packed.
pub(crate) struct Q5K;
/// Q6_K as packed.
pub(crate) struct Q6K;

impl PackedFormat for Q4_0 {
    const UNIT_BYTES: usize = unit_bytes(Format::Q4_0);
    const RUNS: usize = 1;

    #[inline(always)]
    unsafe fn accumulate<S: Simd, const M: usize>(
        unit: *const u8,
        panel: *const u8,
        part: usize,
        sums: &mut [S::Floats; M],
    ) {
        // SAFETY: the offsets are those of the layout; nibbles are at most 15.
        unsafe {
            let codes = nibbles::<S>(unit.add(HALVES), part);
            unsigned_run::<S, M, 15, 3>(&codes, halves::<S>(unit, part), PanelRun(panel), sums);
        }
    }
}

impl PackedFormat for Q5_0 {
    const UNIT_BYTES: usize = unit_bytes(Format::Q5_0);
    const RUNS: usize = 1;

    #[inline(always)]
    unsafe fn accumulate<S: Simd, const M: usize>(
        unit: *const u8,
        panel: *const u8,
        part: usize,
        sums: &mut [S::Floats; M],
    ) {
        // SAFETY: the offsets are those of the layout; five bits are at most 31.
        unsafe {
            let codes = five_bits::<S>(unit.add(HALVES), part);
            unsigned_run::<S, M, 31, 4>(&codes, halves::<S>(unit, part), PanelRun(panel), sums);
        }
    }
}

impl PackedFormat for Q8_0 {
    const UNIT_BYTES: usize = unit_bytes(Format::Q8_0);
    const RUNS: usize = 1;

    #[inline(always)]
    unsafe fn accumulate<S: Simd, const M: usize>(
        unit: *const u8,
        panel: *const u8,
        part: usize,
        sums: &mut [S::Floats; M],
    ) {
        // SAFETY: the offsets are those of the layout, `m` is below `M`, which is 1 or even.
        unsafe {
            let run = PanelRun::<M>(panel);
            let scale = halves::<S>(unit, part);
            let at = unit.add(HALVES + 4 * S::LANES * part);
            if M == 1 {
                let ints = S::dot_signed(&signed_codes::<S>(at), run.codes(0), run.minus_sum(0));
                add_scaled::<S, M>(ints, scale, run, 0, sums);
                return;
            }
            for (m, ints) in S::dot_signed_rows::<M>(at, run).into_iter().enumerate() {
                add_scaled::<S, M>(ints, scale, run, m, sums);
            }
        }
    }
}

impl PackedFormat for Q4K {
    const UNIT_BYTES: usize = unit_bytes(Format::Q4K);
    const RUNS: usize = 8;

    #[inline(always)]
    unsafe fn accumulate<S: Simd, const M: usize>(
        unit: *const u8,
        panel: *const u8,
        part: usize,
        sums: &mut [S::Floats; M],
    ) {
        // SAFETY: the offsets are those of the layout; nibbles are at most 15.
        unsafe {
            let (d, dmin) = (halves::<S>(unit, part), halves::<S>(unit.add(HALVES), part));
            for sub in 0..Self::RUNS {
                let at = unit.add(2 * HALVES + sub * SUB_Q4K);
                if M == 1 {
                    prefetch::<S>(at, SUB_Q4K, part, S::PARTS);
                }
                let scale = S::mul(d, S::load_bytes(at.add(S::LANES * part)));
                let minimum = S::mul(dmin, S::load_bytes(at.add(TILE_ROWS + S::LANES * part)));
                let codes = nibbles::<S>(at.add(2 * TILE_ROWS), part);
                let run = PanelRun(panel.add(sub * panel::stride(M)));
                minimum_run::<S, M, 15>(&codes, scale, minimum, run, sums);
            }
        }
    }
}

impl PackedFormat for Q5K {
    const UNIT_BYTES: usize = unit_bytes(Format::Q5K);
    const RUNS: usize = 8;

    #[inline(always)]
    unsafe fn accumulate<S: Simd, const M: usize>(
        unit: *const u8,
        panel: *const u8,
        part: usize,
        sums: &mut [S::Floats; M],
    ) {
        // SAFETY: the offsets are those of the layout; five bits are at most 31.
        unsafe {
            let (d, dmin) = (halves::<S>(unit, part), halves::<S>(unit.add(HALVES), part));
            for sub in 0..Self::RUNS {
                let at = unit.add(2 * HALVES + sub * SUB_Q5K);
                if M == 1 {
                    prefetch::<S>(at, SUB_Q5K, part, S::PARTS);
                }
                let scale = S::mul(d, S::load_bytes(at.add(S::LANES * part)));
                let minimum = S::mul(dmin, S::load_bytes(at.add(TILE_ROWS + S::LANES * part)));
                let codes = five_bits::<S>(at.add(2 * TILE_ROWS), part);
                let run = PanelRun(panel.add(sub * panel::stride(M)));
                minimum_run::<S, M, 31>(&codes, scale, minimum, run, sums);
            }
        }
    }
}

impl PackedFormat for Q6K {
    const UNIT_BYTES: usize = unit_bytes(Format::Q6K);
    const RUNS: usize = 8;

    #[inline(always)]
    unsafe fn accumulate<S: Simd, const M: usize>(
        unit: *const u8,
        panel: *const u8,
        part: usize,
        sums: &mut [S::Floats; M],
    ) {
        // SAFETY: the offsets are those of the layout; six bits are at most 63; `M` is 1 or even, so `m + 1` is below it.
        unsafe {
            let d = halves::<S>(unit, part);
            for sub in 0..Self::RUNS {
                let at = unit.add(HALVES + sub * SUB_Q6K);
                if M == 1 {
                    prefetch::<S>(at, SUB_Q6K, part, S::PARTS);
                }
                let scales = [
                    S::mul(d, S::load_signed_bytes(at.add(S::LANES * part))),
                    S::mul(d, S::load_signed_bytes(at.add(TILE_ROWS + S::LANES * part))),
                ];
                let bits = at.add(2 * TILE_ROWS);
                let run = PanelRun::<M>(panel.add(sub * panel::stride(M)));
                if M == 1 {
                    // One half after the other: the codes of both do not fit in the registers.
                    let first = half_run::<S, M>(&six_bits::<S>(bits, 0, part), run, 0, 0);
                    let second = half_run::<S, M>(&six_bits::<S>(bits, 1, part), run, 1, 0);
                    add_halves::<S, M>([first[0], second[0]], scales, run, 0, sums);
                    continue;
                }
                let halves = [six_bits::<S>(bits, 0, part), six_bits::<S>(bits, 1, part)];
                let mut m = 0;
                while m < M {
                    let first = half_run::<S, M>(&halves[0], run, 0, m);
                    let second = half_run::<S, M>(&halves[1], run, 1, m);
                    add_halves::<S, M>([first[0], second[0]], scales, run, m, sums);
                    add_halves::<S, M>([first[1], second[1]], scales, run, m + 1, sums);
                    m += 2;
                }
            }
        }
    }
}
