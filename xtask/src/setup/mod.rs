//! What a bare machine lacks: system packages, the embedding model, the tools that tests compare against.

pub(crate) mod emulator;
pub(crate) mod packages;
pub(crate) mod python;

use std::path::PathBuf;

use anyhow::Result;

use crate::{embedding_model, step, workspace};

/// Everything that building, running and testing need.
pub(crate) fn everything() -> Result<()> {
    for_running()?;
    for_testing().map(drop)
}

/// What the hub needs to be built and started. Returns the embedding model's path.
pub(crate) fn for_running() -> Result<PathBuf> {
    packages::install(packages::RUN)?;
    embedding_model::prepare(&workspace::cache())
}

/// What the tests need beyond that. Returns what to tell them, as environment variables.
pub(crate) fn for_testing() -> Result<Vec<(&'static str, PathBuf)>> {
    packages::install(packages::RUN)?;
    packages::install(packages::TEST)?;
    packages::install(packages::GATEWAY)?;
    let model = embedding_model::prepare(&workspace::cache())?;
    let peers = python::peers(&workspace::cache())?;
    test_runner()?;
    Ok(vec![
        ("CAIRN_EMBEDDING_MODEL", model),
        ("CAIRN_PYTHON", peers),
        ("CAIRN_TEST_CACHE", workspace::cache()),
    ])
}

/// The test runner.
pub(crate) fn test_runner() -> Result<()> {
    if step::has("cargo-nextest") {
        return Ok(());
    }
    let mut install = std::process::Command::new("cargo");
    install.args(["install", "--locked", "cargo-nextest"]);
    // It waits for tests more than it computes: built in half the time.
    install.envs([
        ("CARGO_PROFILE_RELEASE_LTO", "off"),
        ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ]);
    step::show("Building the test runner (cargo-nextest)", &mut install)
}
