//! What a board is: `hardware/<board>/board.toml`, carried by the image as a fact file.
//!
//! The image builder and its tests read the same file strictly; a hub takes what it knows and passes over the rest, so
//! that an image may say more than its hub asks.

use std::path::Path;

use serde::Deserialize;

/// Where the image carries a folder for each board, below the root.
pub const FACTS: &str = "usr/share/cairn/hardware";
/// Most boards that are looked at.
const MAX_BOARDS: usize = 64;

/// The facts that a hub uses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Facts {
    /// The board, for people.
    pub name: String,
    /// What its device tree says that it is compatible with; one in common makes it this board.
    #[serde(default)]
    pub compatible: Vec<String>,
    /// How it boots.
    #[serde(default)]
    pub boot: Boot,
    /// What is on it.
    #[serde(default)]
    pub devices: Devices,
    /// What is suggested to run on it.
    #[serde(default)]
    pub model: Model,
}

/// How it boots.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Boot {
    /// Who chooses the slot: `script`, our boot script, or `tryboot`, the firmware.
    pub flow: Option<String>,
    /// The kernel's name of the serial port, for example `ttyS1`.
    pub console: Option<String>,
}

/// What is on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Devices {
    /// The status LED's name under `/sys/class/leds`.
    pub led: Option<String>,
    /// Whether it has Wi-Fi.
    pub wifi: bool,
    /// Whether it has a clock that runs without power.
    pub rtc: bool,
}

/// What is suggested to run on it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Model {
    /// Largest generating model that is suggested without asking, MiB.
    pub max_file_mib: u32,
}

/// Why there are no facts.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The kernel tells of no device tree.
    #[error("this machine does not say what it is")]
    Unknown,
    /// The image carries none, or none for this board.
    #[error("the image describes no board that is compatible with {0}")]
    NotDescribed(String),
    /// Not what a fact file says.
    #[error("{file}: {error}")]
    Malformed {
        /// The file.
        file: String,
        /// What the parser says.
        error: Box<toml::de::Error>,
    },
}

impl Facts {
    /// The facts of this board among those that the image mounted at `root` carries.
    ///
    /// # Errors
    /// When the image carries none for this board, or what it carries cannot be understood.
    pub fn read(root: &Path) -> Result<Self, FactsError> {
        Self::find(root).map(|(_, facts)| facts)
    }

    /// As [`Facts::read`], with the board's name: that of its folder.
    ///
    /// # Errors
    /// As there.
    pub fn find(root: &Path) -> Result<(String, Self), FactsError> {
        // Names that end in NUL each (Devicetree Specification, section 2.3.1).
        let tree = crate::text(&root.join("proc/device-tree/compatible")).ok_or(FactsError::Unknown)?;
        let own: Vec<&str> = tree.split('\0').filter(|name| !name.is_empty()).collect();
        let none = || FactsError::NotDescribed(own.join(", "));
        for folder in std::fs::read_dir(root.join(FACTS)).map_err(|_| none())?.flatten().take(MAX_BOARDS) {
            let path = folder.path().join("board.toml");
            let Some(text) = crate::text(&path) else { continue };
            let facts: Self = toml::from_str(&text).map_err(|error| FactsError::Malformed {
                file: path.display().to_string(),
                error: Box::new(error),
            })?;
            if facts.compatible.iter().any(|name| own.contains(&name.as_str())) {
                return Ok((folder.file_name().to_string_lossy().into_owned(), facts));
            }
        }
        Err(none())
    }

    /// The terminals on which a person may look for the address: the screen, and the serial port.
    #[must_use]
    pub fn terminals(&self) -> Vec<String> {
        // Names go into paths below /dev.
        let plain = |name: &&String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
        std::iter::once("tty1".to_owned()).chain(self.boot.console.iter().filter(plain).cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image with every board of the repository, started on one that says `compatible`.
    fn image(compatible: &str) -> tempfile::TempDir {
        let image = tempfile::tempdir().unwrap();
        let hardware = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hardware");
        for folder in std::fs::read_dir(hardware).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            let to = image.path().join(FACTS).join(folder.file_name());
            std::fs::create_dir_all(&to).unwrap();
            std::fs::copy(folder.path().join("board.toml"), to.join("board.toml")).unwrap();
        }
        std::fs::create_dir_all(image.path().join("proc/device-tree")).unwrap();
        std::fs::write(image.path().join("proc/device-tree/compatible"), compatible).unwrap();
        image
    }

    #[test]
    fn a_board_is_known_by_its_device_tree() {
        for (compatible, wifi, serial) in [
            ("raspberrypi,4-model-b\0brcm,bcm2711\0", true, "ttyS1"),
            ("raspberrypi,model-zero-2-w\0brcm,bcm2837\0", true, "ttyS1"),
            ("linux,dummy-virt\0", false, "ttyAMA0"),
        ] {
            let facts = Facts::read(image(compatible).path()).unwrap();
            assert_eq!(facts.devices.wifi, wifi, "{facts:?}");
            assert_eq!(facts.devices.led.is_some(), wifi, "{facts:?}");
            assert_eq!(facts.terminals(), ["tty1", serial], "{facts:?}");
        }
    }

    #[test]
    fn a_machine_that_is_not_described_is_told_and_a_path_is_no_terminal() {
        let error = Facts::read(image("acme,toaster\0").path()).unwrap_err();
        assert!(error.to_string().contains("acme,toaster"), "{error}");
        assert!(matches!(Facts::read(Path::new("/nonexistent")), Err(FactsError::Unknown)));
        let facts: Facts = toml::from_str("name = \"x\"\n[boot]\nconsole = \"../sda\"\n").unwrap();
        assert_eq!(facts.terminals(), ["tty1"]);
    }
}
