//! The bytes of a file, in memory or behind a descriptor.

use std::{borrow::Cow, fs::File, io, os::unix::fs::FileExt};

use super::{Limit, Reason};

/// A file to read. Behind a descriptor it is read by position, so that the descriptor's own offset does not matter.
#[derive(Debug)]
pub struct Input {
    source: Source,
    len: u64,
}

#[derive(Debug)]
enum Source {
    Bytes(Vec<u8>),
    File(File),
}

impl Input {
    /// A file in memory.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { len: bytes.len() as u64, source: Source::Bytes(bytes) }
    }

    /// An open regular file.
    ///
    /// # Errors
    /// When its size cannot be found out, or it is not a regular file.
    pub fn from_file(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { len: metadata.len(), source: Source::File(file) })
    }

    /// Size in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// `len` bytes from `offset`, or `None` where the file does not have them. The caller bounds `len`.
    pub(crate) fn at(&self, offset: u64, len: usize) -> Result<Option<Cow<'_, [u8]>>, Reason> {
        let Some(end) = offset.checked_add(len as u64).filter(|end| *end <= self.len) else {
            return Ok(None);
        };
        match &self.source {
            Source::Bytes(bytes) => {
                let range = usize::try_from(offset).ok().zip(usize::try_from(end).ok());
                Ok(range.and_then(|(from, to)| bytes.get(from..to)).map(Cow::Borrowed))
            }
            Source::File(file) => {
                let mut buffer = vec![0; len];
                match file.read_exact_at(&mut buffer, offset) {
                    Ok(()) => Ok(Some(Cow::Owned(buffer))),
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
                    Err(error) => Err(unreadable(&error)),
                }
            }
        }
    }

    /// Up to `len` bytes from the start.
    pub(crate) fn start(&self, len: usize) -> Result<Cow<'_, [u8]>, Reason> {
        let len = usize::try_from(self.len).unwrap_or(usize::MAX).min(len);
        Ok(self.at(0, len)?.unwrap_or_default())
    }

    /// The whole file, when it is not larger than `limit`.
    pub(crate) fn whole(&self, limit: u64) -> Result<Cow<'_, [u8]>, Reason> {
        if self.len > limit {
            return Err(Limit::InputBytes(limit).into());
        }
        let len = usize::try_from(self.len).map_err(|_| Limit::InputBytes(limit))?;
        Ok(self.at(0, len)?.unwrap_or_default())
    }
}

fn unreadable(error: &io::Error) -> Reason {
    Reason::NotRun { how: format!("reading the file: {error}") }
}
