//! What the kernel tells about the machine: memory, disk, temperature, supply, card.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use nix::sys::stat::{major, minor};
use serde::{Deserialize, Serialize};

use crate::{card::Card, text};

/// Thermal zones that are looked at.
const MAX_ZONES: usize = 16;

/// The state of the machine. What cannot be told is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// What the machine is, for example `Raspberry Pi 4 Model B Rev 1.4`.
    pub model: Option<String>,
    /// Memory, bytes.
    pub memory_total: Option<u64>,
    /// Memory that can still be used, bytes.
    pub memory_available: Option<u64>,
    /// Size of the file system that holds the data, bytes.
    pub disk_total: Option<u64>,
    /// Free for the hub, bytes.
    pub disk_free: Option<u64>,
    /// The hottest sensor, degrees Celsius.
    pub temperature_c: Option<f32>,
    /// Whether the firmware reports that the supply voltage is or was too low.
    pub under_voltage: Option<bool>,
    /// The card that holds the data.
    #[serde(default)]
    pub card: Card,
}

impl Board {
    /// Reads the present state; `data` is a folder on the file system that matters.
    #[must_use]
    pub fn read(data: &Path) -> Self {
        Self::read_below(Path::new("/"), data)
    }

    /// As [`Board::read`], with the kernel's file systems `proc` and `sys` below `root`.
    #[must_use]
    pub fn read_below(root: &Path, data: &Path) -> Self {
        let meminfo = text(&root.join("proc/meminfo")).unwrap_or_default();
        let disk = nix::sys::statvfs::statvfs(data).ok();
        let device = fs::metadata(data).map(|meta| (major(meta.dev()), minor(meta.dev())));
        Self {
            model: text(&root.join("proc/device-tree/model"))
                .map(|model| model.trim_end_matches(['\0', '\n']).to_owned()),
            memory_total: meminfo_field(&meminfo, "MemTotal"),
            memory_available: meminfo_field(&meminfo, "MemAvailable"),
            disk_total: disk.as_ref().map(|disk| disk.blocks() * disk.fragment_size()),
            disk_free: disk.as_ref().map(|disk| disk.blocks_available() * disk.fragment_size()),
            temperature_c: temperature(&root.join("sys/class/thermal")),
            under_voltage: under_voltage(&root.join("sys/class/hwmon")),
            card: device.map(|device| Card::read(root, device)).unwrap_or_default(),
        }
    }
}

/// Memory that process `pid` holds, bytes: its resident pages.
#[must_use]
pub fn memory_of(pid: u32) -> Option<u64> {
    let statm = text(Path::new(&format!("/proc/{pid}/statm")))?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok()??;
    Some(pages * u64::try_from(page).ok()?)
}

/// A line such as `MemTotal:  16315264 kB`, in bytes.
fn meminfo_field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn temperature(zones: &Path) -> Option<f32> {
    let hottest = fs::read_dir(zones)
        .ok()?
        .flatten()
        .take(MAX_ZONES)
        .filter_map(|zone| text(&zone.path().join("temp"))?.trim().parse::<i32>().ok())
        // Millidegrees; sensors that are absent report absurd values.
        .filter(|millidegrees| (-40_000..=150_000).contains(millidegrees))
        .max()?;
    Some(hottest as f32 / 1000.0)
}

/// The Raspberry Pi's `rpi_volt` sensor.
fn under_voltage(sensors: &Path) -> Option<bool> {
    let sensor = fs::read_dir(sensors)
        .ok()?
        .flatten()
        .map(|sensor| sensor.path())
        .find(|sensor| text(&sensor.join("name")).is_some_and(|name| name.trim() == "rpi_volt"))?;
    Some(text(&sensor.join("in0_lcrit_alarm"))?.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let meminfo = "MemTotal:       16315264 kB\nMemFree:         1 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(meminfo_field(meminfo, "MemTotal"), Some(16_315_264 * 1024));
        assert_eq!(meminfo_field(meminfo, "MemAvailable"), Some(2 << 20));
        assert_eq!(meminfo_field(meminfo, "Mem"), None);
    }

    #[test]
    fn the_hottest_sensible_zone_counts() {
        let folder = tempfile::tempdir().unwrap();
        for (zone, value) in [("a", "42123\n"), ("b", "61500\n"), ("c", "-274000\n"), ("d", "nonsense")] {
            fs::create_dir(folder.path().join(zone)).unwrap();
            fs::write(folder.path().join(zone).join("temp"), value).unwrap();
        }
        assert_eq!(temperature(folder.path()), Some(61.5));
        assert_eq!(temperature(&folder.path().join("none")), None);
    }

    #[test]
    fn the_pis_voltage_alarm_is_found_among_other_sensors() {
        let folder = tempfile::tempdir().unwrap();
        for (sensor, name) in [("hwmon0", "cpu_thermal\n"), ("hwmon1", "rpi_volt\n")] {
            fs::create_dir(folder.path().join(sensor)).unwrap();
            fs::write(folder.path().join(sensor).join("name"), name).unwrap();
        }
        assert_eq!(under_voltage(folder.path()), None);
        fs::write(folder.path().join("hwmon1/in0_lcrit_alarm"), "1\n").unwrap();
        assert_eq!(under_voltage(folder.path()), Some(true));
    }

    #[test]
    fn this_machine_tells_its_memory_and_disk() {
        let board = Board::read(Path::new("/"));
        assert!(board.memory_total > board.memory_available && board.disk_total > board.disk_free);
        assert!(memory_of(std::process::id()).unwrap() > 1 << 16);
    }
}
