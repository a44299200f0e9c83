//! Replacing a small file so that it is the old or the new one, whole, whatever happens: write under another name, fsync,
//! rename, fsync the folder.
//!
//! The steps go through [`Files`], so that the proof by cutting power runs this very sequence on a folder in memory that
//! loses what was not made durable.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

/// Largest state file that is read, bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// What a folder can do.
pub trait Files {
    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// What the system says, and for a file larger than [`MAX_FILE`].
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Makes or empties a file and writes it. Not durable yet.
    ///
    /// # Errors
    /// What the system says.
    fn write(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Makes a file's content durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self, name: &str) -> io::Result<()>;

    /// Gives a file another name. Not durable yet.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes the names durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_names(&self) -> io::Result<()>;
}

/// Replaces `name`. Durable when it returns.
///
/// # Errors
/// What the system says; the old file is still there then, or the new one whole.
pub fn replace<F: Files + ?Sized>(files: &F, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.new");
    files.write(&temporary, content)?;
    files.sync(&temporary)?;
    files.rename(&temporary, name)?;
    files.sync_names()
}

/// A folder on disk.
#[derive(Debug, Clone)]
pub struct Folder(pub PathBuf);

impl Files for Folder {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.0.join(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut content = Vec::new();
        file.take(MAX_FILE + 1).read_to_end(&mut content)?;
        if content.len() as u64 > MAX_FILE {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than any of ours"));
        }
        Ok(Some(content))
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(self.0.join(name))?;
        file.write_all(content)
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        File::open(self.0.join(name))?.sync_all()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let files = Folder(folder.path().to_owned());
        assert_eq!(files.read("state").unwrap(), None);
        for content in [b"one".as_slice(), b"two"] {
            replace(&files, "state", content).unwrap();
            assert_eq!(files.read("state").unwrap().as_deref(), Some(content));
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::write(folder.path().join("large"), vec![0; usize::try_from(MAX_FILE).unwrap() + 1]).unwrap();
        assert_eq!(files.read("large").unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
