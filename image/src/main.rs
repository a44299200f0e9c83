//! `cairn-image`: what `cargo xtask image` starts.

#![forbid(unsafe_code)]

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use cairn_image::{
    MIB, bmap,
    board::{Board, Flow},
    check, disk,
    layout::Layout,
    packages::{Apt, Lock, Wanted},
    root::Parts,
    run, slot,
    trust::Trust,
};
use clap::{Parser, Subcommand};
use sha2::{Digest, Sha256};

#[derive(Debug, Parser)]
#[command(name = "cairn-image", version, about = "Builds flashable cards")]
struct Cli {
    /// The checkout
    #[arg(long)]
    checkout: PathBuf,
    /// Where fetched packages are kept
    #[arg(long)]
    cache: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Resolve the packages anew and write image/packages.lock
    Lock,
    /// Build the card of one board
    Build(Box<BuildArgs>),
}

#[derive(Debug, clap::Args)]
struct BuildArgs {
    /// A folder of hardware/
    #[arg(long)]
    board: String,
    /// The hub's aarch64 binary, stripped
    #[arg(long)]
    binary: PathBuf,
    /// The embedding model (GGUF) to put into the root
    #[arg(long)]
    embedding_model: Option<PathBuf>,
    /// Where the card is written
    #[arg(long)]
    output: PathBuf,
    /// The version it carries
    #[arg(long)]
    version: String,
    /// When the system was made, seconds since 1970: the time of the newest commit, so that it follows from the sources
    #[arg(long, default_value_t = run::EPOCH)]
    made: u64,
    /// The first root metadata that hubs believe updates by, `1.root.json` of a workshop; else image/trust/root.json where there is one
    #[arg(long)]
    trusted_root: Option<PathBuf>,
    /// Where the repository of updates is served; else what image/trust/updates-url says where there is one
    #[arg(long)]
    updates_url: Option<String>,
    /// Certificates (PEM) of an authority of one's own, believed beside the public ones
    #[arg(long)]
    authority: Option<PathBuf>,
    /// A folder of one's own files, laid over the root
    #[arg(long)]
    overlay: Option<PathBuf>,
    /// Refuse packages in other versions than the locked ones
    #[arg(long)]
    locked: bool,
    /// How hard the card is compressed (zstd, 1 to 19)
    #[arg(long, default_value_t = 12)]
    level: i32,
}

fn main() -> Result<()> {
    let Cli { checkout, cache, command } = Cli::parse();
    let image = checkout.join("image");
    let wanted = Wanted::read(&image)?;
    fs::create_dir_all(&cache)?;
    let cache = cache.canonicalize()?;
    let apt = Apt::new(&cache, &wanted)?;
    match command {
        Command::Lock => apt.lock(&wanted)?.write(&image),
        Command::Build(args) => {
            let trust = Trust {
                root: args.trusted_root.clone(),
                url: args.updates_url.clone(),
                authority: args.authority.clone(),
            };
            let trust = trust.or_from(&image.join("trust"));
            let hardware = checkout.join("hardware");
            let board = Board::read(&hardware, &args.board)?;
            let layout = Layout::parse(&run::read_text(&image.join("layout.toml"))?)?;
            let parts = Parts {
                image: &image,
                hardware: &hardware,
                binary: &args.binary,
                embedding_model: args.embedding_model.as_deref(),
                version: &args.version,
                made: args.made.max(run::EPOCH),
                trust: &trust,
                overlay: args.overlay.as_deref(),
            };
            build(&apt, &wanted, &layout, &board, &parts, &args)
        }
    }
}

