//! `cargo xtask powercut`: cuts the power of the real card in QEMU, again and again, while it updates itself.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    image,
    releases::{Releases, Unfit},
    setup, step,
    test::cargo,
};

/// Arguments of `cargo xtask powercut`.
#[derive(Args)]
pub(crate) struct PowercutArgs {
    /// How often the power is cut
    #[arg(long, default_value_t = 25)]
    cuts: u32,
    /// Which moments; printed, for playing the same again
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An aarch64 binary of the hub that was built already
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Build in less time what runs slower
    #[arg(long)]
    quick: bool,
}

/// Builds cards and updates, and cuts. Fails where a card does not come back as it should.
pub(crate) fn run(args: &PowercutArgs) -> Result<()> {
    setup::test_runner()?;
    let releases = Releases::prepare(&image::folder(), args.binary.clone(), args.quick, Unfit::LeftOut)?;
    // Not by nextest, which ends what takes hours.
    let mut tests = cargo("test");
    tests.args([
        "-p",
        "cairn-tests",
        "--test",
        "image",
        "--",
        "--exact",
        "powercut::the_power_is_cut_at_any_moment",
    ]);
    tests
        .args(["--nocapture"])
        .env("CAIRN_CUTS", args.cuts.to_string())
        .env("CAIRN_SEED", args.seed.to_string());
    releases.tell(&mut tests);
    step::show("Cutting the power", &mut tests)
}
