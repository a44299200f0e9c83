//! Where things stand in the checkout.

use std::path::{Path, PathBuf};

/// The folder of the root `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// What is fetched or converted once and kept: git-ignored, safe to delete.
pub(crate) fn cache() -> PathBuf {
    root().join("build/cache")
}

/// The folder of the hub that `cargo xtask run` starts.
pub(crate) fn development_hub() -> PathBuf {
    root().join("build/hub")
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
