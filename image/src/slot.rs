//! One system as it lies in a slot: the boot file system and the verified root. The same two files are what a card is made from
//! and what an update carries; neither knows which slot it will lie in.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

use crate::{
    board::{Board, Flow},
    fat, initramfs,
    layout::Layout,
    modules::Modules,
    packages::{self, Fetched},
    root::{self, Parts},
    run,
    verity::{self, Verity},
};

/// What every slot's kernel is told, besides the root hash and what the bootloader adds. A panic restarts after five seconds; what
/// systemd cannot go on from does too.
const COMMAND_LINE: &str = "ro panic=5 oops=panic softlockup_panic=1 hung_task_panic=0 rd.systemd.show_status=no systemd.crash_reboot=yes loglevel=6 fsck.mode=skip systemd.gpt_auto=no net.ifnames=0";

/// A system's two files.
#[derive(Debug)]
pub struct System {
    /// FAT: kernel, initramfs, device trees, command line.
    pub boot: PathBuf,
    /// EROFS with the tree of hashes behind it.
    pub root: PathBuf,
    /// What is said about it.
    pub facts: Facts,
}

/// What the manifest of an image says about its system.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// The hub's version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// dm-verity's root hash.
    pub root_hash: String,
    /// Bytes of the root with its tree.
    pub root_bytes: u64,
    /// Bytes of files in the boot file system.
    pub boot_bytes: u64,
    /// Bytes of the hub's binary.
    pub binary_bytes: u64,
}

/// Builds the system of one kernel for all boards that use it.
///
/// # Errors
/// When a part is missing or does not fit.
pub fn build(
    work: &Path,
    layout: &Layout,
    kernel: &Fetched,
    root_packages: &Fetched,
    boot_packages: &Fetched,
    boards: &[Board],
    parts: &Parts<'_>,
) -> Result<System> {
    let unpacked = work.join("kernel");
    // Kernels up to bookworm's bring /lib, which has been /usr/lib everywhere since.
    fs::create_dir_all(unpacked.join("usr/lib"))?;
    symlink("usr/lib", unpacked.join("lib"))?;
    for package in kernel.values() {
        packages::unpack(package, &unpacked)?;
    }
    let modules = Modules::of(&unpacked)?;
    let root = work.join("root");
    let early = run::read_text(&parts.image.join("initramfs/modules.list"))?;
    let all = format!("{early}\n{}", run::read_text(&parts.image.join("rootfs-modules.list"))?);
    root::assemble(&root, root_packages, &modules, &all, parts)?;

    let root_image = work.join("root.img");
    let Verity { root_hash, salt, blocks } =
        verity::make(&root_image, &root, layout.partition("root-a")?.size, parts.version)?;
    let verity = Verity { root_hash, salt, blocks };

    let boot = work.join("boot");
    fs::create_dir_all(&boot)?;
    let init = fs::read(parts.image.join("initramfs/init"))?;
    run::write(&boot.join("initramfs"), initramfs::make(&root, &modules, &early, &init)?)?;
    // Newer kernels of Debian's keep everything beside their modules.
    let beside = unpacked.join("usr/lib/modules").join(&modules.release);
    let kernel = unpacked.join(format!("boot/vmlinuz-{}", modules.release));
    let kernel = if kernel.exists() { kernel } else { beside.join("vmlinuz") };
    wrap_kernel(&kernel, &boot.join("vmlinuz"))?;
    let trees = unpacked.join("usr/lib").join(format!("linux-image-{}", modules.release));
    let trees = if trees.exists() { trees } else { beside.join("dtb") };
    let mut console = String::new();
    for board in boards {
        for tree in &board.boot.device_trees {
            let name = tree.rsplit('/').next().unwrap_or(tree);
            fs::copy(trees.join(tree), boot.join(name))
                .with_context(|| format!("{}: {tree} is not in the kernel's package", board.id))?;
        }
        // The firmware that starts a slot by itself finds everything in the slot, its own settings included.
        if board.boot.flow == Flow::Tryboot {
            console = format!("{} ", consoles(board));
            run::write(&boot.join("config.txt"), board.boot.config.join("\n") + "\n")?;
            boot_files(board, boot_packages, &work.join("boot-packages"), &boot)?;
        }
    }
    run::write(&boot.join("cmdline.txt"), format!("{console}{COMMAND_LINE} {}\n", verity.parameter()))?;
    let boot_image = work.join("boot.img");
    let size = layout.partition("boot-a")?.size;
    fat::make(&boot_image, size, "CAIRN-SLOT", fat::serial(&verity.root_hash), &boot)?;
    let mut boot_bytes = 0;
    for entry in fs::read_dir(&boot)? {
        boot_bytes += entry?.metadata()?.len();
    }
    let facts = Facts {
        version: parts.version.to_owned(),
        kernel: modules.release.clone(),
        root_hash: verity.root_hash,
        root_bytes: fs::metadata(&root_image)?.len(),
        boot_bytes,
        binary_bytes: fs::metadata(parts.binary)?.len(),
    };
    Ok(System { boot: boot_image, root: root_image, facts })
}

