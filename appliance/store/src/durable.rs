//! Steps on files that a power cut may interrupt at any point, each made durable before the next one.
//!
//! Every step goes through [`Disk`], which in tests stops at a chosen step as a power cut would; the tests of what
//! stands on it loop over every step.

use std::{
    fs::{self, File},
    path::Path,
};

use crate::error::{Result, StoreError};

/// The steps. In tests it can be made to stop at one of them.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) fuse: std::sync::atomic::AtomicU64,
    #[cfg(test)]
    pub(crate) taken: std::sync::atomic::AtomicU64,
}

impl Disk {
    /// A disk that works.
    pub(crate) const fn new() -> Self {
        Self {
            #[cfg(test)]
            fuse: std::sync::atomic::AtomicU64::new(u64::MAX),
            #[cfg(test)]
            taken: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// A disk whose power goes before step `step`, counted from 0.
    #[cfg(test)]
    pub(crate) fn cut_before(step: u64) -> Self {
        let disk = Self::new();
        disk.fuse.store(step, std::sync::atomic::Ordering::SeqCst);
        disk
    }

    #[cfg(test)]
    fn step(&self, doing: &'static str, path: &Path) -> Result<()> {
        use std::sync::atomic::Ordering::SeqCst;
        if self.taken.fetch_add(1, SeqCst) >= self.fuse.load(SeqCst) {
            let cut = std::io::Error::other("the power went");
            return Err(StoreError::io(doing, path, cut));
        }
        Ok(())
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps)]
    const fn step(&self, _doing: &'static str, _path: &Path) -> Result<()> {
        Ok(())
    }

    /// Makes what was written to `file` durable.
    pub(crate) fn sync(&self, file: &File, path: &Path) -> Result<()> {
        self.step("saving", path)?;
        file.sync_all().map_err(|error| StoreError::io("saving", path, error))
    }

    /// Makes the names in `dir` durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.step("saving", dir)?;
        File::open(dir)
            .and_then(|opened| opened.sync_all())
            .map_err(|error| StoreError::io("saving", dir, error))
    }

    /// Renames within one file system and makes both folders durable.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.step("renaming", from)?;
        fs::rename(from, to).map_err(|error| StoreError::io("renaming", from, error))?;
        let (old, new) = (from.parent(), to.parent());
        if let Some(new) = new {
            self.sync_dir(new)?;
        }
        match old {
            Some(old) if Some(old) != new => self.sync_dir(old),
            _ => Ok(()),
        }
    }

    /// Removes a file that may be gone already.
    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        self.step("removing", path)?;
        missing_is_fine(fs::remove_file(path)).map_err(|error| StoreError::io("removing", path, error))
    }

    /// Removes a folder with everything in it; it may be gone already.
    pub(crate) fn remove_dir(&self, path: &Path) -> Result<()> {
        self.step("removing", path)?;
        missing_is_fine(fs::remove_dir_all(path)).map_err(|error| StoreError::io("removing", path, error))
    }

    /// Makes a folder and those above it.
    pub(crate) fn make_dir(&self, path: &Path) -> Result<()> {
        self.step("making", path)?;
        fs::create_dir_all(path).map_err(|error| StoreError::io("making", path, error))
    }

    /// Writes a small file so that it is there whole or not at all.
    pub(crate) fn write(&self, path: &Path, content: &[u8], mode: u32) -> Result<()> {
        use std::{io::Write, os::unix::fs::OpenOptionsExt};
        let temporary = path.with_extension("new");
        self.step("writing", &temporary)?;
        let failed = |error| StoreError::io("writing", &temporary, error);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(mode)
            .open(&temporary)
            .map_err(failed)?;
        file.write_all(content).map_err(failed)?;
        self.sync(&file, &temporary)?;
        self.rename(&temporary, path)
    }
}

fn missing_is_fine(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
