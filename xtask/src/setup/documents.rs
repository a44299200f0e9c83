//! Real documents to measure search on: manuals and questions with answers that people wrote, from Debian's
//! documentation packages. Fetched by package name, unpacked into the cache, never committed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::step;

const PACKAGES: &[&str] = &["debian-faq", "debian-handbook", "debian-reference-en"];

/// Fetches and unpacks what is missing. Returns the folder with one sub-folder per package.
pub(crate) fn fetch(cache: &Path) -> Result<PathBuf> {
    let folder = cache.join("documents");
    for package in PACKAGES {
        let unpacked = folder.join(package);
        if unpacked.exists() {
            continue;
        }
        if !step::has("apt-get") || !step::has("dpkg-deb") {
            bail!("the documents to measure on come from Debian packages; this system has no apt-get");
        }
        let download = folder.join("download").join(package);
        std::fs::create_dir_all(&download)?;
        step::quiet(
            &format!("Fetching {package}"),
            Command::new("apt-get").args(["download", package]).current_dir(&download),
        )?;
        let archive = std::fs::read_dir(&download)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .with_context(|| format!("apt-get fetched nothing for {package}"))?;
        // Unpacked beside and renamed: an interrupted unpacking is never taken for a whole one.
        let partial = folder.join(format!(".{package}"));
        step::quiet(
            &format!("Unpacking {package}"),
            Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&partial),
        )?;
        std::fs::rename(&partial, &unpacked)?;
    }
    Ok(folder)
}
