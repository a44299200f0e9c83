//! Reading, writing and flushing a block device: the only way this crate touches a card.
//!
//! The proof by cutting power stands on this trait: its device in memory fails at any operation.

use std::{fs::File, io, os::unix::fs::FileExt};

use cairn_bundle::{PayloadKind, ReadAt, Sources};

/// What a card (or a partition of it) can do, besides being read.
pub trait BlockDevice: ReadAt {
    /// Bytes that it holds.
    fn size(&self) -> u64;

    /// Writes `bytes` at `offset`. Nothing is durable before [`BlockDevice::flush`].
    ///
    /// # Errors
    /// When the device fails or ends before that.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Makes everything durable that was written.
    ///
    /// # Errors
    /// When the device fails; what was written since the last flush may be lost then.
    fn flush(&self) -> Result<(), DeviceError>;
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
    pub const fn new(doing: &'static str, offset: u64, length: usize, source: io::Error) -> Self {
        Self { doing, offset, length: length as u64, source }
    }
}

/// The two partitions of a slot.
#[derive(Debug, Clone, Copy)]
pub struct Partitions<D> {
    /// Kernel, initramfs, device trees, command line.
    pub boot: D,
    /// The root file system and its hash tree.
    pub root: D,
}

impl<D> Partitions<D> {
    /// The one that holds `kind`.
    pub const fn of(&self, kind: PayloadKind) -> &D {
        match kind {
            PayloadKind::Boot => &self.boot,
            PayloadKind::Root => &self.root,
        }
    }
}

/// The slot that runs, which is read, and the other, which is written.
#[derive(Debug)]
pub struct SlotPair<A, T> {
    /// Runs.
    pub active: Partitions<A>,
    /// Is written.
    pub target: Partitions<T>,
}

impl<A: ReadAt, T: ReadAt> Sources for SlotPair<A, T> {
    fn active(&self, kind: PayloadKind) -> &dyn ReadAt {
        self.active.of(kind)
    }

    fn target(&self, kind: PayloadKind) -> &dyn ReadAt {
        self.target.of(kind)
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

impl ReadAt for FileDevice {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(&self.file, buffer, offset)
    }
}

impl BlockDevice for FileDevice {
    fn size(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        // A file would grow, and a device would write what fits.
        if offset.checked_add(bytes.len() as u64).is_none_or(|end| end > self.size) {
            let beyond = io::Error::new(io::ErrorKind::StorageFull, "beyond the end of the device");
            return Err(DeviceError::new("writing", offset, bytes.len(), beyond));
        }
        self.file
            .write_all_at(bytes, offset)
            .map_err(|error| DeviceError::new("writing", offset, bytes.len(), error))
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.file.sync_data().map_err(|error| DeviceError::new("flushing", 0, 0, error))
    }
}

impl<D: BlockDevice + ?Sized> BlockDevice for &D {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        (**self).write_at(offset, bytes)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        (**self).flush()
    }
}
