//! The card that holds the data: what it is, how worn, and whether it has failed.
//!
//! eMMC tells its wear in its extended CSD (JEDEC JESD84-B51: `DEVICE_LIFE_TIME_EST_TYP_A/B`, `PRE_EOL_INFO`), which
//! Linux shows as `life_time` and `pre_eol_info`. SD cards tell nothing of the kind; what the file system has written
//! and the errors that it met are known for any card.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What is known of the card. What it does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// `SD` or `MMC`, for a card on an MMC slot.
    pub kind: Option<String>,
    /// The maker's name for it.
    pub name: Option<String>,
    /// Share of its life that is used, percent, in steps of ten, as the card estimates; above 100 is borrowed time.
    pub worn_percent: Option<u8>,
    /// How near the end its spare blocks are.
    pub spare: Option<Spare>,
    /// Bytes that the file system has written in its life.
    pub written: Option<u64>,
    /// Errors that the file system has met, since it was last repaired.
    pub errors: Option<u64>,
}

/// `PRE_EOL_INFO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spare {
    /// Enough.
    Normal,
    /// Most of them are used.
    Warning,
    /// Nearly all of them are used: replace it now.
    Urgent,
}

impl Card {
    /// The card of the block device `device` (major, minor), below `root`.
    #[must_use]
    pub fn read(root: &Path, device: (u64, u64)) -> Self {
        let Some((partition, disk)) = find(root, device) else { return Self::default() };
        let word = |file: &str| {
            let text = crate::text(&disk.join("device").join(file))?;
            Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text.len() <= 64)
        };
        let ext4 = root.join("sys/fs/ext4").join(&partition);
        let number = |file: &str| crate::text(&ext4.join(file))?.trim().parse::<u64>().ok();
        Self {
            kind: word("type"),
            name: word("name"),
            worn_percent: word("life_time").as_deref().and_then(worn),
            spare: word("pre_eol_info").as_deref().and_then(spare),
            written: number("lifetime_write_kbytes").and_then(|kib| kib.checked_mul(1024)),
            errors: number("errors_count"),
        }
    }
}

/// The device's name and the folder of the disk that it lies on.
fn find(root: &Path, (major, minor): (u64, u64)) -> Option<(String, PathBuf)> {
    let link = root.join("sys/dev/block").join(format!("{major}:{minor}"));
    let folder = fs::canonicalize(link).ok()?;
    let name = folder.file_name()?.to_str()?.to_owned();
    // A partition lies in the folder of its disk.
    let disk = if folder.join("partition").exists() { folder.parent()?.to_owned() } else { folder };
    Some((name, disk))
}

/// `0x03 0x01`: two kinds of memory, each in steps of ten percent; the worse one counts. 0 says nothing.
fn worn(life_time: &str) -> Option<u8> {
    let steps = life_time.split_ascii_whitespace().filter_map(hexadecimal);
    steps.filter(|step| (1..=11).contains(step)).max().map(|step| step * 10)
}

fn spare(pre_eol_info: &str) -> Option<Spare> {
    match hexadecimal(pre_eol_info)? {
        1 => Some(Spare::Normal),
        2 => Some(Spare::Warning),
        3 => Some(Spare::Urgent),
        _ => None,
    }
}

fn hexadecimal(text: &str) -> Option<u8> {
    u8::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The kernel's files of a card with one data partition, 179:4.
    pub(crate) fn card(root: &Path, files: &[(&str, &str)]) {
        let disk = root.join("sys/devices/platform/soc/mmc0/block/mmcblk0");
        for folder in [
            disk.join("device"),
            disk.join("mmcblk0p4"),
            root.join("sys/fs/ext4/mmcblk0p4"),
            root.join("sys/dev/block"),
        ] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(disk.join("mmcblk0p4/partition"), "4\n").unwrap();
        std::os::unix::fs::symlink(
            "../../devices/platform/soc/mmc0/block/mmcblk0/mmcblk0p4",
            root.join("sys/dev/block/179:4"),
        )
        .unwrap();
        for (file, text) in files {
            let folder = match *file {
                "errors_count" | "lifetime_write_kbytes" => root.join("sys/fs/ext4/mmcblk0p4"),
                _ => disk.join("device"),
            };
            fs::write(folder.join(file), text).unwrap();
        }
    }

    #[test]
    fn an_emmc_tells_its_wear_and_the_worse_half_counts() {
        let root = tempfile::tempdir().unwrap();
        card(
            root.path(),
            &[
                ("type", "MMC\n"),
                ("name", "DG4016\n"),
                ("life_time", "0x02 0x0b\n"),
                ("pre_eol_info", "0x02\n"),
                ("lifetime_write_kbytes", "2048\n"),
                ("errors_count", "0\n"),
            ],
        );
        let read = Card::read(root.path(), (179, 4));
        assert_eq!(read.worn_percent, Some(110));
        assert_eq!(read.spare, Some(Spare::Warning));
        assert_eq!((read.written, read.errors), (Some(2 << 20), Some(0)));
        assert_eq!(read.kind.as_deref(), Some("MMC"));
    }

    #[test]
    fn an_sd_card_tells_its_name_and_nothing_is_made_up() {
        let root = tempfile::tempdir().unwrap();
        card(root.path(), &[("type", "SD\n"), ("name", "SC32G\n")]);
        let read = Card::read(root.path(), (179, 4));
        assert_eq!((read.kind.as_deref(), read.name.as_deref()), (Some("SD"), Some("SC32G")));
        assert_eq!((read.worn_percent, read.spare, read.errors), (None, None, None));
        assert_eq!(Card::read(root.path(), (8, 1)), Card::default(), "another disk");
    }

    #[test]
    fn values_that_mean_nothing_are_not_known() {
        assert_eq!(worn("0x00 0x00"), None);
        assert_eq!(worn("0x0a 0xff"), Some(100));
        assert_eq!(worn("nonsense"), None);
        assert_eq!(spare("0x00"), None);
        assert_eq!(spare("0x03"), Some(Spare::Urgent));
    }
}
