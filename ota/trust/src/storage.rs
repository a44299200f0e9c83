//! The few operations that durable memory needs, so that a test can fail at each of them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::PathBuf,
};

/// A folder, one operation at a time. Nothing but [`Storage::sync`] and [`Storage::sync_folder`] promises that anything
/// survives a power cut, and until then any of it may.
pub trait Storage: Send {
    /// What a file holds, at most `limit` bytes of it; `None` where there is no such file.
    ///
    /// # Errors
    /// What the system reports.
    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>>;
    /// Makes a file anew, or empties it, and writes it.
    ///
    /// # Errors
    /// What the system reports.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Waits until what a file holds is on the medium.
    ///
    /// # Errors
    /// What the system reports.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Gives a file another name, in place of what had it.
    ///
    /// # Errors
    /// What the system reports.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Waits until the names are on the medium.
    ///
    /// # Errors
    /// What the system reports.
    fn sync_folder(&mut self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// Makes it, if it is not there.
    ///
    /// # Errors
    /// What the system reports.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        if !path.is_dir() {
            fs::create_dir_all(&path)?;
            if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self(path))
    }
}

impl Storage for Folder {
    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        File::create(self.0.join(name))?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.0.join(name))?.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}
