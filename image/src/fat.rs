//! FAT file systems, written by mtools into a file of a given size.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::{
    elf::walk,
    run::{EPOCH, output, tool},
};

/// Makes a FAT32 file system of `size` bytes from everything in a folder. The same folder gives the same bytes.
///
/// # Errors
/// When a tool fails or the files do not fit.
pub fn make(image: &Path, size: u64, label: &str, serial: u32, folder: &Path) -> Result<()> {
    crate::root::touch(folder)?;
    let file = fs::File::create(image).with_context(|| format!("{} cannot be written", image.display()))?;
    file.set_len(size)?;
    drop(file);
    output(
        tool("mkfs.fat")
            .args(["-F", "32", "--invariant", "-n", label, "-i", &format!("{serial:08x}")])
            .arg(image),
    )?;
    let mut folders = Vec::new();
    let mut files = Vec::new();
    walk(folder, &mut |path| {
        let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
        if path.is_dir() {
            folders.push(name)
        } else {
            files.push((path.to_owned(), name))
        }
        Ok(())
    })?;
    for name in folders {
        output(tool("mmd").arg("-i").arg(image).arg(format!("::/{name}")))?;
    }
    for (path, name) in files {
        output(tool("mcopy").args(["-m", "-i"]).arg(image).arg(path).arg(format!("::/{name}")))?;
    }
    Ok(())
}

/// A serial number that follows from a version: cards of one version are alike, and a different version is told apart.
#[must_use]
pub fn serial(of: &str) -> u32 {
    cairn_slots::boot_control::block::crc32(of.as_bytes()) ^ (EPOCH as u32)
}
