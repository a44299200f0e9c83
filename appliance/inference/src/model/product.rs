//! Weights times activations: which kernel computes which matrix, and what is computed together.

use cairn_kernels::{Activations, Compute, Format, Gate, PackedMatrix, Product, Write};
use candle_core::{
    CpuStorage, Device, Module, Storage, Tensor,
    quantized::{QMatMul, QStorage, QTensor},
};

use crate::{
    error::ModelError,
    gguf::{TensorInfo, TensorType},
};

/// A matrix of weights; there is one copy of it in memory.
pub(crate) enum Weights {
    /// In the layout of our kernels.
    Packed(PackedMatrix),
    /// In a format that our kernels do not have (Q2_K, Q3_K, Q4_1, Q5_1, BF16, rows that are no multiple of 32):
    /// computed by Candle, slower.
    Candle(CandleProduct),
}

/// The format of our kernels for a tensor, if there is one.
pub(super) fn packed_format(info: &TensorInfo) -> Option<Format> {
    let format = match info.kind {
        TensorType::F32 => Format::F32,
        TensorType::F16 => Format::F16,
        TensorType::Q4_0 => Format::Q4_0,
        TensorType::Q5_0 => Format::Q5_0,
        TensorType::Q8_0 => Format::Q8_0,
        TensorType::Q4K => Format::Q4K,
        TensorType::Q5K => Format::Q5K,
        TensorType::Q6K => Format::Q6K,
        TensorType::Bf16 | TensorType::Q4_1 | TensorType::Q5_1 | TensorType::Q2K | TensorType::Q3K => {
            return None;
        }
    };
    PackedMatrix::packed_bytes(format, info.rows(), info.columns()).is_ok().then_some(format)
}

/// How a product wants its activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    /// As bytes.
    Quantized,
    /// As floats, by our kernels.
    Floats,
    /// As floats, by Candle.
    Candle,
}

impl Weights {
    fn wants(&self) -> Wants {
        match self {
            Self::Packed(matrix) if matrix.format().is_quantized() => Wants::Quantized,
            Self::Packed(_) => Wants::Floats,
            Self::Candle(_) => Wants::Candle,
        }
    }

    /// Number of outputs.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Packed(matrix) => matrix.rows(),
            Self::Candle(product) => product.rows,
        }
    }

    /// Whether a row's result is the same to the bit whatever other rows are computed with it.
    pub(crate) fn is_steady(&self) -> bool {
        matches!(self, Self::Packed(_))
    }

    /// The rows of these numbers (embedding look-up), one after the other.
    pub(crate) fn lookup(&self, compute: &Compute, rows: &[u32], out: &mut [f32]) -> Result<(), ModelError> {
        match self {
            Self::Packed(matrix) => Ok(compute.lookup(matrix, rows, out)?),
            Self::Candle(product) => product.lookup(rows, out),
        }
    }
}

/// A matrix with what is added after it.
pub(crate) struct Linear {
    pub(crate) weights: Weights,
    pub(super) bias: Option<Vec<f32>>,
}

impl Linear {
    pub(crate) fn rows(&self) -> usize {
        self.weights.rows()
    }

    pub(super) fn is_steady(&self) -> bool {
        self.weights.is_steady()
    }
}

/// One product of [`Operand::multiply`].
pub(crate) struct Target<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) out: &'a mut [f32],
}

impl<'a> Target<'a> {
    pub(crate) fn new(linear: &'a Linear, out: &'a mut [f32]) -> Self {
        Self { weights: &linear.weights, bias: linear.bias.as_deref(), out }
    }
}

/// Activations that several products share, in the forms that these want. Its memory is kept from one use to the next.
#[derive(Default)]
pub(crate) struct Operand {
    floats: Vec<f32>,
    quantized: Activations,
    rows: usize,
}

impl Operand {
    /// Takes `rows` rows as they are.
    pub(crate) fn take(
        &mut self,
        compute: &Compute,
        values: &[f32],
        rows: usize,
        users: &[&Weights],
    ) -> Result<(), ModelError> {
        self.rows = rows;
        if users.iter().any(|user| user.wants() != Wants::Quantized) {
            self.floats.clear();
            self.floats.extend_from_slice(values);
        }
        if users.iter().any(|user| user.wants() == Wants::Quantized) {
            compute.quantize(values, rows, values.len() / rows.max(1), &mut self.quantized)?;
        }
        Ok(())
    }

