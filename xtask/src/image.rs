//! `cargo xtask image`: flashable cards.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    cross, embedding_model,
    setup::packages,
    step,
    test::cargo,
    workspace::{cache, root},
};

/// Arguments of `cargo xtask image`.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// A folder of hardware/; can be given several times
    #[arg(long, default_value = "qemu-virt")]
    board: Vec<String>,
    /// Where the cards are written
    #[arg(long, default_value_os_t = folder())]
    output: PathBuf,
    /// An aarch64 binary of the hub that was built already
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Leave the embedding model out: search by words only
    #[arg(long)]
    no_embedding_model: bool,
    /// Refuse packages in other versions than the locked ones
    #[arg(long)]
    locked: bool,
    /// Resolve the packages anew and write image/packages.lock; builds nothing
    #[arg(long)]
    update_lock: bool,
    /// Build each card twice, the second time in a folder of its own, and compare every byte
    #[arg(long)]
    check_reproducible: bool,
    /// Build in less time what runs slower: for tests
    #[arg(long)]
    quick: bool,
    /// The version that the card says it is; else the workspace's
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    own: OwnArgs,
}

/// What a community puts into its cards.
#[derive(Args, Clone, Default)]
pub(crate) struct OwnArgs {
    /// The first root metadata that hubs believe updates by: `1.root.json` of a workshop
    #[arg(long)]
    pub(crate) trusted_root: Option<PathBuf>,
    /// Where the repository of updates is served
    #[arg(long)]
    pub(crate) updates_url: Option<String>,
    /// Certificates (PEM) of an authority of one's own, believed beside the public ones
    #[arg(long)]
    pub(crate) authority: Option<PathBuf>,
    /// A folder of one's own files, laid over the root
    #[arg(long)]
    pub(crate) overlay: Option<PathBuf>,
}

impl OwnArgs {
    fn add_to(&self, build: &mut Command) {
        let path = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        for (name, value) in [
            ("--trusted-root", path(&self.trusted_root)),
            ("--updates-url", self.updates_url.clone().map(Into::into)),
            ("--authority", path(&self.authority)),
            ("--overlay", path(&self.overlay)),
        ] {
            if let Some(value) = value {
                build.arg(name).arg(value);
            }
        }
    }
}

/// Where cards are written unless somebody says otherwise.
pub(crate) fn folder() -> PathBuf {
    root().join("build/image")
}

/// Builds what the arguments ask for.
pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    packages::install(packages::IMAGE)?;
    let builder = || {
        let mut builder = cargo("run");
        builder.args(["--quiet", "--package", "cairn-image", "--", "--checkout"]).arg(root());
        builder.arg("--cache").arg(cache().join("image"));
        builder
    };
    if args.update_lock {
        return step::show("Resolving the packages anew", builder().arg("lock"));
    }
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => cross::build(args.quick)?,
    };
    let model = if args.no_embedding_model { None } else { Some(embedding_model::prepare(&cache())?) };
    let version = args.version.clone().map_or_else(workspace_version, Ok)?;
    let made = made();
    let card = |board: &str, output: &Path| {
        let mut build = builder();
        build.args(["build", "--board", board, "--version", &version, "--made", &made]);
        build.arg("--binary").arg(&binary).arg("--output").arg(output);
        if let Some(model) = &model {
            build.arg("--embedding-model").arg(model);
        }
        args.own.add_to(&mut build);
        if args.locked {
            build.arg("--locked");
        }
        if args.quick {
            build.args(["--level", "1"]);
        }
        build
    };
    for board in &args.board {
        step::show(&format!("Building the card of {board}"), &mut card(board, &args.output))?;
        if args.check_reproducible {
            let again = args.output.join("again");
            step::quiet(&format!("Building the card of {board} again"), &mut card(board, &again))?;
            same(&args.output, &again)?;
            std::fs::remove_dir_all(&again)?;
        }
    }
    Ok(())
}

/// Compares everything in `again` with what `first` holds.
fn same(first: &Path, again: &Path) -> Result<()> {
    let mut files = 0;
    for entry in std::fs::read_dir(again)? {
        let entry = entry?;
        let (path, other) = (entry.path(), first.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            same(&other, &path)?;
            continue;
        }
        let compared = Command::new("cmp").args([&path, &other]).output().context("cmp cannot be started")?;
        if !compared.status.success() {
            bail!("built twice and not the same: {}", String::from_utf8_lossy(&compared.stdout).trim());
        }
        files += 1;
    }
    println!("{files} files of {}: the same bytes when built again", first.display());
    Ok(())
}

/// When the system was made: the time of the newest commit, so that it follows from what is built; 0 outside of a checkout.
fn made() -> String {
    if let Ok(told) = std::env::var("SOURCE_DATE_EPOCH") {
        return told;
    }
    let mut log = Command::new("git");
    let told = log.args(["log", "-1", "--format=%ct"]).current_dir(root()).output();
    let time =
        told.ok().filter(|told| told.status.success()).and_then(|told| String::from_utf8(told.stdout).ok());
    time.map_or_else(|| "0".to_owned(), |time| time.trim().to_owned())
}

/// A card that QEMU boots, its bootloader, and the folder of its system by itself.
pub(crate) struct ForQemu {
    pub(crate) card: PathBuf,
    pub(crate) loader: PathBuf,
    pub(crate) system: PathBuf,
}

/// Builds the card that QEMU boots.
pub(crate) fn for_qemu(
    output: &Path,
    binary: Option<PathBuf>,
    quick: bool,
    version: Option<&str>,
    own: OwnArgs,
) -> Result<ForQemu> {
    let version = version.map_or_else(workspace_version, |version| Ok(version.to_owned()))?;
    let binary = binary.map_or_else(|| cross::build(quick), Ok)?;
    let card = card(output, "qemu-virt", &binary, quick, &version, own)?;
    let built = ForQemu {
        loader: card.with_extension("u-boot.bin"),
        system: output.join(format!("system-stable-{version}")),
        card,
    };
    for made in [&built.loader, &built.system] {
        if !made.exists() {
            bail!("the image builder left no {}", made.display());
        }
    }
    Ok(built)
}

/// Builds the card of one board. Gives the image.
pub(crate) fn card(
    output: &Path,
    board: &str,
    binary: &Path,
    quick: bool,
    version: &str,
    own: OwnArgs,
) -> Result<PathBuf> {
    run(&ImageArgs {
        board: vec![board.to_owned()],
        output: output.to_owned(),
        binary: Some(binary.to_owned()),
        no_embedding_model: false,
        locked: false,
        update_lock: false,
        check_reproducible: false,
        quick,
        version: Some(version.to_owned()),
        own,
    })?;
    let image = output.join(format!("cairn-{board}-{version}.img"));
    if !image.exists() {
        bail!("the image builder left no {}", image.display());
    }
    Ok(image)
}

/// The version that the workspace declares.
pub(crate) fn workspace_version() -> Result<String> {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml"))?;
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = \""));
    Ok(line.context("Cargo.toml declares no version")?.trim_end_matches('"').to_owned())
}
