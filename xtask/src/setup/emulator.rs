//! Has the kernel run programs of the boards' processors by itself, through an emulator: what a program of theirs starts is one, too.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::packages;

/// What the kernel is told, as the emulator's package brings it.
const TOLD: &str = "/usr/lib/binfmt.d/qemu-aarch64.conf";

/// Tells it, unless it knows.
///
/// # Errors
///
/// Where only an administrator may.
pub(crate) fn register() -> Result<()> {
    if Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() {
        return Ok(());
    }
    packages::install(packages::EMULATOR)?;
    let emulator = fs::read_to_string(TOLD).with_context(|| format!("no {TOLD}"))?;
    fs::write("/proc/sys/fs/binfmt_misc/register", emulator.trim_end())
        .context("the kernel does not take an emulator for the boards' programs; are you root?")
}
