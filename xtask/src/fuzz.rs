//! `cargo xtask fuzz`: every fuzz target beside a crate, from the corpus in the repository; what it finds worth keeping lies in `build/fuzz`
//! until `--keep` puts a small choice of it into the repository, where the tests replay it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{step, workspace::root};

/// Most files of a target in the repository, the largest of them and all together in bytes.
const KEEP: usize = 40;
const KEEP_EACH: u64 = 16 * 1024;
const KEEP_BYTES: u64 = 200 * 1024;

/// Arguments of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct FuzzArgs {
    /// How long each target runs, in seconds
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Put a small choice of what was found into the repository
    #[arg(long)]
    keep: bool,
    /// Only the targets whose name contains this
    filter: Option<String>,
}

/// Runs the targets. Needs `cargo-fuzz`, which is built when missing.
pub(crate) fn run(args: &FuzzArgs) -> Result<()> {
    if !step::has("cargo-fuzz") {
        step::show("Building cargo-fuzz", Command::new("cargo").args(["install", "--locked", "cargo-fuzz"]))?;
    }
    let mut ran = 0;
    for (folder, name) in targets()? {
        if args.filter.as_ref().is_some_and(|filter| !name.contains(filter.as_str())) {
            continue;
        }
        let (found, kept) = (root().join("build/fuzz").join(&name), folder.join("corpus").join(&name));
        for corpus in [&found, &kept] {
            fs::create_dir_all(corpus).with_context(|| format!("{} cannot be made", corpus.display()))?;
        }
        // What is new goes into the first one.
        let mut fuzzer = fuzzer(&folder, &name, [&found, &kept]);
        fuzzer.arg(format!("-max_total_time={}", args.seconds)).arg("-print_final_stats=1");
        step::show(&format!("Fuzzing {name} for {} s", args.seconds), &mut fuzzer)?;
        if args.keep {
            keep(&folder, &name, &found, &kept)?;
        }
        ran += 1;
    }
    if ran == 0 {
        bail!("no fuzz target has such a name");
    }
    println!("{ran} fuzz targets ran for {} s each without a finding", args.seconds);
    Ok(())
}

/// Folders `fuzz` beside crates, and the targets in them.
fn targets() -> Result<Vec<(PathBuf, String)>> {
    let mut all = Vec::new();
    for area in ["appliance", "ota"] {
        let folder = root().join(area);
        let crates = fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))?;
        for entry in crates {
            let fuzz = entry?.path().join("fuzz");
            let Ok(sources) = fs::read_dir(fuzz.join("fuzz_targets")) else { continue };
            for source in sources {
                let path = source?.path();
                if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                    all.push((fuzz.clone(), name.to_owned()));
                }
            }
        }
    }
    all.sort();
    Ok(all)
}

fn fuzzer(folder: &Path, name: &str, corpora: [&Path; 2]) -> Command {
    let mut fuzzer = Command::new("cargo");
    // The sanitizers need unstable compiler flags; this lets the stable toolchain take them.
    fuzzer.env("RUSTC_BOOTSTRAP", "1").args(["fuzz", "run", "--fuzz-dir"]).arg(folder);
    fuzzer.arg(name).args(corpora).arg("--");
    fuzzer
}

/// What is in the repository stays; of what a minimal set covers beside it, the smallest files join it.
fn keep(folder: &Path, name: &str, found: &Path, kept: &Path) -> Result<()> {
    let chosen = root().join("build/fuzz-chosen").join(name);
    if chosen.exists() {
        fs::remove_dir_all(&chosen)?;
    }
    fs::create_dir_all(&chosen)?;
    for entry in fs::read_dir(kept)? {
        let entry = entry?;
        fs::copy(entry.path(), chosen.join(entry.file_name()))?;
    }
    // Of the second corpus, what covers something that the first one does not is copied into the first.
    let mut merge = fuzzer(folder, name, [&chosen, found]);
    merge.arg("-set_cover_merge=1");
    step::show(&format!("Choosing of what {name} found"), &mut merge)?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&chosen)? {
        let entry = entry?;
        files.push((entry.metadata()?.len(), entry.path()));
    }
    files.sort();
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(kept)? {
        count += 1;
        bytes += entry?.metadata()?.len();
    }
    for (length, path) in files {
        let to = kept.join(path.file_name().context("a file without a name")?);
        if count >= KEEP || length > KEEP_EACH || bytes + length > KEEP_BYTES || to.exists() {
            continue;
        }
        fs::copy(&path, &to)?;
        count += 1;
        bytes += length;
    }
    println!("{count} files, {bytes} bytes in {}", kept.display());
    Ok(())
}
