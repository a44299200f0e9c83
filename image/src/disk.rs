//! The card: partition table, boot state, boot partition, slot A filled, slot B empty, and the mark of a new card in the data
//! partition.

use std::{
    fs::{self, File},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use anyhow::{Context, Result};
use cairn_slots::{
    SlotId,
    boot_control::{BootState, block},
};

use crate::{
    SECTOR,
    board::{Board, Flow},
    fat,
    layout::Layout,
    mbr,
    packages::Fetched,
    run::{self, output, tool},
    slot::{self, System},
};

/// What stands at the start of a data partition that was never used. Only where it stands is the partition formatted.
pub const NEW_DATA: &[u8; 16] = b"CAIRN-NEW-DATA\0\0";

/// Where a board's memory begins, for the boot script.
const fn memory(board_has_firmware: bool) -> &'static str {
    if board_has_firmware { "0" } else { "40000000" }
}

/// Lays out a card.
///
/// # Errors
/// When a part is missing or does not fit.
pub fn lay_out(
    image: &Path,
    layout: &Layout,
    board: &Board,
    system: &System,
    boot_packages: &Fetched,
    folder: &Path,
    source: &Path,
) -> Result<()> {
    let boot = folder.join("first");
    fill_boot_partition(&boot, layout, board, boot_packages, folder, source)?;
    let boot_image = folder.join("first.img");
    fat::make(&boot_image, layout.partition("boot")?.size, "CAIRN", fat::serial(&board.id), &boot)?;

    let mut card = File::create(image).with_context(|| format!("{} cannot be written", image.display()))?;
    card.set_len(layout.size())?;
    for (at, record) in mbr::records(&layout.partitions()) {
        put(&mut card, at, &record)?;
    }
    // One whole copy; the first flip writes the other.
    let fresh = BootState { generation: 1, default: SlotId::A, trial: None };
    let [first, _] = layout.boot_control_sectors();
    put(&mut card, first * SECTOR, &block::encode(&fresh))?;
    for (name, content) in [("boot", &boot_image), ("boot-a", &system.boot), ("root-a", &system.root)] {
        copy_sparse(content, &mut card, layout.partition(name)?.start)?;
    }
    put(&mut card, layout.partition("data")?.start, NEW_DATA)?;
    card.sync_all()?;
    Ok(())
}

/// The boot partition's files: the firmware's, the bootloader, the script, and the provisioning file to fill in.
fn fill_boot_partition(
    boot: &Path,
    layout: &Layout,
    board: &Board,
    packages: &Fetched,
    work: &Path,
    source: &Path,
) -> Result<()> {
    fs::create_dir_all(boot)?;
    fs::copy(source.join("boot/cairn.toml"), boot.join("cairn.toml")).context("image/boot/cairn.toml")?;
    match board.boot.flow {
        Flow::Script => {
            slot::boot_files(board, packages, &work.join("boot-packages"), boot)?;
            // The firmware reads the device tree before any slot is chosen.
            for tree in &board.boot.device_trees {
                let name = tree.rsplit('/').next().unwrap_or(tree);
                fs::copy(work.join("boot").join(name), boot.join(name)).with_context(|| name.to_owned())?;
            }
            if !board.boot.config.is_empty() {
                run::write(&boot.join("config.txt"), board.boot.config.join("\n") + "\n")?;
            }
            let [first, second] = layout.boot_control_sectors();
            let script = run::read_text(&source.join("boot/boot.cmd"))?
                .replace("@RAM@", memory(!board.boot.device_trees.is_empty()))
                .replace("@CONSOLE@", &slot::consoles(board))
                // U-Boot reads numbers as hexadecimal.
                .replace("@COPY1@", &format!("{first:x}"))
                .replace("@COPY2@", &format!("{second:x}"));
            let text = work.join("boot.cmd");
            // Remarks are for people; U-Boot 2025.01 would read them all the same.
            let lines: String = script
                .lines()
                .filter(|line| !line.starts_with('#') && !line.is_empty())
                .map(|line| format!("{line}\n"))
                .collect();
            run::write(&text, lines)?;
            output(
                tool("mkimage")
                    .args(["-A", "arm64", "-T", "script", "-C", "none", "-n", "cairn", "-d"])
                    .arg(&text)
                    .arg(boot.join("boot.scr")),
            )?;
        }
        Flow::Tryboot => {
            // One sector exactly: changing slots overwrites it in place, so that no cut leaves half of it.
            run::write(&boot.join("autoboot.txt"), autoboot(SlotId::A))?;
        }
    }
    Ok(())
}

/// The Raspberry Pi firmware's choice of slot, padded to one sector.
#[must_use]
pub fn autoboot(default: SlotId) -> String {
    let number = |slot| match slot {
        SlotId::A => 2,
        SlotId::B => 3,
    };
    let text = format!(
        "[all]\ntryboot_a_b=1\nboot_partition={}\n[tryboot]\nboot_partition={}\n",
        number(default),
        number(default.other())
    );
    format!("{text}{}\n", "#".repeat(511 - text.len()))
}

fn put(card: &mut File, at: u64, bytes: &[u8]) -> Result<()> {
    card.seek(SeekFrom::Start(at))?;
    card.write_all(bytes)?;
    Ok(())
}

/// Copies a file into the card, leaving holes where it holds zeros.
fn copy_sparse(from: &Path, card: &mut File, at: u64) -> Result<()> {
    let mut file = File::open(from).with_context(|| format!("{} cannot be read", from.display()))?;
    let mut buffer = vec![0; 1 << 16];
    let mut position = at;
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        if bytes.iter().any(|byte| *byte != 0) {
            put(card, position, bytes)?;
        }
        position += read as u64;
    }
}
