//! `cargo xtask bench`: the figures of docs/BENCHMARKS.md, printed and written there.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::{
    bench_boot, bench_instructions,
    bench_sync::{self, FleetArgs},
    cross, ota_images, setup,
    step::{self, section},
    test::cargo,
    workspace::{self, root, target},
};

/// Where the figures stand.
const FILE: &str = "docs/BENCHMARKS.md";
/// Sizes of libraries that searches are measured in, passages.
const LIBRARIES: [&str; 3] = ["1000", "10000", "50000"];

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[arg(value_enum, default_values_t = [What::Hub, What::Search, What::Store])]
    what: Vec<What>,
    /// The generating model (GGUF) that answers while the hub is measured [default: one that is made here]
    #[arg(long)]
    model: Option<PathBuf>,
    /// Print only; leave docs/BENCHMARKS.md as it is
    #[arg(long)]
    no_write: bool,
    /// Fewer model files where engines are compared
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    ota: OtaArgs,
    #[command(flatten)]
    fleet: FleetArgs,
}

/// What updates are measured on.
#[derive(Args)]
struct OtaArgs {
    /// Updates: NAME=OLD=NEW, folders with `boot.img` and `root.img` each [default: built from Debian's packages]
    #[arg(long)]
    pair: Vec<String>,
    /// Updates, boot: the hub's aarch64 binary for images that are built here [default: cross-built]
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Updates: an earlier build of it
    #[arg(long)]
    binary_before: Option<PathBuf>,
    /// Updates: a `bench-ota` that was built before
    #[arg(long, hide = true)]
    program: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Start, memory, indexing, first passage, requests while an answer is written
    Hub,
    /// Searches by words and meaning at 1k, 10k and 50k passages
    Search,
    /// Writes, pages at 1k and 100k records, each part of the search by itself
    Store,
    /// Our engine, candle-transformers and llama.cpp in turn on the same files and cores
    Inference,
    /// Instructions a token on the boards' processors, counted under emulation, beside llama.cpp
    Instructions,
    /// Many hubs against one gateway: steady state, and all of them coming back after an outage
    Fleet,
    /// Synchronisation: records a second on the hub, bytes on the wire, first fill, beside PouchDB
    Sync,
    /// From switching on to the page, beside Debian with the same hub; needs root
    Boot,
    /// Bytes that updates fetch on real pairs of images, beside other ways; time and memory of an install
    Ota,
}

/// Builds with optimization, runs the programs that measure, and writes down what they print.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    // Some build by themselves what they need.
    let apart = [What::Ota, What::Fleet, What::Sync, What::Instructions, What::Boot];
    if args.what.iter().any(|what| !apart.contains(what)) {
        build()?;
    }
    for what in &args.what {
        let (title, command, measured) = match what {
            What::Hub => ("hub", "cargo xtask bench hub", hub(args)?),
            What::Search => ("search", "cargo xtask bench search", search()?),
            What::Store => ("store", "cargo xtask bench store", store()?),
            What::Inference => ("inference", "cargo xtask bench inference", inference(args.quick)?),
            What::Instructions => {
                ("instructions", "cargo xtask bench instructions", bench_instructions::run()?)
            }
            What::Fleet => ("fleet", "cargo xtask bench fleet", bench_sync::fleet(&args.fleet)?),
            What::Sync => ("sync", "cargo xtask bench sync", bench_sync::sync(&args.fleet)?),
            What::Boot => ("boot", "cargo xtask bench boot", bench_boot::run(&hub_for_boards(&args.ota)?)?),
            What::Ota => ("ota", "cargo xtask bench ota", ota(&args.ota)?),
        };
        if !args.no_write {
            section::write(FILE, title, &format!("`{command}`, {}.\n\n{measured}", machine()?))?;
        }
    }
    Ok(())
}

