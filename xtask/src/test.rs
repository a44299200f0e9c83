//! `cargo xtask test`, `lint` and `fuzz`.

use std::process::Command;

use anyhow::{Context, Result, bail};
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

/// Arguments of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Only the targets whose name contains this
    filter: Option<String>,
}

/// Runs every fuzz target found beside a crate. Needs `cargo-fuzz`, which is built when missing.
pub(crate) fn fuzz(args: &FuzzArgs) -> Result<()> {
    if !step::has("cargo-fuzz") {
        step::show("Building cargo-fuzz", Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let mut ran = 0;
    for area in ["appliance", "ota"] {
        let folder = root().join(area);
        let crates =
            std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
        for entry in crates {
            let fuzz = entry?.path().join("fuzz");
            let Ok(targets) = std::fs::read_dir(fuzz.join("fuzz_targets")) else { continue };
            for source in targets {
                let path = source?.path();
                let Some(name) = path.file_stem().and_then(|name| name.to_str()) else { continue };
                if args.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
                    continue;
                }
                let mut fuzzer = Command::new("cargo");
                // The sanitizers need unstable compiler flags; this lets the stable toolchain take them.
                fuzzer.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--fuzz-dir"]).arg(&fuzz);
                fuzzer.arg(name).arg("--").arg(format!("-max_total_time={}", args.seconds));
                step::show(&format!("Fuzzing {name} for {} s", args.seconds), &mut fuzzer)?;
                ran += 1;
            }
        }
    }
    if ran == 0 {
        bail!("no fuzz target has such a name");
    }
    println!("{ran} fuzz targets ran for {} s each without a finding", args.seconds);
    Ok(())
}

/// Cargo in the workspace.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new("cargo");
    command.arg(subcommand).current_dir(root());
    command
}
