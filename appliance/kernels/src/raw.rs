//! Reading blocks as GGML writes them: the plain Rust reference that packing and every kernel stand on.
//!
//! Layouts follow `ggml-common.h` (`block_q4_0` … `block_q6_K`).

use half::f16;

use crate::{Format, KernelError, RawTensor};

/// One block of up to 256 values, taken apart. Codes are stored as the kernels use them: with their offset still in
/// (0..=15, 0..=31, 0..=63), except Q8_0, whose codes are two's complement.
#[derive(Clone)]
pub(crate) struct Block {
    /// f16 bits of the block scale.
    pub(crate) d: u16,
    /// f16 bits of the scale of the minimums; zero for formats without.
    pub(crate) dmin: u16,
    /// Sub-block scales: eight 6-bit ones (Q4_K, Q5_K) or sixteen signed ones (Q6_K).
    pub(crate) scales: [u8; 16],
    /// Sub-block minimums (Q4_K, Q5_K).
    pub(crate) mins: [u8; 8],
    /// One code per value.
    pub(crate) codes: [u8; 256],
}

/// One in each of eight bytes.
const EACH: u64 = 0x0101_0101_0101_0101;

impl Block {
    /// A block whose every value is zero: it fills the rows of a tile past the last row of the matrix.
    pub(crate) const ZERO: Block = Block { d: 0, dmin: 0, scales: [0; 16], mins: [0; 8], codes: [0; 256] };

    /// Takes one block of a quantized format apart. `bytes` must be `format.block_bytes()` long; missing bytes read
    /// as zero.
    pub(crate) fn read(format: Format, bytes: &[u8], into: &mut Block) {
        let mut rest = bytes;
        let mut take = |n: usize| {
            let (head, tail) = rest.split_at(n.min(rest.len()));
            rest = tail;
            head
        };
        match format {
            Format::Q4_0 => {
                into.d = u16_at(take(2));
                nibbles::<16>(take(16), &mut into.codes);
            }
            Format::Q5_0 => {
                into.d = u16_at(take(2));
                let bits = array::<4>(take(4));
                nibbles::<16>(take(16), &mut into.codes);
                for (codes, bits) in into.codes.as_chunks_mut::<8>().0.iter_mut().zip(bits) {
                    *codes = (u64::from_le_bytes(*codes) | fifth_bits(bits)).to_le_bytes();
                }
            }
            Format::Q8_0 => {
                into.d = u16_at(take(2));
                if let Some(codes) = into.codes.first_chunk_mut() {
                    *codes = array::<32>(take(32));
                }
            }
            Format::Q4K | Format::Q5K => {
                into.d = u16_at(take(2));
                into.dmin = u16_at(take(2));
                six_bit_scales(take(12), &mut into.scales, &mut into.mins);
                let high = (format == Format::Q5K).then(|| take(32).as_chunks::<8>().0);
                for (low, codes) in take(128).chunks_exact(32).zip(into.codes.chunks_exact_mut(64)) {
                    nibbles::<32>(low, codes);
                }
                let Some(high) = high else { return };
                for (run, codes) in into.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
                    for (codes, bits) in codes.as_chunks_mut().0.iter_mut().zip(high) {
                        let bits = (u64::from_le_bytes(*bits) >> run) & EACH;
                        *codes = (u64::from_le_bytes(*codes) | bits << 4).to_le_bytes();
                    }
                }
            }
            Format::Q6K => {
                let low = take(128);
                let high = take(64);
                into.scales.copy_from_slice(&array::<16>(take(16)));
                into.d = u16_at(take(2));
                let halves = into.codes.as_chunks_mut::<128>().0.iter_mut();
                let (low, high) = (low.as_chunks::<64>().0, high.as_chunks::<32>().0);
                for ((codes, low), high) in halves.zip(low).zip(high) {
                    six_bits(codes, low, high);
                }
            }
            Format::F32 | Format::F16 => {}
        }
    }

    /// The values of a block, written to `out` (as many as the format has in a block).
    pub(crate) fn values(&self, format: Format, out: &mut [f32]) {
        let d = f16::from_bits(self.d).to_f32();
        let dmin = f16::from_bits(self.dmin).to_f32();
        let coded = out.iter_mut().zip(self.codes);
        match format {
            Format::Q4_0 => coded.for_each(|(o, c)| *o = d * f32::from(c as i8 - 8)),
            Format::Q5_0 => coded.for_each(|(o, c)| *o = d * f32::from(c as i8 - 16)),
            Format::Q8_0 => coded.for_each(|(o, c)| *o = d * f32::from(c as i8)),
            Format::Q4K | Format::Q5K => {
                for ((out, codes), (scale, min)) in
                    out.chunks_mut(32).zip(self.codes.chunks(32)).zip(self.scales.iter().zip(self.mins))
                {
                    let (scale, min) = (d * f32::from(*scale), dmin * f32::from(min));
                    out.iter_mut().zip(codes).for_each(|(o, c)| *o = scale * f32::from(*c) - min);
                }
            }
            Format::Q6K => {
                for ((out, codes), scale) in out.chunks_mut(16).zip(self.codes.chunks(16)).zip(self.scales) {
                    let scale = d * f32::from(scale as i8);
                    out.iter_mut().zip(codes).for_each(|(o, c)| *o = scale * f32::from(*c as i8 - 32));
                }
            }
            Format::F32 | Format::F16 => {}
        }
    }
}

