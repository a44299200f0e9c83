//! The packed byte layout: the contract between packing, cache files and kernels.
//!
//! A packed matrix is a sequence of *tiles* of 16 rows; rows past the last one are zero. A tile is a sequence of
//! *units* along the columns (one GGML block of each of the 16 rows). Inside a unit every 16-row vector of scales comes
//! right before the codes that it scales, so a kernel reads the matrix strictly forward. Codes are interleaved in
//! *groups* of four columns: 16 rows × 4 bytes = 64 bytes, which is one AVX-512 register, two AVX2 registers or
//! four NEON registers, and exactly what `vpdpbusd` and `sdot` consume against four broadcast activation bytes.
//! The same bytes serve every processor, so a card moved from one board to another keeps its cache.
//!
//! For one run of 32 columns (eight groups), `r` being the row in the tile and `j` the column in the group:
//! - *bytes* (Q8_0): group g at byte `64 g + 4 r + j`, two's complement;
//! - *nibbles*: four vectors of 64 bytes; vector v holds group 2v in its low and group 2v + 1 in its high nibbles;
//! - *fifth bits* (Q5_0, Q5_K): one vector; bit g of byte `4 r + j` belongs to group g;
//! - *bits 4 and 5* (Q6_K): two vectors; in vector h, bits 2t and 2t + 1 of byte `4 r + j` belong to group 4h + t.
//!
//! | format | unit |
//! |---|---|
//! | Q4_0 | 16 f16 scales, nibbles |
//! | Q5_0 | 16 f16 scales, fifth bits, nibbles |
//! | Q8_0 | 16 f16 scales, bytes |
//! | Q4_K | 16 f16 d, 16 f16 dmin, then 8 × (16 scales, 16 minimums, nibbles) |
//! | Q5_K | 16 f16 d, 16 f16 dmin, then 8 × (16 scales, 16 minimums, fifth bits, nibbles) |
//! | Q6_K | 16 f16 d, then 8 × (16 + 16 signed scales, bits 4 and 5, nibbles) |
//! | F16, F32 | one column: 16 values |

use crate::Format;
use crate::raw::Block;

/// Version of the packed layout. A cache file made under another version must be made anew.
pub const LAYOUT_VERSION: u32 = 1;
/// Rows of one tile.
pub const TILE_ROWS: usize = 16;
/// Columns that one activation scale covers.
pub const RUN: usize = 32;

/// Bytes of one vector of codes: 16 rows × 4 columns.
pub(crate) const VECTOR: usize = 64;
pub(crate) const NIBBLES: usize = 4 * VECTOR;
/// Bytes of 16 f16 scales.
pub(crate) const HALVES: usize = 2 * TILE_ROWS;

/// Bytes of one sub-block (32 columns) of each K format, with its scales.
pub(crate) const SUB_Q4K: usize = 2 * TILE_ROWS + NIBBLES;
pub(crate) const SUB_Q5K: usize = 2 * TILE_ROWS + VECTOR + NIBBLES;
pub(crate) const SUB_Q6K: usize = 2 * TILE_ROWS + 2 * VECTOR + NIBBLES;

/// Bytes of one unit: one GGML block of each of the 16 rows of a tile.
pub(crate) const fn unit_bytes(format: Format) -> usize {
    match format {
        Format::F32 => 4 * TILE_ROWS,
        Format::F16 => 2 * TILE_ROWS,
        Format::Q4_0 => HALVES + NIBBLES,
        Format::Q5_0 => HALVES + VECTOR + NIBBLES,
        Format::Q8_0 => HALVES + 8 * VECTOR,
        Format::Q4K => 2 * HALVES + 8 * SUB_Q4K,
        Format::Q5K => 2 * HALVES + 8 * SUB_Q5K,
        Format::Q6K => HALVES + 8 * SUB_Q6K,
    }
}

/// Writes one unit from the 16 blocks of its rows. `out` has [`unit_bytes`] bytes and is zero.
pub(crate) fn write_unit(format: Format, rows: &[Block; TILE_ROWS], out: &mut [u8]) {
    let mut out = Cursor { rest: out };
    match format {
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => {
            out.halves(rows.iter().map(|b| b.d));
            match format {
                Format::Q8_0 => return bytes(rows, out.take(8 * VECTOR)),
                Format::Q5_0 => fifth_bits(rows, 0, out.take(VECTOR)),
                _ => {}
            }
            nibbles(rows, 0, out.take(NIBBLES));
        }
        Format::Q4K | Format::Q5K => {
            out.halves(rows.iter().map(|b| b.d));
            out.halves(rows.iter().map(|b| b.dmin));
            for sub in 0..8 {
                out.bytes(rows.iter().filter_map(|b| b.scales.get(sub).copied()));
                out.bytes(rows.iter().filter_map(|b| b.mins.get(sub).copied()));
                if format == Format::Q5K {
                    fifth_bits(rows, sub, out.take(VECTOR));
                }
                nibbles(rows, sub, out.take(NIBBLES));
            }
        }
        Format::Q6K => {
            out.halves(rows.iter().map(|b| b.d));
            for sub in 0..8 {
                out.bytes(rows.iter().filter_map(|b| b.scales.get(2 * sub).copied()));
                out.bytes(rows.iter().filter_map(|b| b.scales.get(2 * sub + 1).copied()));
                high_bits(rows, sub, out.take(2 * VECTOR));
                nibbles(rows, sub, out.take(NIBBLES));
            }
        }
        Format::F16 | Format::F32 => {}
    }
}