fn hub(args: &BenchArgs) -> Result<String> {
    let model = setup::for_running()?;
    let mut bench = Command::new(target().join("release/bench-hub"));
    bench.arg(root().join("appliance/library/sample")).args(&args.model);
    bench.env("CAIRN_BIN", target().join("release/cairn")).env("CAIRN_EMBEDDING_MODEL", &model);
    // The hub that is measured greets on the same stream; the figures are the rows of the table.
    let printed = step::show_and_keep("Measuring the hub", &mut bench)?;
    Ok(printed.lines().filter(|line| line.starts_with('|')).flat_map(|line| [line, "\n"]).collect())
}

fn search() -> Result<String> {
    let mut lines = String::from("Hybrid search, without the embedding of the question:\n\n```text\n");
    for passages in LIBRARIES {
        let mut bench = example("evaluate");
        bench.args(["--latency", passages]);
        lines += &step::show_and_keep(&format!("Measuring searches in {passages} passages"), &mut bench)?;
    }
    Ok(lines + "```\n")
}

fn store() -> Result<String> {
    let mut bench = example("store_bench");
    Ok(format!("```text\n{}```\n", step::show_and_keep("Measuring the store", &mut bench)?))
}

fn inference(quick: bool) -> Result<String> {
    let cache = workspace::cache();
    let python = setup::python::peers(&cache)?;
    let mut bench = example("compare-engines");
    bench.arg("--python").arg(python).arg("--folder").arg(cache.join("bench"));
    bench.arg("--script").arg(root().join("tests/agreement/bench_llama.py"));
    if quick {
        bench.arg("--quick");
    }
    let engines = step::show_and_keep("Comparing engines", &mut bench)?;
    let mut drafts = example("bench-drafts");
    drafts.arg(cache.join("bench/drafts"));
    let drafts = step::show_and_keep("Measuring drafts", &mut drafts)?;
    Ok(format!(
        "{engines}\nDrafts from the conversation, by a model that quotes it (`appliance/inference/examples/bench-drafts.rs` says how it is made):\n\n{drafts}"
    ))
}

fn hub_for_boards(args: &OtaArgs) -> Result<PathBuf> {
    args.binary.clone().map_or_else(|| cross::build(false), Ok)
}

fn ota(args: &OtaArgs) -> Result<String> {
    setup::packages::install(setup::packages::OTA_BENCH)?;
    let pairs = if args.pair.is_empty() {
        ota_images::pairs(&hub_for_boards(args)?, args.binary_before.as_deref())?
    } else {
        args.pair.clone()
    };
    let mut bench = match &args.program {
        Some(program) => Command::new(program),
        None => built_example("cairn-uplink", "bench-ota")?,
    };
    step::show_and_keep("Measuring updates", bench.args(&pairs))
}

/// Builds the hub and everything that measures it, as one: which features a library has depends on who else is built, so that each
/// program by itself would compile most of them again.
pub(crate) fn build() -> Result<()> {
    let mut build = cargo("build");
    build.args(["--release", "--workspace", "--bin=cairn", "--bin=bench-hub"]);
    build.args(["--example=evaluate", "--example=store_bench"]);
    build.args(["--example=compare-engines", "--example=bench-drafts"]);
    step::show("Building the hub and what measures it", &mut build)
}

/// As [`example`], of one package alone, after building it.
pub(crate) fn built_example(package: &str, name: &str) -> Result<Command> {
    let mut build = cargo("build");
    build.args(["--release", "--package", package, "--example", name]);
    step::show(&format!("Building {name}"), &mut build)?;
    Ok(example(name))
}

/// A program that `build` has built.
pub(crate) fn example(name: &str) -> Command {
    Command::new(target().join("release/examples").join(name))
}

/// On what and when it was measured, so that nobody compares figures of different machines unawares.
fn machine() -> Result<String> {
    let date = Command::new("date").arg("+%Y-%m-%d").output().context("date cannot be started")?;
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let (cpus, memory, load) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kib: u64 = field(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    let model = match field(&cpus, "model name") {
        name if name.is_empty() => std::env::consts::ARCH.to_owned(),
        name => name,
    };
    Ok(format!(
        "{} on {cores} cores ({model}), {} GiB of memory, load average {} before the start",
        String::from_utf8_lossy(&date.stdout).trim(),
        kib.div_ceil(1 << 20),
        load.split_whitespace().next().unwrap_or("unknown"),
    ))
}
