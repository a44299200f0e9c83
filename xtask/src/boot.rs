//! `cargo xtask boot`: the card in QEMU, for a person: its page forwarded, its console in the terminal.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{image, setup::packages, step};

/// How large the card is made: what is beyond the image becomes the data partition's, bytes.
const CARD: u64 = 4 << 30;

/// Arguments of `cargo xtask boot`.
#[derive(Args)]
pub(crate) struct BootArgs {
    /// Which board; only QEMU's can be booted here
    #[arg(long, default_value = "qemu-virt")]
    board: String,
    /// The port of this machine where the hub's page appears
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Memory of the machine, MiB
    #[arg(long, default_value_t = 1024)]
    memory: u32,
    /// Start with a new card: what the last one kept is lost
    #[arg(long)]
    fresh: bool,
    /// An aarch64 binary of the hub that was built already
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Build in less time what runs slower
    #[arg(long)]
    quick: bool,
    /// Where cards are
    #[arg(long, default_value_os_t = image::folder())]
    images: PathBuf,
}

/// Boots and stays until the machine ends (in the console: Ctrl-A, then X).
pub(crate) fn run(args: &BootArgs) -> Result<()> {
    if args.board != "qemu-virt" {
        bail!("{} has to be booted on the board itself: flash its card", args.board);
    }
    packages::install(packages::IMAGE)?;
    let kept = args.images.join("boot-qemu-virt.img");
    let loader = args.images.join("boot-qemu-virt.u-boot.bin");
    if args.fresh || !kept.exists() {
        let built =
            image::for_qemu(&args.images, args.binary.clone(), args.quick, None, image::OwnArgs::default())?;
        let mut copy = Command::new("cp");
        step::quiet("Making a card", copy.arg("--sparse=always").args([&built.card, &kept]))?;
        std::fs::copy(&built.loader, &loader)?;
        std::fs::OpenOptions::new().write(true).open(&kept)?.set_len(CARD)?;
    }
    println!("The page will be at http://127.0.0.1:{} ; Ctrl-A, then X, ends the machine.", args.port);
    let status = Command::new("qemu-system-aarch64")
        .args(["-M", "virt", "-cpu", "cortex-a53", "-smp", "2", "-m", &args.memory.to_string()])
        .arg("-bios")
        .arg(&loader)
        .arg("-drive")
        .arg(format!("if=none,id=card,format=raw,file={}", kept.display()))
        .args(["-device", "virtio-blk-pci,drive=card", "-device", "i6300esb", "-device", "virtio-rng-pci"])
        .args(["-netdev", &format!("user,id=lan,hostfwd=tcp:127.0.0.1:{}-:80", args.port)])
        .args(["-device", "virtio-net-pci,netdev=lan,romfile=", "-nographic"])
        .status()
        .context("qemu-system-aarch64 cannot be started")?;
    if !status.success() {
        bail!("the machine ended with {status}");
    }
    Ok(())
}
