//! The safe face of the elementwise kernels: rows of a batch, on the threads of the pool where that pays.

use crate::buffer::Shards;
use crate::error::same;
use crate::{Compute, KernelError, PackedMatrix};

/// Fewest values that are worth a parallel region.
const PARALLEL_FROM: usize = 1 << 14;

/// Which dimensions of a head a rotary position embedding turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeStyle {
    /// (2i, 2i + 1): GGUF files of the Llama family, whose projections are permuted for it.
    Interleaved,
    /// (i, i + half): Qwen, Gemma, Phi.
    Neox,
}

/// Cosines and sines of a rotary position embedding for all positions up to a limit.
pub struct RopeTable {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// Angles `position × scale × base^(−2i / dim) / factors[i]` for `i` in `0 .. dim / 2` and `positions` positions.
    /// `dim` is the number of dimensions that turn: the head dimension, or less where only a part of a head does. `factors`
    /// (the tensor `rope_freqs.weight`) has `dim / 2` values.
    ///
    /// # Errors
    /// [`KernelError::Shape`] for an odd `dim` or wrong `factors`, [`KernelError::OutOfRange`] for a dimension or a number of
    /// positions above the limits.
    pub fn new(
        dim: usize,
        base: f32,
        scale: f32,
        factors: Option<&[f32]>,
        positions: usize,
    ) -> Result<Self, KernelError> {
        if dim == 0 || dim > crate::MAX_HEAD_DIM {
            return Err(KernelError::OutOfRange {
                what: "rotary dimension",
                index: dim,
                len: crate::MAX_HEAD_DIM + 1,
            });
        }
        if positions > crate::MAX_POSITIONS {
            return Err(KernelError::OutOfRange {
                what: "position",
                index: positions,
                len: crate::MAX_POSITIONS + 1,
            });
        }
        let half = dim / 2;
        same("rotary dimension", 2 * half, dim)?;
        if let Some(factors) = factors {
            same("rotary factors", half, factors.len())?;
        }
        let frequencies: Vec<f64> = (0..half)
            .map(|i| {
                let factor = factors.and_then(|f| f.get(i)).map_or(1.0, |f| f64::from(*f));
                f64::from(base).powf(-2.0 * i as f64 / dim as f64) * f64::from(scale) / factor
            })
            .collect();
        let angles = (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let (sin, cos) = angles.map(|a| (a.sin() as f32, a.cos() as f32)).unzip();
        Ok(Self { half, cos, sin })
    }

    /// The same with all cosines and sines multiplied by `magnitude` (Phi-3's attention factor).
    #[must_use]
    pub fn with_magnitude(mut self, magnitude: f32) -> Self {
        self.cos.iter_mut().chain(&mut self.sin).for_each(|value| *value *= magnitude);
        self
    }

    /// Positions that the table covers.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }

    fn at(&self, position: usize) -> Option<(&[f32], &[f32])> {
        let range = position * self.half..(position + 1) * self.half;
        Some((self.cos.get(range.clone())?, self.sin.get(range)?))
    }
}

impl Compute {
    /// `out = x / √(mean(x²) + epsilon) × weight` for each row of `weight.len()` values. Rows may be heads: the norm of
    /// queries and keys in Qwen 3 and Gemma 3.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when `x` is not whole rows or `out` is of another length.
    pub fn rms_norm(
        &self,
        x: &[f32],
        weight: &[f32],
        epsilon: f32,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let norm = self.table().elementwise.rms_norm;
        same("values of the norm's output", x.len(), out.len())?;
        self.rows(out, weight.len(), |row, out| {
            let x = x.get(row * weight.len()..(row + 1) * weight.len()).unwrap_or_default();
            // SAFETY: the table's functions may run on this processor; the slices have equal lengths.
            unsafe { norm(x, weight, epsilon, out) };
        })
    }

    /// [`Compute::rms_norm`] in place.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when `x` is not whole rows.
    pub fn rms_norm_in_place(&self, x: &mut [f32], weight: &[f32], epsilon: f32) -> Result<(), KernelError> {
        let norm = self.table().elementwise.rms_norm;
        self.rows(x, weight.len(), |_, row| {
            let copy = row.to_vec();
            // SAFETY: the table's functions may run on this processor; the slices have equal lengths.
            unsafe { norm(&copy, weight, epsilon, row) };
        })
    }

    /// `out = (x − mean) / √(variance + epsilon) × weight + bias` for each row of `weight.len()` values.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when lengths do not fit.
    pub fn layer_norm(
        &self,
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        epsilon: f32,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        same("values of the norm's output", x.len(), out.len())?;
        same("values of the norm's bias", weight.len(), bias.len())?;
        let norm = self.table().elementwise.layer_norm;
        self.rows(out, weight.len(), |row, out| {
            let x = x.get(row * weight.len()..(row + 1) * weight.len()).unwrap_or_default();
            // SAFETY: the table's functions may run on this processor; the slices have equal lengths.
            unsafe { norm(x, weight, bias, epsilon, out) };
        })
    }

    /// GELU by the error function, in place, on rows of `cols` values.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when `x` is not whole rows.
    pub fn gelu(&self, x: &mut [f32], cols: usize) -> Result<(), KernelError> {
        let gelu = self.table().elementwise.gelu;
        // SAFETY: the table's functions may run on this processor.
        self.rows(x, cols, |_, row| unsafe { gelu(row) })
    }

