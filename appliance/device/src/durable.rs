//! Steps on files that survive a power cut, each durable before the next one. In tests the power goes before a chosen
//! step; what stands on this loops over every step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// The steps.
#[derive(Debug, Default)]
pub struct Disk {
    #[cfg(test)]
    fuse: std::cell::Cell<Option<u32>>,
}

impl Disk {
    /// A disk that works.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            #[cfg(test)]
            fuse: std::cell::Cell::new(None),
        }
    }

    /// A disk whose power goes before step `step`, counted from 0.
    #[cfg(test)]
    pub(crate) fn cut_before(step: u32) -> Self {
        Self { fuse: std::cell::Cell::new(Some(step)) }
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        match self.fuse.get() {
            Some(0) => Err(io::Error::other("the power went")),
            Some(left) => {
                self.fuse.set(Some(left - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests cut the power here")]
    const fn step(&self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the names in `folder` durable.
    ///
    /// # Errors
    /// As the file system says; this holds for all steps.
    pub fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.step()?;
        File::open(folder)?.sync_all()
    }

    /// Replaces a file: it is there whole, old or new, at every moment (on a file system that renames atomically).
    ///
    /// # Errors
    /// As the file system says.
    pub fn write(&self, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
        let folder = path.parent().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = folder.join(name);
        self.step()?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        file.write_all(content)?;
        self.step()?;
        file.sync_all()?;
        self.step()?;
        fs::rename(&new, path)?;
        self.sync_folder(folder)
    }

    /// Removes a file, which may be gone already.
    ///
    /// # Errors
    /// As the file system says.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        missing_is_fine(fs::remove_file(path))?;
        self.sync_folder(path.parent().unwrap_or(path))
    }

    /// Removes a file, or a folder with everything in it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
        if meta.is_dir() {
            // Entry by entry, so that a cut in the middle is a case that tests reach.
            for entry in fs::read_dir(path)? {
                self.remove_tree(&entry?.path())?;
            }
            self.step()?;
            missing_is_fine(fs::remove_dir(path))
        } else {
            self.step()?;
            missing_is_fine(fs::remove_file(path))
        }
    }
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
