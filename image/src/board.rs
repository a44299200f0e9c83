//! `hardware/<board>/board.toml`: what differs between boards.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::run;

/// The facts that the image is built from; the hub reads others from the same file.
#[derive(Debug, Clone, Deserialize)]
pub struct Board {
    /// The folder's name.
    #[serde(skip)]
    pub id: String,
    /// As people call it.
    pub name: String,
    /// What its device tree says that it is.
    pub compatible: Vec<String>,
    /// How it boots.
    pub boot: Boot,
}

/// How a board boots.
#[derive(Debug, Clone, Deserialize)]
pub struct Boot {
    /// Who chooses the slot.
    pub flow: Flow,
    /// Which of `image/packages.toml`'s kernels.
    pub kernel: String,
    /// Names in the kernel package.
    pub device_trees: Vec<String>,
    /// The serial port, as the kernel names it.
    pub console: String,
    /// Files of the boot partition, or of the slot where the firmware boots the slot itself: where from (package, path) and the name there.
    #[serde(default)]
    pub files: Vec<BootFile>,
    /// The lines of the firmware's `config.txt`.
    #[serde(default)]
    pub config: Vec<String>,
}

/// One file that firmware or bootloader looks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFile {
    /// The Debian package.
    pub package: String,
    /// Path in the package.
    pub path: String,
    /// Name on the boot partition.
    pub name: String,
}

/// Who chooses the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flow {
    /// U-Boot, by our boot script.
    Script,
    /// The Raspberry Pi's firmware, by `autoboot.txt`.
    Tryboot,
}

impl Board {
    /// Reads a board's facts.
    ///
    /// # Errors
    /// When there is no such board or its file has another shape.
    pub fn read(hardware: &Path, id: &str) -> Result<Self> {
        let path = hardware.join(id).join("board.toml");
        let text = run::read_text(&path).with_context(|| format!("there is no board {id}"))?;
        let board: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        Ok(Self { id: id.to_owned(), ..board })
    }

    /// Every board, in order of the folders' names.
    ///
    /// # Errors
    /// As [`Board::read`].
    pub fn all(hardware: &Path) -> Result<Vec<Self>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(hardware)? {
            let entry = entry?;
            if entry.path().join("board.toml").exists() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        names.iter().map(|name| Self::read(hardware, name)).collect()
    }
}
