//! The system that runs, as its image and the boot loader describe it: board, version, whom to believe, which slot, and whether this
//! start is a trial. The supervisor's side of updates is set up from it.
//!
//! On a device the image's files stand below `/` and the initramfs leaves `/run/cairn/boot` and `/run/cairn/part`. Options name other
//! places, so that the same code runs on files that stand for a card.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use cairn_bundle::{Board, Digest, Manifest, Version, limits::MAX_MANIFEST};
use cairn_device::facts::Facts;
use cairn_slots::{Partitions, SlotId, boot_control::Places, tryboot::Numbers};
use cairn_supervisor::system::{Choice, SystemConfig, Vouch};
use cairn_trust::{Channel, Clock, Directory, Limits, Listed, Store, Trust, local_folder};
use cairn_uplink::updates::{install::MANIFEST, service::EVIDENCE};

use crate::{cli::SystemArguments, data::Folder};

/// Where the initramfs says what it started.
const STARTED: &str = "/run/cairn";
/// Largest file of facts that is read, in bytes.
const MAX_FACT: u64 = 256 << 10;
/// The firmware's file, on boards that choose by it, and the partitions that it names.
const AUTOBOOT: &str = "/boot/autoboot.txt";
const AUTOBOOT_NUMBERS: Numbers = Numbers { a: 2, b: 3 };

/// What the image says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) board: Board,
    pub(crate) version: Version,
    /// When it was built, in seconds since 1970.
    pub(crate) built: u64,
    /// The first root metadata.
    pub(crate) root: String,
    /// Where updates are on the network.
    pub(crate) url: Option<String>,
    /// Whether the firmware chooses the slot.
    tryboot: bool,
}

fn text(path: &Path) -> Result<String, String> {
    let said = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let mut text = String::new();
    let file = File::open(path).map_err(said)?;
    file.take(MAX_FACT).read_to_string(&mut text).map_err(said)?;
    Ok(text)
}

impl Image {
    /// Reads it below `root`.
    pub(crate) fn read(root: &Path, url: Option<&str>) -> Result<Self, String> {
        let (board, facts) = Facts::find(root).map_err(|error| error.to_string())?;
        let board = board.parse::<Board>().map_err(|error| format!("{board}: {error}"))?;
        let release = text(&root.join("usr/lib/os-release"))?;
        let version = release.lines().find_map(|line| line.strip_prefix("VERSION_ID="));
        let version = version.ok_or("the image does not say its version")?.trim().trim_matches('"');
        let version = version.parse::<Version>().map_err(|error| format!("version {version}: {error}"))?;
        let share = root.join("usr/share/cairn");
        let built = text(&share.join("build-time"))?;
        let built = built.trim().parse::<u64>().map_err(|error| format!("the build time: {error}"))?;
        let named = text(&share.join("updates-url")).ok().map(|url| url.trim().to_owned());
        Ok(Self {
            board,
            version,
            built,
            root: text(&share.join("root.json"))?,
            url: url.map(str::to_owned).or(named).filter(|url| !url.is_empty()),
            tryboot: facts.boot.flow.as_deref() == Some("tryboot"),
        })
    }

    /// The image that runs, where it can be updated; what is missing is told.
    pub(crate) fn of(arguments: &SystemArguments, appliance: bool) -> Option<Self> {
        if !appliance && arguments.slots.is_none() {
            return None;
        }
        let root = arguments.image.as_deref().unwrap_or(Path::new("/"));
        Self::read(root, arguments.updates_url.as_deref())
            .inspect_err(|error| tracing::warn!(error, "this system cannot be updated"))
            .ok()
    }
}

/// The version that people are told: of the card's image, which may carry a number of its own, else the program's.
pub(crate) fn version(root: &Path) -> String {
    let release = text(&root.join("usr/lib/os-release")).unwrap_or_default();
    let value = |key: &str| release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    // Somebody's computer has a version too, and it is none of ours.
    let of_image = value("VERSION_ID").filter(|_| value("ID") == Some("cairn"));
    of_image.map_or(env!("CARGO_PKG_VERSION"), |version| version.trim().trim_matches('"')).to_owned()
}

/// What the boot loader did.
#[derive(Debug, PartialEq, Eq)]
struct Started {
    card: PathBuf,
    slot: SlotId,
    trial: bool,
}

