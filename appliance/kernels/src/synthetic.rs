//! Raw tensors with random weights, for tests and benchmarks: they cost the same as trained ones.

use half::f16;

use crate::Format;

/// A small random generator (splitmix64), so that the same seed gives the same weights everywhere.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator that repeats itself for equal seeds.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number in −1 .. 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// `count` numbers in −1 .. 1.
    pub fn units(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.unit()).collect()
    }
}

/// The bytes of a tensor of random codes whose values have a standard deviation of about `deviation`.
///
/// `cols` must be whole blocks of the format; what is left over is dropped.
pub fn raw_tensor(format: Format, rows: usize, cols: usize, deviation: f32, random: &mut Random) -> Vec<u8> {
    let blocks = rows * cols / format.block_values();
    let mut bytes = vec![0u8; blocks * format.block_bytes()];
    for chunk in bytes.chunks_mut(8) {
        chunk.iter_mut().zip(random.bits().to_le_bytes()).for_each(|(b, r)| *b = r);
    }
    let put = |block: &mut [u8], at: usize, value: f32| {
        if let Some(slot) = block.get_mut(at..at + 2) {
            slot.copy_from_slice(&f16::from_f32(value).to_le_bytes());
        }
    };
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        let unit = random.unit();
        // Uniform codes of n values deviate by n / √12; the scale brings that to what is wanted.
        let spread = |codes: f32| deviation * 12f32.sqrt() / codes * (0.75 + 0.25 * unit);
        match format {
            Format::F32 => block.copy_from_slice(&(deviation * 3f32.sqrt() * unit).to_le_bytes()),
            Format::F16 => put(block, 0, deviation * 3f32.sqrt() * unit),
            Format::Q4_0 => put(block, 0, spread(16.0)),
            Format::Q5_0 => put(block, 0, spread(32.0)),
            Format::Q8_0 => put(block, 0, spread(256.0)),
            // Six-bit scales and minimums are 32 on average.
            Format::Q4K => {
                put(block, 0, spread(16.0) / 32.0);
                put(block, 2, spread(16.0) / 32.0 * 7.5);
            }
            Format::Q5K => {
                put(block, 0, spread(32.0) / 32.0);
                put(block, 2, spread(32.0) / 32.0 * 15.5);
            }
            // Signed eight-bit scales are 64 on average, sign aside.
            Format::Q6K => put(block, 208, spread(64.0) / 64.0),
        }
    }
    bytes
}
