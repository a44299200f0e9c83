//! A file on its way from the gateway, whose content's name is known before it comes. What has come stays over broken connections
//! and restarts, under `blobs/part/`; whether it is what its name says is checked at the end.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::PathBuf,
};

use cairn_sync::BlobId;

use super::Files;
use crate::{
    error::{Result, StoreError},
    store::Store,
};

/// How much is read at a time of what came before.
const READ: usize = 256 * 1024;

/// Takes the rest of a file piece by piece. Dropped, it keeps what has come.
///
/// It blocks on the disk; call it from a blocking thread.
pub struct BlobPart {
    files: Files,
    blob: BlobId,
    size: u64,
    have: u64,
    hasher: blake3::Hasher,
    file: File,
    path: PathBuf,
}

impl BlobPart {
    fn open(files: Files, blob: BlobId, size: u64) -> Result<Self> {
        let path = files.part(&blob);
        let failed = |error| StoreError::io("opening", &path, error);
        let options = OpenOptions::new().read(true).append(true).create(true).clone();
        let mut file = options.open(&path).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut have = 0;
        let mut piece = vec![0; READ];
        loop {
            let read = file.read(&mut piece).map_err(failed)?;
            let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
            hasher.update(read);
            have += read.len() as u64;
        }
        let mut part = Self { files, blob, size, have, hasher, file, path };
        if part.have > size {
            part.begin_anew()?;
        }
        Ok(part)
    }

    /// How many bytes are here.
    #[must_use]
    pub const fn have(&self) -> u64 {
        self.have
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] past the file's size; [`StoreError::DiskFull`] and [`StoreError::ReadOnly`] when the disk is. Of a
    /// full disk nothing is kept back for a file that cannot become whole.
    pub fn write(&mut self, piece: &[u8]) -> Result<()> {
        let have = self.have.saturating_add(piece.len() as u64);
        if have > self.size {
            return Err(StoreError::TooLarge { limit: self.size });
        }
        if let Err(error) = self.file.write_all(piece) {
            let error = StoreError::io("writing", &self.path, error);
            if matches!(error, StoreError::DiskFull) {
                self.begin_anew()?;
            }
            return Err(error);
        }
        self.hasher.update(piece);
        self.have = have;
        Ok(())
    }

    /// Makes the whole file durable under its name. Says whether it is what its name says; if not, it is forgotten.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] and [`StoreError::ReadOnly`] when the disk is.
    pub fn finish(self) -> Result<bool> {
        if *self.hasher.finalize().as_bytes() != *self.blob.as_bytes() {
            self.files.disk.remove(&self.path)?;
            return Ok(false);
        }
        self.files.remember(self.blob);
        self.files.settle(&self.file, &self.path, &self.blob)?;
        Ok(true)
    }

    fn begin_anew(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| StoreError::io("emptying", &self.path, error))?;
        self.hasher.reset();
        self.have = 0;
        Ok(())
    }
}

impl Files {
    fn parts(&self) -> PathBuf {
        self.dir.join("part")
    }

    fn part(&self, blob: &BlobId) -> PathBuf {
        self.parts().join(blob.to_string())
    }

    /// Makes the folder of files that are on their way.
    pub(super) fn make_parts(&self) -> Result<()> {
        self.disk.make_dir(&self.parts())
    }

    /// How much of a file has come.
    pub(crate) fn came(&self, blob: &BlobId) -> u64 {
        fs::metadata(self.part(blob)).map_or(0, |meta| meta.len())
    }

    /// Files that have come in part.
    pub(super) fn on_their_way(&self) -> Result<Vec<BlobId>> {
        let dir = self.parts();
        let failed = |error| StoreError::io("listing", &dir, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            found.extend(name.to_str().and_then(|name| name.parse::<BlobId>().ok()));
        }
        Ok(found)
    }

    /// Forgets what has come of a file.
    pub(super) fn forget_part(&self, blob: &BlobId) -> Result<()> {
        self.disk.remove(&self.part(blob))
    }
}

impl Store {
    /// Goes on with a file of `size` bytes whose content has this name, from where it stopped. One at a time per file.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub fn blob_part(&self, blob: BlobId, size: u64) -> Result<BlobPart> {
        BlobPart::open(self.inner.files.clone(), blob, size)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::durable::Disk;

    fn files(dir: &std::path::Path) -> Files {
        Files::open(dir, Arc::new(Disk::new())).unwrap()
    }

    #[test]
    fn a_file_goes_on_after_a_restart_and_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> =
            (0..700_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (blob, size) = (BlobId::of(&content), content.len() as u64);
        let mut part = BlobPart::open(files(dir.path()), blob, size).unwrap();
        part.write(&content[..300_000]).unwrap();
        drop(part);
        let again = files(dir.path());
        assert_eq!((again.came(&blob), again.on_their_way().unwrap()), (300_000, vec![blob]));
        let mut part = BlobPart::open(again.clone(), blob, size).unwrap();
        assert_eq!(part.have(), 300_000);
        part.write(&content[300_000..]).unwrap();
        assert!(matches!(part.write(b"x"), Err(StoreError::TooLarge { .. })));
        assert!(part.finish().unwrap());
        assert_eq!(fs::read(again.path(&blob)).unwrap(), content);
        assert!(again.on_their_way().unwrap().is_empty());
    }

    #[test]
    fn what_is_not_what_its_name_says_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let (files, blob) = (files(dir.path()), BlobId::of(b"water"));
        let mut part = BlobPart::open(files.clone(), blob, 5).unwrap();
        part.write(b"wader").unwrap();
        assert!(!part.finish().unwrap());
        assert_eq!(files.came(&blob), 0);
        assert!(files.size(&blob).unwrap().is_none() && files.on_their_way().unwrap().is_empty());
        // Longer than it may be, from whatever an earlier fault left.
        fs::write(files.part(&blob), b"far too much").unwrap();
        assert_eq!(BlobPart::open(files, blob, 5).unwrap().have(), 0);
    }
}
