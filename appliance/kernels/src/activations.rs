//! Activations quantized to 8 bits.

use crate::buffer::{Buffer, Shards, Use};
use crate::dispatch::panel_height;
use crate::error::same;
use crate::panel::{ROW_RUN_BYTES, stride};
use crate::{Compute, KernelError, RUN};

/// Most activation rows of one call; a longer prompt is cut into slices anyway.
pub const MAX_ACTIVATION_ROWS: usize = 1 << 16;

/// Writes one row of a panel: row `index` of `height`. The row's length is a multiple of [`RUN`].
///
/// # Safety
/// `panel` is valid for writes of `row.len() / RUN` runs of a panel of `height` rows; `index < height`. The processor has
/// the path's instructions.
pub(crate) type QuantizeRow = unsafe fn(row: &[f32], height: usize, index: usize, panel: *mut u8);

/// A batch of activation rows, quantized to 8 bits with one scale per row and run of 32 columns, in the order in which
/// the kernels of one [`Compute`] read them. It is made once and shared by all products with the same input. The memory is
/// kept from one use to the next.
pub struct Activations {
    rows: usize,
    cols: usize,
    /// Most rows of a panel, as the path wants it.
    panel: usize,
    bytes: Buffer,
}

impl Activations {
    /// An empty batch.
    pub fn new() -> Self {
        Self { rows: 0, cols: 0, panel: 1, bytes: Buffer::empty() }
    }

    /// Number of activation rows (tokens).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (input features).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Writes what the codes of row `row` stand for (code × scale) to `out`, which has [`Activations::cols`] values.
    ///
    /// # Errors
    /// [`KernelError::OutOfRange`] past the last row, [`KernelError::Shape`] for a wrong `out`.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<(), KernelError> {
        same("values in a dequantized row", self.cols, out.len())?;
        let past_end = KernelError::OutOfRange { what: "row", index: row, len: self.rows };
        let (first, height, _) = self
            .panels()
            .find(|(first, height, _)| (*first..first + height).contains(&row))
            .ok_or(past_end)?;
        let index = row - first;
        let panel =
            self.bytes.as_slice().get(first * (self.cols / RUN) * ROW_RUN_BYTES..).unwrap_or_default();
        for (run, out) in panel.chunks_exact(stride(height)).zip(out.chunks_exact_mut(RUN)) {
            let at = RUN * height + 4 * index;
            let scale =
                run.get(at..at + 4).and_then(|b| b.first_chunk()).map_or(0.0, |b| f32::from_le_bytes(*b));
            for (out, code) in out.iter_mut().zip(run.get(RUN * index..).unwrap_or_default()) {
                *out = scale * f32::from(*code as i8);
            }
        }
        Ok(())
    }

    /// Most rows of a panel.
    pub(crate) fn panel(&self) -> usize {
        self.panel
    }

    /// First row, height and start of every panel.
    pub(crate) fn panels(&self) -> impl Iterator<Item = (usize, usize, *const u8)> + '_ {
        let row_bytes = self.cols / RUN * ROW_RUN_BYTES;
        let mut first = 0;
        std::iter::from_fn(move || {
            if first >= self.rows {
                return None;
            }
            let height = panel_height(self.rows - first, self.panel);
            let start = self.bytes.as_slice().get(first * row_bytes..)?.as_ptr();
            let panel = (first, height, start);
            first += height;
            Some(panel)
        })
    }

    /// Makes room for `rows` × `cols` in panels of at most `panel` rows.
    fn prepare(&mut self, rows: usize, cols: usize, panel: usize) -> Result<(), KernelError> {
        let bytes = rows * (cols / RUN) * ROW_RUN_BYTES;
        if bytes > self.bytes.len() {
            self.bytes = Buffer::zeroed(bytes, Use::Growing)?;
        }
        (self.rows, self.cols, self.panel) = (rows, cols, panel);
        Ok(())
    }
}

impl Default for Activations {
    fn default() -> Self {
        Self::new()
    }
}

impl Compute {
    /// Quantizes `rows` rows of `cols` values, row after row in `values`, into `into`. Each run of 32 columns gets
    /// the scale max |x| / 127, so the error of a value is at most half of that. A run with a value that is not finite makes
    /// every product with it NaN.
    ///
    /// # Errors
    /// [`KernelError::Dimensions`] when `cols` is not a multiple of 32 or a dimension is out of range,
    /// [`KernelError::Shape`] when `values` has another length.
    pub fn quantize(
        &self,
        values: &[f32],
        rows: usize,
        cols: usize,
        into: &mut Activations,
    ) -> Result<(), KernelError> {
        self.quantize_rows(values, None, rows, cols, into)
    }

    /// [`Compute::quantize`] of the root-mean-square norm of each row: `x / √(mean(x²) + epsilon) × weight`. With a `weight`
    /// of `cols` values.
    ///
    /// # Errors
    /// Those of [`Compute::quantize`].
    pub fn rms_norm_quantize(
        &self,
        values: &[f32],
        weight: &[f32],
        epsilon: f32,
        rows: usize,
        into: &mut Activations,
    ) -> Result<(), KernelError> {
        self.quantize_rows(values, Some((weight, epsilon)), rows, weight.len(), into)
    }