/// Half a block of Q6_K: four runs of 32 codes, whose upper two bits share bytes. Whole arrays, so that the compiler does many
/// codes at a time: a third of the time of loading a model of 1B went into reading its blocks one code at a time.
fn six_bits(codes: &mut [u8; 128], low: &[u8; 64], high: &[u8; 32]) {
    let ([a, b, c, d], [low, other]) = (codes.as_chunks_mut::<32>().0, low.as_chunks::<32>().0) else {
        return;
    };
    for (((a, c), low), high) in a.iter_mut().zip(c).zip(low).zip(high) {
        *a = low & 15 | (high & 3) << 4;
        *c = low >> 4 | (high >> 4 & 3) << 4;
    }
    for (((b, d), low), high) in b.iter_mut().zip(d).zip(other).zip(high) {
        *b = low & 15 | (high >> 2 & 3) << 4;
        *d = low >> 4 | (high >> 6) << 4;
    }
}

/// Low nibbles first, then high nibbles: `codes[i]` and `codes[i + N]`. Eight codes at a time; of
/// single ones the compiler makes code that takes two to three times as long (`kernel_bench`, *pack*).
fn nibbles<const N: usize>(bytes: &[u8], codes: &mut [u8]) {
    let Some((low, rest)) = codes.split_first_chunk_mut::<N>() else { return };
    let Some(high) = rest.first_chunk_mut::<N>() else { return };
    let slots = low.as_chunks_mut().0.iter_mut().zip(high.as_chunks_mut().0);
    for (bytes, (low, high)) in bytes.as_chunks().0.iter().zip(slots) {
        let bytes = u64::from_le_bytes(*bytes);
        *low = (bytes & (EACH * 15)).to_le_bytes();
        *high = ((bytes >> 4) & (EACH * 15)).to_le_bytes();
    }
}

/// Bit `i` of `bits` as bit 4 of byte `i`.
fn fifth_bits(bits: u8) -> u64 {
    // Byte `i` keeps bit `i` alone; what is not zero there carries into bit 7, never beyond.
    let kept = (u64::from(bits) * EACH) & 0x8040_2010_0804_0201;
    ((kept + EACH * 0x7f) >> 3) & (EACH * 0x10)
}

