//! Reads a finished card back, by other programs than those that wrote it: what the firmware, the bootloader and the initramfs of its
//! board will look for must be there and be whole. For boards that cannot be started where a card is built this is the proof there is.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use cairn_slots::{
    SlotId,
    boot_control::{BootState, Copies},
};
use serde_json::Value;

use crate::{
    SECTOR,
    board::{Board, Flow},
    disk::NEW_DATA,
    firmware,
    layout::{Layout, Partition},
    run::{self, output, tool},
    slot,
    verity::veritysetup,
};

/// Longest command line that an arm64 kernel takes, bytes; U-Boot and the firmware add their share.
const MAX_COMMAND_LINE: usize = 1500;

/// A card under examination.
struct Card<'a> {
    image: &'a Path,
    board: &'a Board,
    layout: &'a Layout,
    /// Where partitions are unpacked.
    work: &'a Path,
}

/// Examines a card. Gives what was found, for people.
///
/// # Errors
/// The first thing that would keep the board from starting.
pub fn card(image: &Path, layout: &Layout, board: &Board, work: &Path) -> Result<Vec<String>> {
    let card = Card { image, board, layout, work };
    card.table().context("the partition table")?;
    card.fresh().context("the state of a new card")?;
    let boot = card.unpack("boot")?;
    let slot = card.unpack("boot-a")?;
    let mut found = card.slot(&slot).context("slot A")?;
    match board.boot.flow {
        Flow::Script => {
            card.script(&boot).context("the boot script")?;
            if !board.boot.config.is_empty() {
                found.extend(card.firmware(&boot).context("the boot partition")?);
            }
        }
        Flow::Tryboot => {
            let (settled, trial) = firmware::autoboot(&run::read_text(&boot.join("autoboot.txt"))?)?;
            for (number, name) in [(settled, "boot-a"), (trial, "boot-b")] {
                let partition = layout.partition(name)?;
                ensure!(partition.number == number && partition.fat, "autoboot.txt: {number} is not {name}");
            }
            found.extend(card.firmware(&slot).context("slot A, for the firmware")?);
        }
    }
    for file in &board.boot.files {
        let folder = if board.boot.flow == Flow::Script { &boot } else { &slot };
        ensure!(
            folder.join(&file.name).metadata().is_ok_and(|meta| meta.len() > 0),
            "{} is missing",
            file.name
        );
    }
    Ok(found)
}

