//! `cargo xtask test-image`: the tests that boot a card. Apart from `cargo xtask test`, because a release build for another
//! processor comes before them.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    cross, image,
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
    let host = cross::host("rustc")?.to_uppercase().replace('-', "_");
    tests.env(format!("CARGO_TARGET_{host}_RUNNER"), root().join("tests/image/own-network"));
    releases.tell(tests.args(&args.filter));
    step::show("Booting the card", &mut tests)
}
