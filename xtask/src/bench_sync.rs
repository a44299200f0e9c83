//! What `cargo xtask bench fleet` and `bench sync` run: many hubs against one gateway, and the bytes and seconds of two.

use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    setup::packages,
    step,
    test::cargo,
    workspace::{self, root, target},
};

/// How large the fleet is and for how long it is watched.
#[derive(Args)]
pub(crate) struct FleetArgs {
    /// Fleet: how many hubs
    #[arg(long, default_value_t = 10_000)]
    hubs: u64,
    /// Fleet: how long the steady state is measured, in seconds
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Fleet: how long the gateway is away, in seconds
    #[arg(long, default_value_t = 120)]
    outage: u64,
    /// Sync: how many records
    #[arg(long, default_value_t = 10_000)]
    records: u64,
}

/// Simulated hubs against one real instance and PostgreSQL.
pub(crate) fn fleet(args: &FleetArgs) -> Result<String> {
    build()?;
    let mut bench = Command::new(target().join("release/examples/fleet"));
    bench.arg(target().join("release/cairn-gateway"));
    for (name, value) in [("--hubs", args.hubs), ("--seconds", args.seconds), ("--outage", args.outage)] {
        bench.args([name, &value.to_string()]);
    }
    step::show_and_keep("Measuring a fleet", &mut bench)
}

/// The store's side alone, then a whole way over the wire beside PouchDB.
pub(crate) fn sync(args: &FleetArgs) -> Result<String> {
    build()?;
    let peer = pouchdb()?;
    let mut store = Command::new(target().join("release/examples/sync_bench"));
    let store = step::show_and_keep("Measuring the hub's store", store.arg((2 * args.records).to_string()))?;
    let mut wire = Command::new(target().join("release/bench-sync"));
    wire.arg(args.records.to_string()).arg(peer).env("CAIRN_BIN", target().join("release/cairn-gateway"));
    let wire = step::show_and_keep("Measuring what goes over the wire", &mut wire)?;
    Ok(format!(
        "The hub's store alone, without network and gateway:\n\n```text\n{store}```\n\nThe whole way: {wire}"
    ))
}

fn build() -> Result<()> {
    packages::install(packages::RUN)?;
    packages::install(packages::GATEWAY)?;
    let mut build = cargo("build");
    build.args(["--release", "--workspace", "--bin", "cairn-gateway", "--bin", "bench-sync"]);
    build.args(["--example", "fleet", "--example", "sync_bench"]);
    step::show("Building the gateway and what measures it", &mut build)
}

/// PouchDB, client and server, in a folder of the cache. Returns the folder.
fn pouchdb() -> Result<std::path::PathBuf> {
    packages::install(packages::POUCHDB)?;
    let folder = workspace::cache().join("pouchdb");
    std::fs::create_dir_all(&folder)?;
    for name in ["package.json", "bench.js"] {
        let from = root().join("tests/agreement/pouchdb").join(name);
        std::fs::copy(&from, folder.join(name))
            .with_context(|| format!("{} cannot be copied", from.display()))?;
    }
    if !folder.join("node_modules/pouchdb").exists() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund"]).current_dir(&folder);
        step::quiet("Installing PouchDB", &mut npm)?;
    }
    Ok(folder)
}