fn build(
    apt: &Apt,
    wanted: &Wanted,
    layout: &Layout,
    board: &Board,
    parts: &Parts<'_>,
    args: &BuildArgs,
) -> Result<()> {
    let BuildArgs { output, locked, level, .. } = args;
    let lock = Lock::read(parts.image)?;
    let mut replaced = Vec::new();
    let root = apt.fetch_locked(&lock.root, None, &mut replaced)?;
    let boot = apt.fetch_locked(&lock.boot, None, &mut replaced)?;
    let kernel = lock
        .kernel
        .get(&board.boot.kernel)
        .with_context(|| format!("packages.lock has no kernel {}", board.boot.kernel))?;
    let kernel = apt.fetch_locked(kernel, wanted.suite_of_kernel(&board.boot.kernel)?, &mut replaced)?;
    if !replaced.is_empty() {
        let list = replaced.join("\n  ");
        anyhow::ensure!(!*locked, "no longer offered in the locked version:\n  {list}");
        eprintln!(
            "No longer offered in the locked version, and replaced:\n  {list}\n`cargo xtask image --update-lock` writes the lock anew."
        );
    }

    fs::create_dir_all(output)?;
    let work = tempfile::Builder::new().prefix(".image-").tempdir_in(output)?;
    // One system serves every board of a kernel.
    let boards: Vec<Board> = Board::all(parts.hardware)?
        .into_iter()
        .filter(|other| other.boot.kernel == board.boot.kernel && other.boot.flow == board.boot.flow)
        .collect();
    let system = slot::build(work.path(), layout, &kernel, &root, &boot, &boards, parts)?;
    let name = format!("cairn-{}-{}", board.id, parts.version);
    let card = output.join(format!("{name}.img"));
    disk::lay_out(&card, layout, board, &system, &boot, work.path(), parts.image)?;
    let found =
        check::card(&card, layout, board, work.path()).context("the card that was built is not whole")?;

    // The system by itself: what an update is made from.
    let folder = output.join(format!("system-{}-{}", board.boot.kernel, parts.version));
    fs::create_dir_all(&folder)?;
    fs::rename(&system.boot, folder.join("boot.img"))?;
    fs::rename(&system.root, folder.join("root.img"))?;
    run::write(&folder.join("system.json"), serde_json::to_vec_pretty(&system.facts)?)?;
    if board.boot.flow == Flow::Script && board.boot.device_trees.is_empty() {
        // A machine without firmware of its own is given its bootloader from outside.
        fs::copy(work.path().join("first/u-boot.bin"), output.join(format!("{name}.u-boot.bin")))?;
    }

    let packed = output.join(format!("{name}.img.zst"));
    let mut encoder = zstd::Encoder::new(File::create(&packed)?, *level)?;
    encoder.include_checksum(true)?;
    encoder.long_distance_matching(false)?;
    io::copy(&mut File::open(&card)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    let map = bmap::of(&card)?;
    bmap::verify(&card, &map).context("the block map")?;
    run::write(&output.join(format!("{name}.img.bmap")), map)?;
    let sum = bmap::hex(&Sha256::digest(fs::read(&packed)?));
    run::write(&output.join(format!("{name}.img.zst.sha256")), format!("{sum}  {name}.img.zst\n"))?;
    // As whoever flashes it checks it.
    run::output(
        run::tool("sha256sum")
            .args(["--check", "--status"])
            .arg(format!("{name}.img.zst.sha256"))
            .current_dir(output),
    )?;
    tell(board, layout, &system, &packed, &sum, &name)?;
    println!("Read back from the card:");
    found.iter().for_each(|line| println!("  {line}"));
    Ok(())
}

fn tell(
    board: &Board,
    layout: &Layout,
    system: &slot::System,
    packed: &Path,
    sum: &str,
    name: &str,
) -> Result<()> {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB as f64);
    let facts = &system.facts;
    println!("{} for {}", name, board.name);
    println!("  compressed {}, SHA-256 {sum}", mib(fs::metadata(packed)?.len()));
    println!("  card {}, of which", mib(layout.size()));
    for partition in layout.partitions() {
        println!("    {} {:<8} {}", partition.number, partition.name, mib(partition.size));
    }
    println!(
        "  root {} with its hashes, boot files {}, binary {}, kernel {}",
        mib(facts.root_bytes),
        mib(facts.boot_bytes),
        mib(facts.binary_bytes),
        facts.kernel
    );
    println!("  root hash {}", facts.root_hash);
    println!("To flash a card /dev/sdX (everything on it is lost):");
    println!("  bmaptool copy {name}.img.zst /dev/sdX        # skips what is empty");
    println!("  zstdcat {name}.img.zst | sudo dd of=/dev/sdX bs=4M conv=fsync status=progress");
    Ok(())
}
