//! The GGUF file format (version 2 and 3, little endian): a bounded reader of headers, and a writer.
//!
//! Files come from strangers, so the header is read and checked here completely before anything else of the file is
//! touched: every count, length and size has a limit below, and nothing is allocated before the limit is checked.
//! Specification: `docs/gguf.md` in the ggml repository.

mod read;
mod texts;
mod types;
pub mod write;

use std::collections::BTreeMap;

pub use read::{read_file, read_header};
pub use texts::Texts;
pub use types::TensorType;

/// Longest header (metadata and tensor table), bytes. The largest vocabularies in use (262,144 tokens) need 12 MiB.
pub const MAX_HEADER_BYTES: u64 = 64 << 20;
/// Most metadata entries.
pub const MAX_METADATA: u64 = 4096;
/// Most tensors.
pub const MAX_TENSORS: u64 = 16_384;
/// Longest metadata key or tensor name, bytes.
pub const MAX_NAME_BYTES: u64 = 512;
/// Longest text value (chat templates are the longest in use), bytes.
pub const MAX_STRING_BYTES: u64 = 1 << 20;
/// Most elements of an array (vocabularies and merge lists are the longest in use).
pub const MAX_ARRAY_ELEMENTS: u64 = 1 << 20;
/// Most dimensions of a tensor.
pub const MAX_DIMENSIONS: u32 = 4;
/// Most elements of a tensor.
pub const MAX_TENSOR_ELEMENTS: u64 = 1 << 36;
/// Largest alignment of tensor data, bytes.
pub const MAX_ALIGNMENT: u64 = 1 << 16;
/// Alignment where the file states none, bytes.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum GgufError {
    /// It does not begin as a GGUF file does.
    #[error("it does not begin with the GGUF magic number")]
    Magic,
    /// Version 1, big endian, or one from the future.
    #[error("its format version {0:#x} is not supported (2 and 3 are)")]
    Version(u32),
    /// It ends within the header.
    #[error("it ends in the middle of {0}")]
    Truncated(&'static str),
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(std::io::Error),
    /// A count, length or size beyond its limit.
    #[error("{what} is {found}, the limit is {limit}")]
    Limit {
        /// Which one.
        what: String,
        /// What the file says.
        found: u64,
        /// What is allowed.
        limit: u64,
    },
    /// A value of a type that the format does not define, or an array within an array.
    #[error("the value of {key:?} has the unknown or unsupported type {kind}")]
    ValueType {
        /// Which value.
        key: String,
        /// Number of the type.
        kind: u32,
    },
    /// A name or text that is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    Text(String),
    /// A truth value that is neither 0 nor 1.
    #[error("the truth value of {0:?} is neither 0 nor 1")]
    Bool(String),
    /// Two entries of one name.
    #[error("{0:?} occurs twice")]
    Duplicate(String),
    /// A tensor type that the format does not define or that is not supported here.
    #[error("the tensor {tensor:?} has the unknown or unsupported type {kind}")]
    TensorType {
        /// Which tensor.
        tensor: String,
        /// Number of the type.
        kind: u32,
    },
    /// A tensor without elements, with too many, or whose rows are no whole number of blocks.
    #[error("the tensor {tensor:?} has the impossible shape {dims:?}")]
    Shape {
        /// Which tensor.
        tensor: String,
        /// Its dimensions, innermost first.
        dims: Vec<u64>,
    },
    /// An alignment that is no power of two.
    #[error("the alignment {0} is not a power of two between 8 and {MAX_ALIGNMENT}")]
    Alignment(u64),
    /// A tensor that begins off the alignment.
    #[error("the tensor {tensor:?} begins at {offset}, off the alignment")]
    Unaligned {
        /// Which tensor.
        tensor: String,
        /// Where it begins, relative to the data.
        offset: u64,
    },
    /// A tensor that reaches beyond the end of the file.
    #[error("the tensor {tensor:?} ends at byte {end}, the file at byte {file_bytes}")]
    OutOfFile {
        /// Which tensor.
        tensor: String,
        /// Where it ends.
        end: u64,
        /// Where the file ends.
        file_bytes: u64,
    },
    /// Two tensors that share bytes.
    #[error("the tensors {first:?} and {second:?} overlap")]
    Overlap {
        /// The one that begins first.
        first: String,
        /// The other.
        second: String,
    },
}

/// A metadata value. Integers of all widths become [`Value::Int`]; those beyond `i64` do not occur in models.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer.
    Int(i64),
    /// Any float.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(String),
    /// An array of integers or truth values.
    Ints(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f32>),
    /// An array of texts.
    Texts(Texts),
}

/// Where a tensor lies and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Dimensions, innermost first, as in the file.
    pub dims: Vec<u64>,
    /// How its elements are stored.
    pub kind: TensorType,
    /// First byte, counted from the beginning of the file.
    pub start: u64,
    /// Number of bytes.
    pub bytes: u64,
}

impl TensorInfo {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Elements of a row: the innermost dimension.
    pub fn columns(&self) -> usize {
        self.dims.first().map_or(0, |columns| usize::try_from(*columns).unwrap_or(usize::MAX))
    }

    /// Number of rows: the product of all other dimensions.
    pub fn rows(&self) -> usize {
        usize::try_from(self.dims.iter().skip(1).product::<u64>()).unwrap_or(usize::MAX)
    }
}

/// A header that has been checked: every tensor lies in the file, apart from the others.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Size of the file, bytes.
    pub file_bytes: u64,
}

impl Gguf {
    /// An integer.
    pub fn int(&self, key: &str) -> Option<i64> {
        match self.metadata.get(key)? {
            Value::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A number; integers are taken as well.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key)? {
            Value::Float(value) => Some(*value),
            Value::Int(value) => Some(*value as f64),
            _ => None,
        }
    }

    /// A truth value.
    pub fn bool(&self, key: &str) -> Option<bool> {
        match self.metadata.get(key)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.get(key)? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    /// An array of texts.
    pub fn texts(&self, key: &str) -> Option<&Texts> {
        match self.metadata.get(key)? {
            Value::Texts(values) => Some(values),
            _ => None,
        }
    }

    /// An array of integers.
    pub fn ints(&self, key: &str) -> Option<&[i64]> {
        match self.metadata.get(key)? {
            Value::Ints(values) => Some(values),
            _ => None,
        }
    }

    /// An array of floats.
    pub fn floats(&self, key: &str) -> Option<&[f32]> {
        match self.metadata.get(key)? {
            Value::Floats(values) => Some(values),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