    /// `gate ← f(gate) × up` on rows of `cols` values, for models whose two halves are one matrix.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when lengths do not fit.
    pub fn gate(
        &self,
        function: crate::Gate,
        gate: &mut [f32],
        up: &[f32],
        cols: usize,
    ) -> Result<(), KernelError> {
        same("values of the gate", up.len(), gate.len())?;
        let apply = match function {
            crate::Gate::Silu => self.table().elementwise.silu_mul,
            crate::Gate::GeluTanh => self.table().elementwise.gelu_tanh_mul,
        };
        self.rows(gate, cols, |row, gate| {
            let up = up.get(row * cols..(row + 1) * cols).unwrap_or_default();
            // SAFETY: the table's functions may run on this processor; the slices have equal lengths.
            unsafe { apply(gate, up) };
        })
    }

    /// Softmax of each row of `cols` values, in place.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when `x` is not whole rows.
    pub fn softmax(&self, x: &mut [f32], cols: usize) -> Result<(), KernelError> {
        let softmax = self.table().elementwise.softmax;
        // SAFETY: the table's functions may run on this processor.
        self.rows(x, cols, |_, row| unsafe { softmax(row) })
    }

    /// Squashes every value to ±cap: `x ← cap × tanh(x / cap)`.
    ///
    /// # Errors
    /// None today; the result is there so that callers read alike.
    pub fn soft_cap(&self, x: &mut [f32], cap: f32) -> Result<(), KernelError> {
        let soft_cap = self.table().elementwise.soft_cap;
        let cols = x.len().max(1);
        // SAFETY: the table's functions may run on this processor.
        self.rows(x, cols, |_, row| unsafe { soft_cap(row, cap) })
    }

    /// Turns the first `2 × table half` dimensions of each head of `head_dim` values; `positions` has one position
    /// per row of `heads × head_dim` values.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when lengths do not fit, [`KernelError::OutOfRange`] for a position past the table.
    pub fn rope(
        &self,
        x: &mut [f32],
        head_dim: usize,
        positions: &[u32],
        table: &RopeTable,
        style: RopeStyle,
    ) -> Result<(), KernelError> {
        let cols = x.len() / positions.len().max(1);
        same("values to turn", cols * positions.len(), x.len())?;
        same("whole heads", cols.next_multiple_of(head_dim.max(1)), cols)?;
        if 2 * table.half > head_dim {
            return Err(KernelError::Shape {
                what: "rotary dimension",
                expected: head_dim,
                found: 2 * table.half,
            });
        }
        for position in positions {
            if table.at(*position as usize).is_none() {
                let (index, len) = (*position as usize, table.positions());
                return Err(KernelError::OutOfRange { what: "position", index, len });
            }
        }
        let turn = match style {
            RopeStyle::Interleaved => self.table().elementwise.rope_pairs,
            RopeStyle::Neox => self.table().elementwise.rope_halves,
        };
        self.rows(x, cols, |row, values| {
            let Some((cos, sin)) = positions.get(row).and_then(|p| table.at(*p as usize)) else { return };
            for head in values.chunks_exact_mut(head_dim) {
                if let Some(part) = head.get_mut(..2 * table.half) {
                    // SAFETY: the table's functions may run on this processor; `part` is twice as long as the others.
                    unsafe { turn(part, cos, sin) };
                }
            }
        })
    }

    /// Writes the values of the rows `rows` of a matrix to `out`, one after the other: an embedding look-up.
    ///
    /// # Errors
    /// [`KernelError::OutOfRange`] for a row that the matrix does not have, [`KernelError::Shape`] for a wrong `out`.
    pub fn lookup(&self, matrix: &PackedMatrix, rows: &[u32], out: &mut [f32]) -> Result<(), KernelError> {
        same("values of looked up rows", rows.len() * matrix.cols(), out.len())?;
        if let Some(row) = rows.iter().find(|row| **row as usize >= matrix.rows()) {
            return Err(KernelError::OutOfRange { what: "row", index: *row as usize, len: matrix.rows() });
        }
        self.rows(out, matrix.cols(), |index, out| {
            // Row numbers and lengths were checked, so there is nothing left that could be refused.
            let done = rows.get(index).map_or(Ok(()), |row| matrix.dequantize_row(*row as usize, out));
            debug_assert!(done.is_ok());
        })
    }

    /// Calls `row` with the number and the values of each row of `cols` values.
    fn rows(
        &self,
        x: &mut [f32],
        cols: usize,
        row: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<(), KernelError> {
        let cols = cols.max(1);
        let count = x.len() / cols;
        same("values in whole rows", count * cols, x.len())?;
        if x.len() < PARALLEL_FROM {
            x.chunks_exact_mut(cols).enumerate().for_each(|(i, values)| row(i, values));
            return Ok(());
        }
        let step = count.div_ceil(4 * self.pool().threads());
        let shards = Shards::new(x);
        self.pool().run(count.div_ceil(step), |item| {
            for i in item * step..((item + 1) * step).min(count) {
                // SAFETY: each row is given out once.
                row(i, unsafe { shards.slice(i * cols, cols) });
            }
        });
        Ok(())
    }
}
