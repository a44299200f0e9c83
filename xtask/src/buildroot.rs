//! `cargo xtask buildroot`: the Buildroot tree against a checkout of Buildroot. What needs no checkout is a test (`tests/boards`).

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    step,
    test::cargo,
    workspace::{root, target},
};

/// Arguments of `cargo xtask buildroot`.
#[derive(Args)]
pub(crate) struct BuildrootArgs {
    /// Check every defconfig and the package's makefile against this checkout of Buildroot
    #[arg(long, value_name = "PATH")]
    check: Option<PathBuf>,
    /// Only these boards; can be given several times
    #[arg(long)]
    board: Vec<String>,
    /// Then build the package (`make cairn`) for the first of the boards as well: hours, and Buildroot's sources from the network
    #[arg(long, requires = "check")]
    make: bool,
    /// Put the crates that the package is built from into buildroot-config/vendor
    #[arg(long)]
    vendor: bool,
}

/// Does what the arguments ask for.
pub(crate) fn run(args: &BuildrootArgs) -> Result<()> {
    if args.check.is_none() && !args.vendor {
        bail!("nothing to do: say --check PATH or --vendor");
    }
    let tree = root().join("buildroot-config");
    if args.vendor {
        let mut vendor = cargo("vendor");
        step::quiet("Vendoring the crates", vendor.args(["--locked", "--quiet"]).arg(tree.join("vendor")))?;
    }
    let Some(checkout) = &args.check else { return Ok(()) };
    let makefile = checkout.join("Makefile");
    let version = std::fs::read_to_string(&makefile)
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("export BR2_VERSION := "))?;
            Some(line.trim().to_owned())
        })
        .with_context(|| format!("{} is no checkout of Buildroot", checkout.display()))?;
    let checkout = checkout.canonicalize()?;
    let mut check = Command::new(tree.join("scripts/check"));
    check.arg(&checkout).args(&args.board).env("INFO", "1");
    step::show(&format!("Checking the tree against Buildroot {version}"), &mut check)?;
    if args.make {
        let board = args.board.first().map_or("qemu-virt", String::as_str);
        let output = target().join("buildroot").join(board);
        std::fs::create_dir_all(&output)?;
        let make = |what: &str| {
            let mut make = Command::new("make");
            make.arg("-C").arg(&checkout).arg(format!("O={}", output.display()));
            // Buildroot refuses to work with a path that has spaces, and wants none of our environment.
            make.arg(format!("BR2_EXTERNAL={}", tree.display())).arg(what).env_remove("CARGO_TARGET_DIR");
            make
        };
        let defconfig = format!("cairn_{}_defconfig", board.replace('-', "_"));
        step::quiet(&format!("Configuring {board}"), &mut make(&defconfig))?;
        step::show("Building the package cairn", &mut make("cairn"))?;
    }
    Ok(())
}
