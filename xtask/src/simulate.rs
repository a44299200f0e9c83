//! `cargo xtask simulate`: more seeds of the synchronisation simulator than the tests have time for, or one alone.

use anyhow::Result;
use clap::Args;

use crate::{step, test::cargo};

/// Arguments of `cargo xtask simulate`.
#[derive(Args)]
pub(crate) struct SimulateArgs {
    /// How many seeds
    #[arg(long, default_value_t = 10_000, conflicts_with = "seed")]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Only this one, for example one that found something
    #[arg(long)]
    seed: Option<u64>,
}

/// Builds and runs the simulator; fails where a seed finds something.
pub(crate) fn run(args: &SimulateArgs) -> Result<()> {
    let mut command = cargo("run");
    command.args(["--quiet", "-p", "cairn-tests", "--bin", "simulate", "--"]);
    match args.seed {
        Some(seed) => command.args(["--seed", &seed.to_string()]),
        None => command.args(["--seeds", &args.seeds.to_string(), "--from", &args.from.to_string()]),
    };
    step::show("Simulating hubs and their gateway in virtual time", &mut command)
}
