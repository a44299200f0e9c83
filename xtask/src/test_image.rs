//! `cargo xtask test-image`: the tests that boot a card. Apart from `cargo xtask test`, because a release build for another
//! processor comes before them.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    image,
    releases::{Releases, Unfit},
    setup, step,
    test::cargo,
    workspace::root,
};

/// Arguments of `cargo xtask test-image`.
#[derive(Args)]
pub(crate) struct TestImageArgs {
    /// Only the tests whose name contains this
    filter: Vec<String>,
    /// An aarch64 binary of the hub that was built already
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Build in less time what runs slower
    #[arg(long)]
    quick: bool,
}

/// Builds the hub for the boards, the card of QEMU's machine and what updates it, and boots it.
pub(crate) fn run(args: &TestImageArgs) -> Result<()> {
    setup::test_runner()?;
    // They take longest to build, and most filters leave them out.
    let wanted = args.filter.is_empty()
        || args.filter.iter().any(|name| name.contains("unfit") || name.contains("goes_back"));
    let unfit = if wanted { Unfit::Built } else { Unfit::LeftOut };
    let releases = Releases::prepare(&image::folder(), args.binary.clone(), args.quick, unfit)?;
    let mut tests = cargo("nextest");
    // The whole workspace, so that what `cargo xtask test` has compiled fits.
    tests.args(["run", "--workspace", "--test", "image", "--ignore-default-filter"]);
    // Each in a network of its own, so that as many run at once as there are cores.
    tests.env(format!("CARGO_TARGET_{}_RUNNER", host()?), root().join("tests/image/own-network"));
    releases.tell(tests.args(&args.filter));
    step::show("Booting the card", &mut tests)
}

/// What this computer is called in the names of cargo's variables.
fn host() -> Result<String> {
    let told =
        Command::new("rustc").arg("-vV").current_dir(root()).output().context("rustc cannot be started")?;
    let told = String::from_utf8(told.stdout)?;
    let host = told
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("rustc does not say what it runs on")?;
    Ok(host.to_uppercase().replace('-', "_"))
}