/// Reads the block of row `row` of a tile back out of a unit.
pub(crate) fn read_unit(format: Format, unit: &[u8], row: usize, block: &mut Block) {
    let at = |i: usize| unit.get(i).copied().unwrap_or(0);
    let half = |i: usize| u16::from_le_bytes([at(i + 2 * row), at(i + 2 * row + 1)]);
    block.d = half(0);
    let nibble = |base: usize, i: usize| {
        let (group, column) = (i / 4, i % 4);
        let byte = at(base + group / 2 * VECTOR + row * 4 + column);
        if group % 2 == 0 { byte & 15 } else { byte >> 4 }
    };
    let fifth = |base: usize, i: usize| (at(base + row * 4 + i % 4) >> (i / 4) & 1) << 4;
    match format {
        Format::Q4_0 => fill(block, 0, |i| nibble(HALVES, i)),
        Format::Q5_0 => fill(block, 0, |i| nibble(HALVES + VECTOR, i) | fifth(HALVES, i)),
        Format::Q8_0 => fill(block, 0, |i| at(HALVES + i / 4 * VECTOR + row * 4 + i % 4)),
        Format::Q4K | Format::Q5K => {
            block.dmin = half(HALVES);
            let size = if format == Format::Q4K { SUB_Q4K } else { SUB_Q5K };
            for sub in 0..8 {
                let base = 2 * HALVES + sub * size;
                if let (Some(scale), Some(min)) = (block.scales.get_mut(sub), block.mins.get_mut(sub)) {
                    *scale = at(base + row);
                    *min = at(base + TILE_ROWS + row);
                }
                let codes = base + 2 * TILE_ROWS;
                if format == Format::Q4K {
                    fill(block, sub, |i| nibble(codes, i));
                } else {
                    fill(block, sub, |i| nibble(codes + VECTOR, i) | fifth(codes, i));
                }
            }
        }
        Format::Q6K => {
            for sub in 0..8 {
                let base = HALVES + sub * SUB_Q6K;
                for part in 0..2 {
                    if let Some(scale) = block.scales.get_mut(2 * sub + part) {
                        *scale = at(base + part * TILE_ROWS + row);
                    }
                }
                let high = base + 2 * TILE_ROWS;
                fill(block, sub, |i| {
                    let group = i / 4;
                    let bits = at(high + group / 4 * VECTOR + row * 4 + i % 4) >> (group % 4 * 2) & 3;
                    nibble(high + 2 * VECTOR, i) | bits << 4
                });
            }
        }
        Format::F16 | Format::F32 => {}
    }
}

/// The 32 codes of sub-block `sub`.
fn run(block: &Block, sub: usize) -> &[u8] {
    block.codes.get(sub * RUN..(sub + 1) * RUN).unwrap_or_default()
}

fn fill(block: &mut Block, sub: usize, code: impl Fn(usize) -> u8) {
    for (i, slot) in block.codes.iter_mut().skip(sub * RUN).take(RUN).enumerate() {
        *slot = code(i);
    }
}

fn bytes(rows: &[Block; TILE_ROWS], out: &mut [u8]) {
    for (row, block) in rows.iter().enumerate() {
        for (vector, codes) in out.chunks_exact_mut(VECTOR).zip(groups(block, 0)) {
            put(vector, row, codes);
        }
    }
}

fn nibbles(rows: &[Block; TILE_ROWS], sub: usize, out: &mut [u8]) {
    for (row, block) in rows.iter().enumerate() {
        for (vector, pair) in out.chunks_exact_mut(VECTOR).zip(groups(block, sub).chunks_exact(2)) {
            if let [low, high] = *pair {
                put(vector, row, low & 0x0f0f_0f0f | (high & 0x0f0f_0f0f) << 4);
            }
        }
    }
}

fn fifth_bits(rows: &[Block; TILE_ROWS], sub: usize, out: &mut [u8]) {
    for (row, block) in rows.iter().enumerate() {
        let groups = groups(block, sub);
        let bits =
            (0..).zip(groups).fold(0, |bits, (group, codes)| bits | (codes >> 4 & 0x0101_0101) << group);
        put(out, row, bits);
    }
}

/// Bits 4 and 5 of the codes: two vectors.
fn high_bits(rows: &[Block; TILE_ROWS], sub: usize, out: &mut [u8]) {
    for (row, block) in rows.iter().enumerate() {
        for (vector, half) in out.chunks_exact_mut(VECTOR).zip(groups(block, sub).chunks_exact(4)) {
            let bits =
                (0..).zip(half).fold(0, |bits, (t, codes)| bits | (codes >> 4 & 0x0303_0303) << (2 * t));
            put(vector, row, bits);
        }
    }
}

/// The eight groups of sub-block `sub`: four codes in a number, the first in its lowest byte.
fn groups(block: &Block, sub: usize) -> [u32; 8] {
    let mut groups = [0; 8];
    for (group, codes) in groups.iter_mut().zip(run(block, sub).as_chunks().0) {
        *group = u32::from_le_bytes(*codes);
    }
    groups
}

/// Writes four codes of row `row` into a vector.
fn put(vector: &mut [u8], row: usize, codes: u32) {
    if let Some(slot) = vector.as_chunks_mut().0.get_mut(row) {
        *slot = codes.to_le_bytes();
    }
}

/// Hands out the parts of a unit front to back.
struct Cursor<'a> {
    rest: &'a mut [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> &'a mut [u8] {
        let rest = std::mem::take(&mut self.rest);
        let (head, tail) = rest.split_at_mut(len.min(rest.len()));
        self.rest = tail;
        head
    }

    fn halves(&mut self, values: impl Iterator<Item = u16>) {
        for (slot, value) in self.take(HALVES).chunks_exact_mut(2).zip(values) {
            slot.copy_from_slice(&value.to_le_bytes());
        }
    }

    fn bytes(&mut self, values: impl Iterator<Item = u8>) {
        for (slot, value) in self.take(TILE_ROWS).iter_mut().zip(values) {
            *slot = value;
        }
    }
}
