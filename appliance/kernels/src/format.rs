//! The weight formats of a GGUF file and what a well-formed tensor of each looks like.

use std::fmt;

use crate::KernelError;

/// Largest number of rows of one matrix; vocabularies of today's models are below 2^18.
pub const MAX_ROWS: usize = 1 << 22;
/// Largest number of columns of one matrix; feed-forward widths of today's models are below 2^16.
pub const MAX_COLS: usize = 1 << 20;

/// Element format of a weight tensor, as GGML defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// 32-bit IEEE floating point.
    F32,
    /// 16-bit IEEE floating point.
    F16,
    /// Blocks of 32: one f16 scale, 4-bit codes with offset 8.
    Q4_0,
    /// Blocks of 32: one f16 scale, 5-bit codes with offset 16.
    Q5_0,
    /// Blocks of 32: one f16 scale, signed 8-bit codes.
    Q8_0,
    /// Blocks of 256: eight sub-blocks of 32 with 6-bit scale and minimum, 4-bit codes.
    Q4K,
    /// Blocks of 256: eight sub-blocks of 32 with 6-bit scale and minimum, 5-bit codes.
    Q5K,
    /// Blocks of 256: sixteen sub-blocks of 16 with signed 8-bit scale, 6-bit codes with offset 32.
    Q6K,
}

impl Format {
    /// Every format, in a fixed order.
    pub const ALL: [Format; 8] = [
        Format::F32,
        Format::F16,
        Format::Q4_0,
        Format::Q5_0,
        Format::Q8_0,
        Format::Q4K,
        Format::Q5K,
        Format::Q6K,
    ];

    /// The formats whose products run on 8-bit activations.
    pub const QUANTIZED: [Format; 6] =
        [Format::Q4_0, Format::Q5_0, Format::Q8_0, Format::Q4K, Format::Q5K, Format::Q6K];

    /// The format with this number in GGML's `ggml_type`, if it is one of ours.
    pub fn from_ggml(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            6 => Self::Q5_0,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            _ => return None,
        })
    }

    /// Values in one block.
    pub const fn block_values(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 1,
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block in a GGUF file.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q4_0 => 2 + 16,
            Self::Q5_0 => 2 + 4 + 16,
            Self::Q8_0 => 2 + 32,
            Self::Q4K => 2 + 2 + 12 + 128,
            Self::Q5K => 2 + 2 + 12 + 32 + 128,
            Self::Q6K => 128 + 64 + 16 + 2,
        }
    }

    /// True for the formats whose products run on 8-bit activations.
    pub const fn is_quantized(self) -> bool {
        !matches!(self, Self::F32 | Self::F16)
    }

    /// Bytes of one row of `cols` values in a GGUF file.
    ///
    /// # Errors
    /// [`KernelError::Dimensions`] or [`KernelError::PartialBlock`] when no such row exists.
    pub fn row_bytes(self, cols: usize) -> Result<usize, KernelError> {
        if cols == 0 || cols > MAX_COLS {
            return Err(KernelError::Dimensions { rows: 1, cols });
        }
        let block = self.block_values();
        if !cols.is_multiple_of(block) {
            return Err(KernelError::PartialBlock { format: self, cols, block });
        }
        Ok(cols / block * self.block_bytes())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q4_0 => "Q4_0",
            Self::Q5_0 => "Q5_0",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
        })
    }
}

/// A matrix exactly as it lies in a GGUF file: `rows` rows (output features) of `cols` values (input features),
/// row after row, each row in whole blocks.
#[derive(Debug, Clone, Copy)]
pub struct RawTensor<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    bytes: &'a [u8],
}

impl<'a> RawTensor<'a> {
    /// Checks that `bytes` is a whole matrix of this format and these dimensions.
    ///
    /// # Errors
    /// [`KernelError::Dimensions`], [`KernelError::PartialBlock`] or [`KernelError::ByteLength`].
    pub fn new(format: Format, rows: usize, cols: usize, bytes: &'a [u8]) -> Result<Self, KernelError> {
        if rows == 0 || rows > MAX_ROWS || cols == 0 || cols > MAX_COLS {
            return Err(KernelError::Dimensions { rows, cols });
        }
        let row_bytes = format.row_bytes(cols)?;
        let expected = row_bytes.checked_mul(rows).ok_or(KernelError::Dimensions { rows, cols })?;
        if bytes.len() != expected {
            return Err(KernelError::ByteLength { what: "a raw tensor", expected, found: bytes.len() });
        }
        Ok(Self { format, rows, cols, row_bytes, bytes })
    }

    /// Format of the values.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of rows (output features).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (input features).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The bytes of row `row`, or nothing past the last row.
    pub fn row(&self, row: usize) -> Option<&'a [u8]> {
        let start = row.checked_mul(self.row_bytes)?;
        self.bytes.get(start..start.checked_add(self.row_bytes)?)
    }
}
