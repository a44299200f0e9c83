//! What `cargo xtask test` prepares, by environment variable.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The hub's binary (`CAIRN_BIN`).
///
/// # Errors
/// When the variable is not set: the tests were started without `cargo xtask test`.
pub fn cairn() -> Result<PathBuf> {
    prepared("CAIRN_BIN")
}

/// The gateway's binary, which is built beside the hub's.
///
/// # Errors
/// As [`cairn`], and when it was not built.
pub fn gateway() -> Result<PathBuf> {
    let path = cairn()?.with_file_name("cairn-gateway");
    anyhow::ensure!(path.exists(), "{} is not built", path.display());
    Ok(path)
}

/// The maintainers' tool, which is built beside the hub's binary.
///
/// # Errors
/// As [`gateway`].
pub fn publish() -> Result<PathBuf> {
    let path = cairn()?.with_file_name("cairn-publish");
    anyhow::ensure!(path.exists(), "{} is not built", path.display());
    Ok(path)
}

/// The embedding model (`CAIRN_EMBEDDING_MODEL`).
///
/// # Errors
/// As [`cairn`].
pub fn embedding_model() -> Result<PathBuf> {
    prepared("CAIRN_EMBEDDING_MODEL")
}

/// A Python with the independent implementations that tests compare with (`CAIRN_PYTHON`).
///
/// # Errors
/// As [`cairn`].
pub fn python() -> Result<PathBuf> {
    // Not resolved: its environment is found beside the link.
    std::env::var_os("CAIRN_PYTHON")
        .map(PathBuf::from)
        .context("CAIRN_PYTHON is not set; start the tests with `cargo xtask test`")
}

fn prepared(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os(name)
        .map(PathBuf::from)
        .with_context(|| format!("{name} is not set; start the tests with `cargo xtask test`"))?;
    path.canonicalize().with_context(|| format!("{name} names {}, which is not there", path.display()))
}
