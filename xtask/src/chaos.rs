//! `cargo xtask chaos`: storms over real hubs, gateway instances, HAProxy and PostgreSQL, longer than the tests have time for.

use anyhow::Result;
use clap::Args;

use crate::{setup::packages, step, test::cargo, workspace::target};

/// Arguments of `cargo xtask chaos`.
#[derive(Args)]
pub(crate) struct ChaosArgs {
    /// How long new storms begin
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The seed of the first storm; each further one has the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many hubs
    #[arg(long, default_value_t = 4)]
    hubs: u64,
    /// How long one storm lasts, in seconds
    #[arg(long, default_value_t = 120)]
    storm: u64,
}

/// Builds everything as the tests do and plays; fails where a storm finds something.
pub(crate) fn run(args: &ChaosArgs) -> Result<()> {
    packages::install(packages::RUN)?;
    packages::install(packages::GATEWAY)?;
    let mut build = cargo("test");
    build.args(["--no-run", "--quiet", "-p", "cairn", "-p", "cairn-gateway", "-p", "cairn-tests"]);
    step::show("Building hub and gateway", &mut build)?;
    let mut command = cargo("run");
    command.args(["--quiet", "-p", "cairn-tests", "--bin", "chaos", "--"]);
    command.args(["--minutes", &args.minutes.to_string(), "--seed", &args.seed.to_string()]);
    command.args(["--hubs", &args.hubs.to_string(), "--storm", &args.storm.to_string()]);
    command.env("CAIRN_BIN", target().join("debug/cairn"));
    step::show("Playing storms", &mut command)
}
