//! Reading at a place: a partition, a file, a piece of memory.

use std::{fs::File, io, os::unix::fs::FileExt};

/// Something that can be read at any place, as a partition or a file.
pub trait ReadAt {
    /// Fills `buf` with the bytes from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` where the source ends before that, or what the system reports.
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(self, buf, offset)
    }
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|start| self.get(start..)?.get(..buf.len()));
        buf.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buf)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buf)
    }
}

/// Reads a source from its start to `length`, as a stream.
pub(crate) struct Stream<'a> {
    source: &'a dyn ReadAt,
    at: u64,
    length: u64,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(source: &'a dyn ReadAt, length: u64) -> Self {
        Self { source, at: 0, length }
    }
}

impl io::Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let count = left.min(buf.len());
        let Some(part) = buf.get_mut(..count) else { return Ok(0) };
        self.source.read_exact_at(self.at, part)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}
