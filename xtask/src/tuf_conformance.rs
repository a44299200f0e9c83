//! `cargo xtask tuf-conformance`: the public conformance suite of The Update Framework against the trust that hubs have.
//!
//! The suite is not part of the repository: `git clone https://github.com/theupdateframework/tuf-conformance`, and say where.
//! What is known to fail stands in `ota/trust/conformance.xfails`, with the reasons in `docs/UPDATES.md`; anything else that fails, and
//! anything listed that does not, ends the command with an error.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    setup::{packages, python},
    step,
    test::cargo,
    workspace::{cache, root, target},
};

/// Arguments of `cargo xtask tuf-conformance`.
#[derive(Args)]
pub(crate) struct TufConformanceArgs {
    /// A checkout of theupdateframework/tuf-conformance
    #[arg(long)]
    suite: PathBuf,
    /// Only the tests whose name contains this
    #[arg(long)]
    only: Option<String>,
}

/// Builds the client and runs the suite.
pub(crate) fn run(args: &TufConformanceArgs) -> Result<()> {
    let suite = args.suite.canonicalize()?;
    ensure!(suite.join("tuf_conformance").is_dir(), "{} is no checkout of the suite", suite.display());
    packages::install(packages::TUF_CONFORMANCE)?;
    let python = python::tuf_conformance(&cache())?;
    let mut build = cargo("test");
    build.args(["--no-run", "--package", "cairn-trust", "--example", "tuf-conformance-client"]);
    step::show("Building the client", &mut build)?;
    let client = target().join("debug/examples/tuf-conformance-client");
    // The suite looks for what is known to fail beside the client.
    fs::copy(root().join("ota/trust/conformance.xfails"), client.with_extension("xfails"))?;
    let mut tests = Command::new(python);
    tests.args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "tuf_conformance", "--entrypoint"]);
    tests.arg(&client).current_dir(&suite);
    if let Some(only) = &args.only {
        tests.args(["-k", only]);
    }
    step::show("Running the conformance suite", &mut tests)
}
