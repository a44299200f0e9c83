use crate::Format;

/// Why a tensor, a matrix or a call was refused. Nothing here is a fault of the machine: every variant names a
/// figure that the caller, or the file behind it, got wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// A dimension is zero or above [`crate::MAX_ROWS`] or [`crate::MAX_COLS`].
    #[error("a tensor of {rows} rows × {cols} columns is outside the supported range")]
    Dimensions {
        /// Rows that were asked for.
        rows: usize,
        /// Columns that were asked for.
        cols: usize,
    },
    /// A row does not consist of whole quantization blocks.
    #[error("{cols} columns are not a multiple of the {block} values in one {format} block")]
    PartialBlock {
        /// The format concerned.
        format: Format,
        /// Columns that were asked for.
        cols: usize,
        /// Values in one block of that format.
        block: usize,
    },
    /// The bytes do not have the length that format and dimensions call for.
    #[error("{what} needs {expected} bytes, but {found} are there")]
    ByteLength {
        /// What the bytes were meant to be.
        what: &'static str,
        /// Bytes called for.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Mapped bytes do not start on the alignment that the kernels load with.
    #[error("packed bytes must start on a {needed} byte boundary")]
    Alignment {
        /// The boundary in bytes.
        needed: usize,
    },
    /// Two arguments of one call do not fit each other.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// Which length or count.
        what: &'static str,
        /// The value that the other arguments call for.
        expected: usize,
        /// The value given.
        found: usize,
    },
    /// An index is past the end of what it points into.
    #[error("{what} {index} is outside 0..{len}")]
    OutOfRange {
        /// What the index selects.
        what: &'static str,
        /// The index given.
        index: usize,
        /// Number of elements there.
        len: usize,
    },
    /// This operation has no kernel for the format.
    #[error("{format} weights have no kernel for {operation}")]
    Unsupported {
        /// The format concerned.
        format: Format,
        /// What was asked.
        operation: &'static str,
    },
    /// The kernel path was asked for by name and this processor cannot run it.
    #[error(
        "the kernel path {path:?} is unknown or not available on this processor (available: {available})"
    )]
    UnknownPath {
        /// The name given.
        path: String,
        /// Names that would work here.
        available: String,
    },
    /// Memory for a buffer could not be had.
    #[error("no memory for a buffer of {bytes} bytes")]
    OutOfMemory {
        /// Size asked for.
        bytes: usize,
    },
    /// The operating system refused to start a worker thread.
    #[error("worker thread {index} could not be started: {reason}")]
    Thread {
        /// Which worker.
        index: usize,
        /// The system's words.
        reason: String,
    },
}

/// `Ok` when both are equal, else a [`KernelError::Shape`].
pub(crate) fn same(what: &'static str, expected: usize, found: usize) -> Result<(), KernelError> {
    if expected == found { Ok(()) } else { Err(KernelError::Shape { what, expected, found }) }
}
