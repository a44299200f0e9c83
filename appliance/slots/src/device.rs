//! Reading, writing and flushing a block device: the only way this crate touches a card.
//!
//! The proof by cutting power stands on this trait: its device in memory fails at any operation.

use std::{fs::File, io, os::unix::fs::FileExt};

/// What a card (or a partition of it) can do.
pub trait BlockDevice {
    /// Bytes that it holds.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// When the device fails or ends before that.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), DeviceError>;

    /// Writes `bytes` at `offset`. Nothing is durable before [`BlockDevice::flush`].
    ///
    /// # Errors
    /// When the device fails or ends before that.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Makes everything durable that was written.
    ///
    /// # Errors
    /// When the device fails; what was written since the last flush may be lost then.
    fn flush(&mut self) -> Result<(), DeviceError>;
}

/// A device that failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {length} bytes at {offset}: {source}")]
pub struct DeviceError {
    /// "reading", "writing" or "flushing".
    pub doing: &'static str,
    /// Bytes from its start.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

impl DeviceError {
    /// Names the operation that failed.
    #[must_use]
    pub fn new(doing: &'static str, offset: u64, length: usize, source: io::Error) -> Self {
        Self { doing, offset, length: length as u64, source }
    }
}

/// A device file, or a file that stands for one.
#[derive(Debug)]
pub struct FileDevice {
    file: File,
    size: u64,
}

impl FileDevice {
    /// Uses `file`.
    ///
    /// # Errors
    /// When its size cannot be found out.
    pub fn new(mut file: File) -> Result<Self, DeviceError> {
        // A block device's metadata says nothing of its size; its end does.
        let size = io::Seek::seek(&mut file, io::SeekFrom::End(0))
            .map_err(|error| DeviceError::new("measuring", 0, 0, error))?;
        Ok(Self { file, size })
    }

    /// Forgets what the system has cached of it, so that the next read comes from the card.
    pub fn forget_cached(&self) {
        let advice = nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED;
        if let Err(error) = nix::fcntl::posix_fadvise(&self.file, 0, 0, advice) {
            tracing::debug!(%error, "the cache of the device could not be dropped");
        }
    }
}

impl BlockDevice for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), DeviceError> {
        self.file
            .read_exact_at(buffer, offset)
            .map_err(|error| DeviceError::new("reading", offset, buffer.len(), error))
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            let beyond = io::Error::new(io::ErrorKind::StorageFull, "beyond the end of the device");
            return Err(DeviceError::new("writing", offset, bytes.len(), beyond));
        }
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| DeviceError::new("writing", offset, bytes.len(), error))
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        self.file.sync_data().map_err(|error| DeviceError::new("flushing", 0, 0, error))
    }
}

impl<D: BlockDevice + ?Sized> BlockDevice for &mut D {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), DeviceError> {
        (**self).read_at(offset, buffer)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        (**self).write_at(offset, bytes)
    }

    fn flush(&mut self) -> Result<(), DeviceError> {
        (**self).flush()
    }
}
