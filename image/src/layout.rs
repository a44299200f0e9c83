//! `image/layout.toml`: where everything lies on a card.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::{MIB, SECTOR};

/// The declared layout.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layout {
    first_mib: u64,
    boot_control: BootControl,
    #[serde(rename = "partition")]
    partitions: Vec<Declared>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct BootControl {
    copies: [u64; 2],
    sectors: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    name: String,
    number: u8,
    filesystem: Option<String>,
    mib: u64,
}

/// A partition with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// As in the layout.
    pub name: String,
    /// The number that Linux and U-Boot give it: 1 to 3 primary, from 5 logical.
    pub number: u8,
    /// Whether firmware and U-Boot read it as FAT.
    pub fat: bool,
    /// First byte on the card.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

impl Layout {
    /// Reads a layout.
    ///
    /// # Errors
    /// When it is not TOML of that shape, or parts overlap.
    pub fn parse(text: &str) -> Result<Self> {
        let layout: Self = toml::from_str(text).context("image/layout.toml")?;
        let [first, second] = layout.boot_control.copies;
        let length = layout.boot_control.sectors;
        ensure!(
            first >= 1 && first + length <= second && (second + length) * SECTOR <= layout.first_mib * MIB,
            "the boot state overlaps with the partition table, itself or a partition"
        );
        let mut last = 0;
        for partition in &layout.partitions {
            ensure!(partition.number > last && partition.mib > 0, "{}: number or size", partition.name);
            ensure!(partition.number != 4, "{}: 4 is the extended partition", partition.name);
            last = partition.number;
        }
        Ok(layout)
    }

    /// First sectors of the two copies of the boot state.
    #[must_use]
    pub const fn boot_control_sectors(&self) -> [u64; 2] {
        self.boot_control.copies
    }

    /// The partitions in order. Before each logical one lies a mebibyte with the sector that describes it.
    #[must_use]
    pub fn partitions(&self) -> Vec<Partition> {
        let mut next = self.first_mib;
        let place = |declared: &Declared| {
            let start = if declared.number >= 5 { next + 1 } else { next };
            next = start + declared.mib;
            Partition {
                name: declared.name.clone(),
                number: declared.number,
                fat: declared.filesystem.as_deref() == Some("vfat"),
                start: start * MIB,
                size: declared.mib * MIB,
            }
        };
        self.partitions.iter().map(place).collect()
    }

    /// One partition by name.
    ///
    /// # Errors
    /// When the layout has none of that name.
    pub fn partition(&self, name: &str) -> Result<Partition> {
        match self.partitions().into_iter().find(|partition| partition.name == name) {
            Some(partition) => Ok(partition),
            None => bail!("image/layout.toml has no partition {name}"),
        }
    }

    /// Bytes of the whole image before it is grown to a card.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.partitions().last().map_or(0, |last| last.start + last.size)
    }
}