/// The consoles of a board as the kernel is told: the screen, and last (where systemd writes) the serial port.
#[must_use]
pub fn consoles(board: &Board) -> String {
    let screen = if board.boot.device_trees.is_empty() { "" } else { "console=tty0 " };
    format!("{screen}console={},115200n8", board.boot.console)
}

/// Copies what firmware and bootloader look for.
///
/// # Errors
/// When a package has no such file.
pub fn boot_files(board: &Board, packages: &Fetched, unpacked: &Path, to: &Path) -> Result<()> {
    for file in &board.boot.files {
        let folder = unpacked.join(&file.package);
        if !folder.exists() {
            let package = packages.get(&file.package);
            packages::unpack(
                package.with_context(|| format!("{} is not in packages.toml", file.package))?,
                &folder,
            )?;
        }
        let target = to.join(&file.name);
        fs::create_dir_all(target.parent().unwrap_or(to))?;
        fs::copy(folder.join(&file.path), target)
            .with_context(|| format!("{}: {} is not in {}", board.id, file.path, file.package))?;
    }
    Ok(())
}

/// Puts the kernel into a gzip file without deflating it. U-Boot and the Pi's firmware check its sum, so that of a kernel that the card
/// has lost a bit of the other slot is started. Deflated, two kernels of a release have nothing in common, and every update of one is
/// fetched whole: 13.1 MiB, where the difference of 6.12.107 to 6.12.118 is 4.2 (zstd, the older one as dictionary).
fn wrap_kernel(kernel: &Path, to: &Path) -> Result<()> {
    let bytes =
        fs::read(kernel).with_context(|| format!("{} is not in the kernel's package", kernel.display()))?;
    let file = fs::File::create(to).with_context(|| format!("{} cannot be written", to.display()))?;
    let mut stored = GzEncoder::new(file, Compression::none());
    stored.write_all(&bytes)?;
    stored.finish()?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::tool;

    #[test]
    fn a_kernel_is_stored_as_it_is_and_a_lost_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let kernel: Vec<u8> = (0..300_000_u32).flat_map(|word| word.to_le_bytes()).collect();
        let (from, to) = (folder.path().join("Image"), folder.path().join("vmlinuz"));
        fs::write(&from, &kernel).unwrap();
        wrap_kernel(&from, &to).unwrap();
        let mut wrapped = fs::read(&to).unwrap();
        let unpacked = |file: &[u8]| {
            fs::write(&to, file).unwrap();
            tool("gzip")
                .args(["--decompress", "--stdout"])
                .stdin(fs::File::open(&to).unwrap())
                .output()
                .unwrap()
        };
        let whole = unpacked(&wrapped);
        assert!(whole.status.success() && whole.stdout == kernel);
        // Between the headers of its blocks, of at most 64 KiB, the kernel stands as it is.
        let middle = kernel.get(100_000..101_000).unwrap();
        assert!(wrapped.windows(middle.len()).any(|part| part == middle));
        assert!(wrapped.len() < kernel.len() + kernel.len() / 1000);
        wrapped[700_000] ^= 1;
        assert!(!unpacked(&wrapped).status.success());
    }
}
