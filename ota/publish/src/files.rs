//! Files that a reader sees whole or not at all, whenever it looks and whenever the power goes.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aws_lc_rs::digest;

/// Writes a file under another name, syncs it, and gives it its name.
///
/// # Errors
/// What the system reports.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = fresh(path)?;
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", fresh.display()))?;
    put(&fresh, path)
}

/// Gives a file that is complete its name.
///
/// # Errors
/// What the system reports.
pub fn put(fresh: &Path, path: &Path) -> Result<()> {
    let renamed = File::open(fresh).and_then(|file| file.sync_all()).and_then(|()| fs::rename(fresh, path));
    renamed.with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// The name of a file while it is being written; hidden, so that no server or copy takes it for a finished one.
///
/// # Errors
/// Where `path` has no file name.
pub fn fresh(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().context("a path without a file name")?.to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.new")))
}

/// Length and SHA-256 of a file.
///
/// # Errors
/// What the system reports.
pub fn measure(path: &Path) -> Result<(u64, Vec<u8>)> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1024 * 1024];
    let mut length = 0_u64;
    loop {
        let count = match file.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
        context.update(part);
        length += count as u64;
    }
    Ok((length, context.finish().as_ref().to_vec()))
}

/// Small hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