    /// Takes the root-mean-square norm of `rows` rows.
    pub(crate) fn take_normed(
        &mut self,
        compute: &Compute,
        values: &[f32],
        (scales, epsilon): (&[f32], f32),
        rows: usize,
        users: &[&Weights],
    ) -> Result<(), ModelError> {
        self.rows = rows;
        if users.iter().any(|user| user.wants() != Wants::Quantized) {
            self.floats.resize(values.len(), 0.0);
            compute.rms_norm(values, scales, epsilon, &mut self.floats)?;
        }
        if users.iter().any(|user| user.wants() == Wants::Quantized) {
            compute.rms_norm_quantize(values, scales, epsilon, rows, &mut self.quantized)?;
        }
        Ok(())
    }

    /// Multiplies with several matrices, together where their kernels allow it.
    pub(crate) fn multiply(
        &self,
        compute: &Compute,
        write: Write,
        targets: Vec<Target<'_>>,
    ) -> Result<(), ModelError> {
        let (mut quantized, mut floats) = (Vec::new(), Vec::new());
        for target in targets {
            let Target { weights, bias, out } = target;
            match weights {
                Weights::Packed(matrix) => {
                    let product = Product { matrix, bias, write, out };
                    if matrix.format().is_quantized() {
                        quantized.push(product)
                    } else {
                        floats.push(product)
                    }
                }
                Weights::Candle(product) => product.multiply(&self.floats, self.rows, bias, write, out)?,
            }
        }
        if !quantized.is_empty() {
            compute.multiply(&self.quantized, &mut quantized)?;
        }
        if !floats.is_empty() {
            compute.multiply_dense(&self.floats, self.rows, &mut floats)?;
        }
        Ok(())
    }

    /// `function(gate · x) × (up · x)`; `spare` is memory for the second factor where the two are not computed in one pass.
    pub(crate) fn multiply_gated(
        &self,
        compute: &Compute,
        (gate, up): (&Linear, &Linear),
        function: Gate,
        out: &mut [f32],
        spare: &mut Vec<f32>,
    ) -> Result<(), ModelError> {
        if let (Weights::Packed(gated), Weights::Packed(raised)) = (&gate.weights, &up.weights)
            && gated.format().is_quantized()
            && raised.format().is_quantized()
            && gate.bias.is_none()
            && up.bias.is_none()
        {
            return Ok(compute.multiply_gated(&self.quantized, gated, raised, function, out)?);
        }
        spare.resize(out.len(), 0.0);
        self.multiply(compute, Write::Store, vec![Target::new(gate, out), Target::new(up, spare)])?;
        Ok(compute.gate(function, out, spare, gate.rows())?)
    }
}

/// A product computed by Candle.
pub(crate) struct CandleProduct {
    weights: QMatMul,
    rows: usize,
    columns: usize,
}

impl CandleProduct {
    /// Takes a tensor's bytes as they are in the file.
    pub(crate) fn new(info: &TensorInfo, bytes: Vec<u8>) -> Result<Self, ModelError> {
        let (rows, columns) = (info.rows(), info.columns());
        let storage = QStorage::from_data(bytes.into(), &Device::Cpu, info.kind.into())?;
        let weights = QMatMul::from_qtensor(QTensor::new(storage, (rows, columns))?)?;
        Ok(Self { weights, rows, columns })
    }

    fn multiply(
        &self,
        x: &[f32],
        count: usize,
        bias: Option<&[f32]>,
        write: Write,
        out: &mut [f32],
    ) -> Result<(), ModelError> {
        let x = Tensor::from_slice(x, (count, self.columns), &Device::Cpu)?;
        let result = self.weights.forward(&x)?;
        each(&result, out, |out, value| match write {
            Write::Store => *out = value,
            Write::Add => *out += value,
        })?;
        if let Some(bias) = bias {
            for row in out.chunks_exact_mut(self.rows) {
                row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
            }
        }
        Ok(())
    }

    fn lookup(&self, rows: &[u32], out: &mut [f32]) -> Result<(), ModelError> {
        let rows = Tensor::from_slice(rows, rows.len(), &Device::Cpu)?;
        each(&self.weights.embedding(&rows)?, out, |out, value| *out = value)
    }
}

/// Brings the values of a tensor to `out`, one by one.
fn each(tensor: &Tensor, out: &mut [f32], mut put: impl FnMut(&mut f32, f32)) -> Result<(), ModelError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
        return Err(candle_core::Error::Msg("a product is not in memory as f32".into()).into());
    };
    match layout.contiguous_offsets().and_then(|(start, end)| values.get(start..end)) {
        Some(values) if values.len() == out.len() => {
            out.iter_mut().zip(values).for_each(|(out, value)| put(out, *value));
            Ok(())
        }
        _ => Err(candle_core::Error::Msg(format!("a product has the shape {:?}", tensor.shape())).into()),
    }
}
