//! Weights times activations: the seam behind which kernels can be exchanged.

use candle_core::{
    CpuStorage, Device, Module, Storage, Tensor,
    quantized::{QMatMul, QStorage, QTensor},
};

use crate::{error::ModelError, gguf::TensorInfo};

/// A matrix of weights.
pub(crate) trait Product: Send + Sync {
    /// Number of outputs.
    fn rows(&self) -> usize;
    /// `out[i] = weights · x[i]` for `count` activations, one after the other.
    fn apply(&self, x: &[f32], count: usize, out: &mut [f32]) -> Result<(), ModelError>;
    /// The rows of these numbers (embedding lookup), one after the other.
    fn lookup(&self, rows: &[u32], out: &mut [f32]) -> Result<(), ModelError>;
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
}

impl Product for CandleProduct {
    fn rows(&self) -> usize {
        self.rows
    }

    fn apply(&self, x: &[f32], count: usize, out: &mut [f32]) -> Result<(), ModelError> {
        let x = Tensor::from_slice(x, (count, self.columns), &Device::Cpu)?;
        copy(&self.weights.forward(&x)?, out)
    }

    fn lookup(&self, rows: &[u32], out: &mut [f32]) -> Result<(), ModelError> {
        let rows = Tensor::from_slice(rows, rows.len(), &Device::Cpu)?;
        copy(&self.weights.embedding(&rows)?, out)
    }
}

fn copy(tensor: &Tensor, out: &mut [f32]) -> Result<(), ModelError> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(CpuStorage::F32(values)) = &*storage else {
        return Err(candle_core::Error::Msg("a product is not in memory as f32".into()).into());
    };
    match layout.contiguous_offsets().and_then(|(start, end)| values.get(start..end)) {
        Some(values) if values.len() == out.len() => out.copy_from_slice(values),
        _ => {
            return Err(
                candle_core::Error::Msg(format!("a product has the shape {:?}", tensor.shape())).into()
            );
        }
    }
    Ok(())
}
