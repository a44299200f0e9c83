//! From a root file system, a kernel and boot files to a flashable card image.
//!
//! The steps, each a module: packages are fetched and unpacked ([`packages`]), a root is assembled from them, the
//! overlay and the hub's binary ([`root`]), it becomes EROFS with a tree of hashes behind it ([`verity`]), the kernel and an initramfs
//! that opens it become the slot's boot files ([`slot`]), and everything is laid out on a card ([`disk`]) as
//! `image/layout.toml` and `hardware/<board>/board.toml` say. What was laid out is read back by others than those that wrote it ([`check`]). Nothing here needs root rights, loop devices or mounts; the same inputs
//! give the same bytes. Depends on [`cairn_slots`] for the layout of the boot state; the device depends on nothing here.

#![forbid(unsafe_code)]

pub mod bmap;
pub mod board;
pub mod check;
pub mod disk;
pub mod elf;
pub mod fat;
pub mod firmware;
pub mod initramfs;
pub mod layout;
pub mod mbr;
pub mod modules;
pub mod packages;
pub mod root;
pub mod run;
pub mod slot;
pub mod trust;
pub mod verity;

/// Bytes of one mebibyte.
pub const MIB: u64 = 1 << 20;
/// Bytes of a sector of the card.
pub const SECTOR: u64 = 512;