impl Card<'_> {
    /// The table as `sfdisk` reads it is the layout.
    fn table(&self) -> Result<()> {
        let told = output(tool("sfdisk").arg("--json").arg(self.image))?;
        let table: Value = serde_json::from_str(&told)?;
        let rows = table.pointer("/partitiontable/partitions").and_then(Value::as_array).context("none")?;
        for partition in self.layout.partitions() {
            let node = format!("{}{}", self.image.display(), partition.number);
            let row = rows.iter().find(|row| row.get("node").and_then(Value::as_str) == Some(&node));
            let row = row.with_context(|| format!("{} is not in it", partition.name))?;
            let bytes = |key: &str| row.get(key).and_then(Value::as_u64).map(|sectors| sectors * SECTOR);
            ensure!(
                (bytes("start"), bytes("size")) == (Some(partition.start), Some(partition.size)),
                "{} lies elsewhere: {row}",
                partition.name
            );
        }
        Ok(())
    }

    /// Slot A is chosen, nothing is in slot B, and the data partition carries the mark that lets it be formatted.
    fn fresh(&self) -> Result<()> {
        let [first, second] = self.layout.boot_control_sectors();
        let sector = |at: u64| -> Result<[u8; 512]> {
            let bytes = self.bytes(at * SECTOR, 512)?;
            bytes.try_into().map_err(|_| anyhow::anyhow!("no sector"))
        };
        let state = Copies::of(&sector(first)?, &sector(second)?).in_force();
        ensure!(
            state == BootState { generation: 1, default: SlotId::A, trial: None },
            "boot state: {state:?}"
        );
        for name in ["boot-b", "root-b"] {
            let partition = self.layout.partition(name)?;
            ensure!(
                self.bytes(partition.start, 1 << 20)?.iter().all(|byte| *byte == 0),
                "{name} is not empty"
            );
        }
        let data = self.layout.partition("data")?;
        ensure!(self.bytes(data.start, NEW_DATA.len())? == NEW_DATA, "the data partition bears no mark");
        Ok(())
    }

    fn bytes(&self, at: u64, length: usize) -> Result<Vec<u8>> {
        let mut file = fs::File::open(self.image)?;
        file.seek(SeekFrom::Start(at))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Copies the first `length` bytes of a partition into a file of its own.
    fn cut_out(&self, partition: &Partition, length: u64) -> Result<PathBuf> {
        let to = self.work.join(format!("check-{}.img", partition.name));
        let mut from = fs::File::open(self.image)?;
        from.seek(SeekFrom::Start(partition.start))?;
        std::io::copy(&mut from.take(length), &mut fs::File::create(&to)?)?;
        Ok(to)
    }

    /// A FAT partition's files, after its file system was checked.
    fn unpack(&self, name: &str) -> Result<PathBuf> {
        let partition = self.layout.partition(name)?;
        let image = self.cut_out(&partition, partition.size)?;
        output(tool("fsck.fat").arg("-n").arg(&image)).with_context(|| format!("{name} is damaged"))?;
        let folder = self.work.join(format!("check-{name}"));
        fs::create_dir_all(&folder)?;
        output(tool("mcopy").args(["-s", "-n", "-i"]).arg(&image).arg("::/").arg(&folder))?;
        fs::remove_file(image)?;
        Ok(folder)
    }

    /// Kernel, initramfs and the root that the command line names.
    fn slot(&self, slot: &Path) -> Result<Vec<String>> {
        let packed = tool("gzip").args(["--decompress", "--stdout"]).arg(slot.join("vmlinuz")).output()?;
        ensure!(packed.status.success(), "vmlinuz is no gzip file");
        // Documentation/arch/arm64/booting.rst: the magic number at 56.
        ensure!(packed.stdout.get(56..60) == Some(b"ARM\x64"), "vmlinuz is no arm64 kernel");
        let initramfs = fs::read(slot.join("initramfs")).context("initramfs")?;
        ensure!(
            initramfs.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
            "the initramfs is not compressed with zstd"
        );
        let line = run::read_text(&slot.join("cmdline.txt"))?;
        ensure!(
            line.lines().count() == 1 && line.len() <= MAX_COMMAND_LINE,
            "cmdline.txt is no line: {line}"
        );
        if self.board.boot.flow == Flow::Tryboot {
            ensure!(line.contains(&slot::consoles(self.board)), "cmdline.txt names another console");
        }
        let verity = line.split_whitespace().find_map(|word| word.strip_prefix("cairn.verity="));
        let mut parts = verity.context("cmdline.txt names no root hash")?.split(':');
        let (Some(hash), Some(salt), Some(blocks), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!("cmdline.txt: {line}");
        };
        let root = self.layout.partition("root-a")?;
        let image = self.cut_out(&root, root.size)?;
        let blocks: u64 = blocks.parse()?;
        output(veritysetup("verify", salt, blocks).arg(&image).arg(&image).arg(hash))
            .context("the root is not the one that cmdline.txt names")?;
        output(tool("fsck.erofs").arg(&image)).context("the root's file system is damaged")?;
        fs::remove_file(image)?;
        Ok(vec![format!(
            "slot A: kernel, initramfs, root hash verified over {} bytes, file system whole",
            blocks * crate::verity::BLOCK
        )])
    }

    /// U-Boot's script is one, has nothing left to fill in, and starts partitions that there are.
    fn script(&self, boot: &Path) -> Result<()> {
        let script = fs::read(boot.join("boot.scr")).context("boot.scr")?;
        ensure!(script.starts_with(&[0x27, 0x05, 0x19, 0x56]), "boot.scr is no image of U-Boot");
        let text = String::from_utf8_lossy(script.get(64..).unwrap_or_default()).into_owned();
        ensure!(!text.contains('@'), "boot.scr has something left to fill in");
        ensure!(text.contains(&slot::consoles(self.board)), "boot.scr names another console");
        for (name, part) in [("boot-a", "setenv part 2"), ("boot-b", "setenv part 3")] {
            let partition = self.layout.partition(name)?;
            ensure!(text.contains(part) && part.ends_with(&partition.number.to_string()), "{name}: {part}");
        }
        Ok(())
    }

    /// Everything that `config.txt` and the firmware itself look for lies in `folder`.
    fn firmware(&self, folder: &Path) -> Result<Vec<String>> {
        let config = run::read_text(&folder.join("config.txt"))?;
        let mut found = Vec::new();
        for loads in firmware::parse(&config).context("config.txt")? {
            let tree = loads.device_tree.clone().unwrap_or_default();
            let kernel = loads.kernel.clone().unwrap_or_default();
            let by_itself = firmware::by_itself(&tree)?.iter().copied();
            for name in by_itself.chain([kernel.as_str()]).chain(loads.initramfs.as_deref()) {
                let there = folder.join(name).metadata().is_ok_and(|meta| meta.len() > 0);
                ensure!(there, "the firmware of {} looks for {name}", loads.model);
            }
            let blob = fs::read(folder.join(&tree)).with_context(|| tree.clone())?;
            // Devicetree Specification, section 5.2.
            ensure!(blob.starts_with(&[0xd0, 0x0d, 0xfe, 0xed]), "{tree} is no device tree");
            let ours = self.board.compatible.iter().any(|model| {
                let name = [model.as_bytes(), b"\0"].concat();
                blob.windows(name.len()).any(|window| window == name)
            });
            ensure!(ours, "{tree} is for none of the models that board.toml names");
            found.push(format!("{}: {kernel} and {tree} are there", loads.model));
        }
        Ok(found)
    }
}