    fn quantize_rows(
        &self,
        values: &[f32],
        norm: Option<(&[f32], f32)>,
        rows: usize,
        cols: usize,
        into: &mut Activations,
    ) -> Result<(), KernelError> {
        if rows == 0
            || rows > MAX_ACTIVATION_ROWS
            || cols == 0
            || cols > crate::MAX_COLS
            || !cols.is_multiple_of(RUN)
        {
            return Err(KernelError::Dimensions { rows, cols });
        }
        same("activation values", rows * cols, values.len())?;
        let panel = self.table().panel;
        into.prepare(rows, cols, panel)?;
        let row_bytes = cols / RUN * ROW_RUN_BYTES;
        let (quantize, rms_norm) = (self.table().quantize_row, self.table().elementwise.rms_norm);
        let shards = Shards::new(into.bytes.as_mut_slice());
        // Panels of full height are the items; the last item takes what is left over.
        self.pool().run(rows.div_ceil(panel), |item| {
            let mut normed = vec![0.0; if norm.is_some() { cols } else { 0 }];
            let (mut first, end) = (item * panel, ((item + 1) * panel).min(rows));
            while first < end {
                let height = panel_height(end - first, panel);
                // SAFETY: each item has its own rows and so its own bytes.
                let out = unsafe { shards.slice(first * row_bytes, height * row_bytes) };
                if out.len() == cols / RUN * stride(height) {
                    for index in 0..height {
                        let row = first + index;
                        let row = values.get(row * cols..(row + 1) * cols).unwrap_or_default();
                        // SAFETY: the table is one for this processor. A row, the weights and `normed` have `cols`
                        // values; `out` has the bytes of the whole panel; `index < height`.
                        unsafe {
                            match norm {
                                Some((weight, epsilon)) => {
                                    rms_norm(row, weight, epsilon, &mut normed);
                                    quantize(&normed, height, index, out.as_mut_ptr());
                                }
                                None => quantize(row, height, index, out.as_mut_ptr()),
                            }
                        }
                    }
                }
                first += height;
            }
        });
        Ok(())
    }
}

/// Adding and subtracting this rounds a float of magnitude below 2^22 to the nearest integer, ties to even, and leaves
/// that integer in the low bits of the sum.
const ROUNDER: f32 = 12_582_912.0;

/// The body of [`QuantizeRow`].
///
/// # Safety
/// As [`QuantizeRow`].
#[inline(always)]
#[allow(clippy::indexing_slicing, reason = "indices are below constant array lengths")]
pub(crate) unsafe fn quantize_row(row: &[f32], height: usize, index: usize, panel: *mut u8) {
    const LANES: usize = 8;
    for (run, x) in row.as_chunks::<RUN>().0.iter().enumerate() {
        let mut largest = [0.0f32; LANES];
        let mut poison = [0.0f32; LANES];
        for lanes in x.as_chunks::<LANES>().0 {
            for l in 0..LANES {
                let size = lanes[l].abs();
                largest[l] = if size > largest[l] { size } else { largest[l] };
                poison[l] += lanes[l] * 0.0;
            }
        }
        let largest = largest.into_iter().fold(0.0f32, |a, b| if b > a { b } else { a });
        let poison: f32 = poison.iter().sum();
        let inverse = crate::simd::ACTIVATION_MAX as f32 / largest;
        // Zero, or so close to it that the inverse is not a number to compute with.
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        let scale = largest / crate::simd::ACTIVATION_MAX as f32 + poison;

        let mut codes = [0i8; RUN];
        let mut sums = [[0i32; LANES]; 2];
        for (i, lanes) in x.as_chunks::<LANES>().0.iter().enumerate() {
            for l in 0..LANES {
                let scaled = lanes[l] * inverse;
                // Written so that NaN becomes a bound: the codes must stay within ±127 whatever comes in.
                let bounded = if scaled > -127.0 { scaled } else { -127.0 };
                let bounded = if bounded < 127.0 { bounded } else { 127.0 };
                let code = (bounded + ROUNDER).to_bits() as i32 - ROUNDER.to_bits() as i32;
                codes[i * LANES + l] = code as i8;
                sums[i / 2][l] += code;
            }
        }
        let sums = sums.map(|lanes| lanes.iter().sum::<i32>());
        // SAFETY: run, height and index are in the range of the contract, so every offset lies inside the panel.
        unsafe {
            let at = panel.add(run * stride(height));
            at.add(RUN * index).cast::<[i8; RUN]>().write_unaligned(codes);
            let sum = sums[0] + sums[1];
            at.add(RUN * height + 4 * index).cast::<f32>().write_unaligned(scale);
            at.add((RUN + 4) * height + 4 * index).cast::<f32>().write_unaligned(-scale * sum as f32);
            at.add((RUN + 8) * height + 4 * index).cast::<i32>().write_unaligned(-sum);
            at.add((RUN + 12) * height + 8 * index).cast::<[i32; 2]>().write_unaligned(sums.map(|s| -s));
        }
    }
}
