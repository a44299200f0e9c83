//! The partition table: a master boot record, with the logical partitions in a chain of extended boot records, one
//! mebibyte before each partition.
//!
//! Shape of a record: 64 bytes of four entries at 446, signature `55 aa` at 510; an entry holds state, type, first sector and
//! number of sectors (little-endian), and two legacy addresses that nothing has used since disks outgrew them.

use crate::{MIB, SECTOR, layout::Partition};

/// Where the disk's signature stands in the first sector, and what ours is (`CARN`): the initramfs knows a hub's card by it.
pub const SIGNATURE_AT: usize = 440;
/// See [`SIGNATURE_AT`].
pub const SIGNATURE: u32 = u32::from_le_bytes(*b"CARN");

const FAT32: u8 = 0x0c;
const LINUX: u8 = 0x83;
const EXTENDED: u8 = 0x0f;

/// Sectors to write: the byte position of each and its content.
#[must_use]
pub fn records(partitions: &[Partition]) -> Vec<(u64, [u8; 512])> {
    let mut master = [0; 512];
    set(&mut master, SIGNATURE_AT, &SIGNATURE.to_le_bytes());
    let mut row = 0;
    for partition in partitions.iter().filter(|partition| partition.number <= 3) {
        entry(&mut master, row, kind(partition), partition.start, partition.size, row == 0);
        row += 1;
    }
    let logical: Vec<&Partition> = partitions.iter().filter(|partition| partition.number >= 5).collect();
    let mut sectors = Vec::new();
    if let (Some(first), Some(last)) = (logical.first(), logical.last()) {
        let extended = first.start - MIB;
        entry(&mut master, row, EXTENDED, extended, last.start + last.size - extended, false);
        for (at, partition) in logical.iter().enumerate() {
            let mut record = [0; 512];
            let here = partition.start - MIB;
            // Its own partition counts from this record, the next record from the extended partition.
            entry(&mut record, 0, kind(partition), partition.start - here, partition.size, false);
            if let Some(next) = logical.get(at + 1) {
                entry(&mut record, 1, EXTENDED, next.start - MIB - extended, next.size + MIB, false);
            }
            sign(&mut record);
            sectors.push((here, record));
        }
    }
    sign(&mut master);
    sectors.insert(0, (0, master));
    sectors
}

const fn kind(partition: &Partition) -> u8 {
    if partition.fat { FAT32 } else { LINUX }
}

fn sign(record: &mut [u8; 512]) {
    set(record, 510, &[0x55, 0xaa]);
}

fn entry(record: &mut [u8; 512], row: usize, kind: u8, start: u64, size: u64, bootable: bool) {
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX).to_le_bytes();
    let at = 446 + 16 * row;
    // The legacy addresses say "beyond what can be said here".
    set(record, at, &[if bootable { 0x80 } else { 0 }, 0xfe, 0xff, 0xff, kind, 0xfe, 0xff, 0xff]);
    set(record, at + 8, &sectors(start));
    set(record, at + 12, &sectors(size));
}

fn set(record: &mut [u8; 512], at: usize, bytes: &[u8]) {
    for (to, from) in record.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}