impl Started {
    fn parse(text: &str) -> Result<Self, String> {
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        let slot = value("SLOT").and_then(SlotId::from_letter).ok_or("which slot was started is not told")?;
        let card = value("CARD").filter(|card| !card.is_empty()).ok_or("the card is not named")?;
        Ok(Self { card: card.into(), slot, trial: value("TRIAL") == Some("1") })
    }
}

/// The supervisor's side of updates; `None` on a computer, and where something is missing.
pub(crate) fn config(folder: &Folder, arguments: &SystemArguments, appliance: bool) -> Option<SystemConfig> {
    let image = Image::of(arguments, appliance)?;
    let run = arguments.slots.as_deref().unwrap_or(Path::new(STARTED));
    let started = text(&run.join("boot")).and_then(|text| Started::parse(&text));
    let started = started.inspect_err(|error| tracing::warn!(error, "this system cannot be updated")).ok()?;
    let choice = if image.tryboot {
        Choice::Tryboot { file: AUTOBOOT.into(), numbers: AUTOBOOT_NUMBERS }
    } else {
        Choice::Block { card: started.card, places: Places::OF_IMAGE }
    };
    let part = |kind: &str, slot: SlotId| run.join("part").join(format!("{kind}-{slot}"));
    let partitions =
        SlotId::ALL.map(|slot| Partitions { boot: part("boot", slot), root: part("root", slot) });
    let version = image.version;
    let vouch = Signed { folder: folder.trust(), evidence: folder.updates().join(EVIDENCE), image };
    Some(SystemConfig {
        choice,
        partitions,
        state: folder.trust(),
        running: started.slot,
        trial: started.trial,
        version,
        vouch: Box::new(vouch),
    })
}

/// The supervisor's own memory of whom to believe. It looks at the same metadata as the hub did, and takes nothing on its word.
struct Signed {
    folder: PathBuf,
    evidence: PathBuf,
    image: Image,
}

impl Vouch for Signed {
    fn vouch(&mut self, evidence: &Path) -> Result<(Manifest, Digest), String> {
        if evidence != self.evidence {
            return Err("signed metadata are looked for in one place only".to_owned());
        }
        let Image { board, built, root, .. } = &self.image;
        let said = |error: cairn_trust::Error| error.to_string();
        let store = Store::open_or_begin(&self.folder.join("store"), root, *built).map_err(said)?;
        let scratch = local_folder(&self.folder).map_err(|error| error.to_string())?;
        let mut trust = Trust::new(store, scratch, Limits::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let source = std::sync::Arc::new(Directory(self.evidence.clone()));
        // What is fresh was decided by who fetched it; here it counts what is signed, and that nothing older comes back.
        let looked = runtime.block_on(trust.refresh(source, Clock::NotBefore(*built), Channel::ByHand));
        let catalogue = looked.map_err(said)?;
        let mut bytes = Vec::new();
        let manifest = File::open(self.evidence.join(MANIFEST));
        let read = manifest.and_then(|file| file.take(MAX_MANIFEST + 1).read_to_end(&mut bytes));
        read.map_err(|error| format!("the manifest cannot be read: {error}"))?;
        let hash = Digest::of(&bytes);
        let signed = catalogue.entries().any(|entry| match &entry.listed {
            Some(Listed::System(system)) => {
                system.listing.manifest == hash && system.listing.board == *board && !system.rollout.halted
            }
            _ => false,
        });
        if !signed {
            return Err("what was written is not a system that was signed for this board".to_owned());
        }
        let manifest = Manifest::parse(&bytes, &hash).map_err(|error| error.to_string())?;
        if manifest.board == *board {
            Ok((manifest, hash))
        } else {
            Err("the manifest is of another board".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_initramfs_leaves_is_understood() {
        let text = "CARD=/dev/mmcblk0\nSLOT=b\nTRIAL=1\nDAMAGED=0\n";
        let started = Started { card: "/dev/mmcblk0".into(), slot: SlotId::B, trial: true };
        assert_eq!(Started::parse(text), Ok(started));
        for wrong in ["", "CARD=/dev/sda\n", "CARD=\nSLOT=a\n", "CARD=/dev/sda\nSLOT=c\n"] {
            assert!(Started::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
