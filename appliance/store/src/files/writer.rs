//! One upload on its way to the disk.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::PathBuf,
};

use cairn_sync::BlobId;

use super::Files;
use crate::error::{Result, StoreError};

/// Takes a file piece by piece. Dropped before [`BlobWriter::finish`], it leaves nothing behind.
///
/// It blocks on the disk; call it from a blocking thread.
pub struct BlobWriter {
    files: Files,
    limit: u64,
    written: u64,
    hasher: blake3::Hasher,
    file: File,
    path: PathBuf,
    /// Whether the temporary file is still there to be removed.
    pending: bool,
}

impl BlobWriter {
    pub(super) fn start(files: Files, limit: u64) -> Result<Self> {
        let mut name = [0; 16];
        getrandom::fill(&mut name).map_err(|error| {
            StoreError::io("naming a file in", files.dir(), std::io::Error::other(error.to_string()))
        })?;
        let path = files.temporary().join(cairn_sync::RecordId::from_bytes(name).to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| StoreError::io("making", &path, error))?;
        Ok(Self { files, limit, written: 0, hasher: blake3::Hasher::new(), file, path, pending: true })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] past the limit; [`StoreError::DiskFull`] and [`StoreError::ReadOnly`] when the disk is.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        let total = self.written.saturating_add(piece.len() as u64);
        if total > self.limit {
            return Err(StoreError::TooLarge { limit: self.limit });
        }
        self.file.write_all(piece).map_err(|error| StoreError::io("writing", &self.path, error))?;
        self.hasher.update(piece);
        self.written = total;
        Ok(())
    }

    /// How many bytes were taken.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Makes the file durable under its content's name. The same content twice is kept once.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] and [`StoreError::ReadOnly`] when the disk is; nothing is left behind then.
    pub fn finish(mut self) -> Result<BlobId> {
        let blob = BlobId::from_bytes(*self.hasher.finalize().as_bytes());
        self.files.remember(blob);
        if self.files.size(&blob)? == Some(self.written) {
            return Ok(blob);
        }
        self.files.settle(&self.file, &self.path, &blob)?;
        self.pending = false;
        Ok(blob)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if self.pending
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "an unfinished upload stays on the disk until the next start");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::durable::Disk;

    fn files(dir: &std::path::Path, disk: Disk) -> Files {
        Files { dir: dir.to_owned(), disk: Arc::new(disk), fresh: Arc::default() }
    }

    fn left_over(files: &Files) -> usize {
        fs::read_dir(files.temporary()).map_or(0, Iterator::count)
    }

    #[test]
    fn the_same_content_is_kept_once_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path(), Arc::new(Disk::new())).unwrap();
        let store = |pieces: &[&[u8]]| {
            let mut writer = BlobWriter::start(files.clone(), 100).unwrap();
            pieces.iter().for_each(|piece| writer.write(piece).unwrap());
            writer.finish().unwrap()
        };
        let blob = store(&[b"wa", b"ter"]);
        assert_eq!(blob, BlobId::of(b"water"));
        assert_eq!(store(&[b"water"]), blob);
        assert_eq!(fs::read(files.path(&blob)).unwrap(), b"water");
        let mut count = 0;
        files
            .each(|_, size| {
                count += 1;
                assert_eq!(size, 5);
                Ok(())
            })
            .unwrap();
        assert_eq!((count, left_over(&files)), (1, 0));
    }

    #[test]
    fn past_the_limit_and_when_dropped_nothing_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::open(dir.path(), Arc::new(Disk::new())).unwrap();
        let mut writer = BlobWriter::start(files.clone(), 4).unwrap();
        writer.write(b"1234").unwrap();
        assert_eq!(left_over(&files), 1);
        assert!(matches!(writer.write(b"5"), Err(StoreError::TooLarge { limit: 4 })));
        drop(writer);
        assert_eq!(left_over(&files), 0);
    }

    #[test]
    fn a_cut_at_any_step_leaves_the_whole_file_or_none() {
        let content = vec![7_u8; 100_000];
        let mut finished = 0;
        for step in 0..20 {
            let dir = tempfile::tempdir().unwrap();
            drop(Files::open(dir.path(), Arc::new(Disk::new())).unwrap());
            let cut = files(dir.path(), Disk::cut_before(step));
            let mut writer = BlobWriter::start(cut, u64::MAX).unwrap();
            writer.write(&content).unwrap();
            let outcome = writer.finish();
            let after = Files::open(dir.path(), Arc::new(Disk::new())).unwrap();
            assert_eq!(left_over(&after), 0, "step {step}");
            let found = fs::read(after.path(&BlobId::of(&content))).ok();
            if outcome.is_ok() {
                finished += 1;
                assert!(found.is_some());
            }
            assert!(found.is_none_or(|found| found == content), "step {step}");
        }
        assert!(finished > 5 && finished < 20, "the cuts must cover every step: {finished}");
    }
}
