//! Running the tools that the image is built with, with their words in the error when one fails.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Longest excerpt of a failed tool's output in an error, bytes.
const MAX_TOLD: usize = 4000;

/// A command whose result does not depend on the builder's language, time zone or clock.
#[must_use]
pub fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C").env("TZ", "UTC0").env("SOURCE_DATE_EPOCH", EPOCH.to_string());
    // mtools and the file system tools live there; an ordinary account's path may leave it out.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("MTOOLS_SKIP_CHECK", "1");
    command
}

/// The time that every file in an image carries, seconds since 1970: 2026-01-01. Times in an image say nothing that its
/// version does not.
pub const EPOCH: u64 = 1_767_225_600;

/// Runs a command and gives its standard output.
///
/// # Errors
/// When it cannot be started or ends with an error; the message holds the end of what it wrote.
pub fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started; is its package installed?"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let told = format!("{text}\n{}", String::from_utf8_lossy(&done.stderr));
        let from = told.char_indices().map(|(at, _)| at).find(|at| told.len() - at <= MAX_TOLD).unwrap_or(0);
        bail!("{name} ended with {}:\n{}", done.status, told.get(from..).unwrap_or_default());
    }
    Ok(text)
}

/// Removes a folder that may not be there.
///
/// # Errors
/// When it is there and cannot be removed.
pub fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Reads a text file; the error names it.
///
/// # Errors
/// When it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Writes a file and the folders above it; the error names it.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
    }
    std::fs::write(path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}
