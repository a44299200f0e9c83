//! `cargo xtask bench`: the figures of docs/BENCHMARKS.md.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{
    setup, step,
    test::cargo,
    workspace::{root, target},
};

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_values_t = [What::Hub, What::Store])]
    what: Vec<What>,
    /// The generating model (GGUF) that answers while the hub is measured
    #[arg(long)]
    model: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Memory, start, first passage, requests while an answer is generated
    Hub,
    /// Writes, pages, search at 1k, 10k and 50k passages
    Store,
}

/// Builds with optimization, then runs the program that measures.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let model = setup::for_running()?;
    for what in &args.what {
        match what {
            What::Hub => {
                step::show("Building the hub", cargo("build").args(["--release", "--package", "cairn"]))?;
                let mut bench = cargo("run");
                bench.args(["--release", "--package", "cairn-tests", "--bin", "bench-hub", "--"]);
                bench.arg(root().join("appliance/library/sample")).args(&args.model);
                bench.env("CAIRN_BIN", target().join("release/cairn")).env("CAIRN_EMBEDDING_MODEL", &model);
                step::show("Measuring the hub", &mut bench)?;
            }
            What::Store => {
                let mut bench = cargo("run");
                bench.args(["--release", "--package", "cairn-store", "--example", "store_bench"]);
                step::show("Measuring the store", &mut bench)?;
            }
        }
    }
    Ok(())
}