/// The eight 6-bit scales and eight 6-bit minimums that Q4_K and Q5_K keep in twelve bytes.
fn six_bit_scales(bytes: &[u8], scales: &mut [u8; 16], mins: &mut [u8; 8]) {
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3] = array::<12>(bytes);
    let groups = [(a0, b0, c0), (a1, b1, c1), (a2, b2, c2), (a3, b3, c3)];
    let (low_scales, high_scales) = scales.split_at_mut(4);
    let (low_mins, high_mins) = mins.split_at_mut(4);
    for (i, (a, b, c)) in groups.into_iter().enumerate() {
        for (slot, value) in [
            (low_scales.get_mut(i), a & 63),
            (low_mins.get_mut(i), b & 63),
            (high_scales.get_mut(i), c & 15 | a >> 6 << 4),
            (high_mins.get_mut(i), c >> 4 | b >> 6 << 4),
        ] {
            if let Some(slot) = slot {
                *slot = value;
            }
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    if let Some(whole) = bytes.first_chunk() {
        return *whole;
    }
    let mut out = [0; N];
    out.iter_mut().zip(bytes).for_each(|(o, b)| *o = *b);
    out
}

fn u16_at(bytes: &[u8]) -> u16 {
    u16::from_le_bytes(array::<2>(bytes))
}

impl RawTensor<'_> {
    /// Writes the values of row `row` to `out`, which must hold [`RawTensor::cols`] values.
    ///
    /// # Errors
    /// [`KernelError::OutOfRange`] past the last row, [`KernelError::Shape`] for a wrong `out`.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<(), KernelError> {
        crate::error::same("values in a dequantized row", self.cols(), out.len())?;
        let bytes =
            self.row(row).ok_or(KernelError::OutOfRange { what: "row", index: row, len: self.rows() })?;
        dequantize(self.format(), bytes, out);
        Ok(())
    }
}

/// Values of whole blocks; both slices have been checked to fit.
fn dequantize(format: Format, bytes: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *o = f32::from_le_bytes(array::<4>(b));
            }
        }
        Format::F16 => {
            for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *o = f16::from_bits(u16_at(b)).to_f32();
            }
        }
        _ => {
            let mut block = Block::ZERO;
            for (out, bytes) in
                out.chunks_mut(format.block_values()).zip(bytes.chunks_exact(format.block_bytes()))
            {
                Block::read(format, bytes, &mut block);
                block.values(format, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q4_0_puts_low_nibbles_first() {
        let mut bytes = vec![0x00, 0x3c]; // 1.0
        bytes.extend((0..16).map(|i| i | (15 - i) << 4));
        let tensor = RawTensor::new(Format::Q4_0, 1, 32, &bytes).unwrap();
        let mut out = [0.0; 32];
        tensor.dequantize_row(0, &mut out).unwrap();
        assert_eq!(out[0], -8.0);
        assert_eq!(out[15], 7.0);
        assert_eq!(out[16], 7.0);
        assert_eq!(out[31], -8.0);
    }

    #[test]
    fn q5_0_takes_the_fifth_bit_from_the_mask() {
        let mut bytes = vec![0x00, 0x3c, 0b0000_0001, 0, 0, 0b1000_0000];
        bytes.extend([0u8; 16]);
        let tensor = RawTensor::new(Format::Q5_0, 1, 32, &bytes).unwrap();
        let mut out = [0.0; 32];
        tensor.dequantize_row(0, &mut out).unwrap();
        assert_eq!((out[0], out[1], out[30], out[31]), (0.0, -16.0, -16.0, 0.0));
    }

    #[test]
    fn k_scales_spread_their_two_high_bits() {
        let bytes = [0xff, 0, 0, 0, 0x7f, 0, 0, 0, 0x21, 0, 0, 0];
        let (mut scales, mut mins) = ([0; 16], [0; 8]);
        six_bit_scales(&bytes, &mut scales, &mut mins);
        assert_eq!((scales[0], mins[0], scales[4], mins[4]), (63, 63, 1 | 3 << 4, 2 | 1 << 4));
    }

    #[test]
    fn q6_k_joins_four_and_two_bits() {
        let mut bytes = vec![0u8; 210];
        bytes[0] = 0x21; // values 0 and 64
        bytes[128] = 0b11_10_01_00; // values 0, 32, 64, 96
        bytes[192..208].fill(1);
        bytes[209] = 0x3c;
        let tensor = RawTensor::new(Format::Q6K, 1, 256, &bytes).unwrap();
        let mut out = [0.0; 256];
        tensor.dequantize_row(0, &mut out).unwrap();
        assert_eq!((out[0], out[32], out[64], out[96]), (1.0 - 32.0, 16.0 - 32.0, 34.0 - 32.0, 48.0 - 32.0));
    }
}
