//! `cargo xtask test` and `lint`.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{
    setup, step,
    workspace::{root, target},
};

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct TestArgs {
    /// Only the tests whose name contains this
    filter: Vec<String>,
    /// Check the lints first as well
    #[arg(long)]
    lint: bool,
}

/// Sets up, builds and runs the tests. The test runner's closing lines come last.
pub(crate) fn run(args: &TestArgs) -> Result<()> {
    formatting()?;
    let environment = setup::for_testing()?;
    if args.lint {
        lints()?;
    }
    // Built with all packages at once: a build of the hub alone would choose other features of what it stands on and
    // compile most of it a second time.
    let mut tests = cargo("nextest");
    // Examples are programs that measure; `lint` compiles them.
    tests.args(["run", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]).args(&args.filter);
    tests.envs(environment).env("CAIRN_BIN", target().join("debug/cairn"));
    step::show("Running the tests", &mut tests)
}

/// Formatting and lints.
pub(crate) fn lint() -> Result<()> {
    formatting()?;
    lints()
}

/// A second's work that saves a wait of half an hour for an answer about spaces.
fn formatting() -> Result<()> {
    step::show("Checking the formatting", cargo("fmt").args(["--all", "--check"]))
}

/// Compiles everything a second time, because clippy shares nothing with a build.
fn lints() -> Result<()> {
    let mut clippy = cargo("clippy");
    clippy.args(["--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"]);
    step::show("Checking the lints", &mut clippy)
}

/// Cargo in the workspace.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new("cargo");
    command.arg(subcommand).current_dir(root());
    command
}
