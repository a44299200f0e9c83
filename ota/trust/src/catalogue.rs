//! What a believed repository offers.

use std::collections::{BTreeMap, BTreeSet};

use cairn_bundle::{Board, Listing, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tough::Repository;

use crate::{Error, Role, rollout::Rollout};

/// Key in a target's `custom` object under which ours stands.
const CUSTOM: &str = "cairn";

/// How sure it is that there is nothing newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// By a trusted clock nothing has expired.
    Proven,
    /// It is signed and not older than what was known, but nobody can say whether it is the newest: it came by hand, or the hub
    /// does not know the time. To be told to people.
    Unproven {
        /// Roles that have expired for sure.
        expired: Vec<Role>,
    },
}

/// A system version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct System {
    /// The bundle and its deltas.
    #[serde(flatten)]
    pub listing: Listing,
    /// Whose turn is when.
    pub rollout: Rollout,
    /// What changed, in a few lines for people.
    #[serde(default)]
    pub notes: String,
}

/// A model or a content pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pack {
    /// Name under which it stands on the hub; a newer one of the same name replaces it.
    pub name: String,
    /// Grows with each publication of the same name.
    pub revision: u64,
    /// Memory that it needs to be of use, in MiB; 0 where that does not matter.
    #[serde(default)]
    pub memory: u64,
    /// For people.
    #[serde(default)]
    pub title: String,
}

/// What a pack is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackKind {
    /// A GGUF model.
    Model,
    /// For the library.
    Content,
}

/// What a target is, as its `custom` object says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listed {
    /// The bundle of a system version.
    System(Box<System>),
    /// A delta; described where its bundle is.
    Delta,
    /// A GGUF model.
    Model(Pack),
    /// A pack for the library.
    Content(Pack),
}

impl Listed {
    /// As it stands in a target's `custom` object.
    ///
    /// # Errors
    /// [`Error::Malformed`], in theory.
    pub fn to_custom(&self) -> Result<(String, serde_json::Value), Error> {
        let value = serde_json::to_value(self).map_err(|error| Error::Malformed(error.to_string()))?;
        Ok((CUSTOM.to_owned(), value))
    }
}

/// A file that the repository vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The target's name.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// SHA-256, in hexadecimal.
    pub sha256: String,
    /// What it is; `None` for what this version does not know.
    pub listed: Option<Listed>,
    /// Whether names of files begin with their hash.
    consistent: bool,
}

impl Entry {
    /// Its path below the repository, for [`Fetch`](crate::Fetch) or an HTTP client that asks for ranges.
    #[must_use]
    pub fn path(&self) -> String {
        // Folders of a name stay in front of the hash (TUF 1.0.34, 5.7.3).
        let (folder, name) =
            self.name.rsplit_once('/').map_or(("", self.name.as_str()), |(folder, name)| (folder, name));
        let slash = if folder.is_empty() { "" } else { "/" };
        if self.consistent {
            format!("targets/{folder}{slash}{}.{name}", self.sha256)
        } else {
            format!("targets/{}", self.name)
        }
    }

    /// Checks a file as it comes in.
    #[must_use]
    pub fn check(&self) -> Check<'_> {
        Check { entry: self, hash: Sha256::new(), length: 0 }
    }
}

/// Checks a file as it comes in: no byte too many, and the right ones.
pub struct Check<'a> {
    entry: &'a Entry,
    hash: Sha256,
    length: u64,
}

impl Check<'_> {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::TooLarge`] as soon as there are more than the repository says.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        if self.length > self.entry.length {
            return Err(Error::TooLarge { file: self.entry.name.clone(), limit: self.entry.length });
        }
        self.hash.update(bytes);
        Ok(())
    }

    /// At the end.
    ///
    /// # Errors
    /// [`Error::Mixed`] where it is another file.
    pub fn finish(self) -> Result<(), Error> {
        let is: String = self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        if self.length == self.entry.length && is == self.entry.sha256 {
            Ok(())
        } else {
            Err(Error::Mixed(format!("{} is not the file that was signed", self.entry.name)))
        }
    }
}

/// What a believed repository offers.
#[derive(Debug, Clone)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
    freshness: Freshness,
    root: u64,
    targets: u64,
}

impl Catalogue {
    pub(crate) fn new(repository: &Repository, freshness: Freshness) -> Self {
        let consistent = repository.root().signed.consistent_snapshot;
        let mut entries = BTreeMap::new();
        for (name, target) in repository.all_targets() {
            let name = name.resolved().to_owned();
            let sha256 = target.hashes.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            let listed =
                target.custom.get(CUSTOM).and_then(|value| serde_json::from_value(value.clone()).ok());
            let entry = Entry { name: name.clone(), length: target.length, sha256, listed, consistent };
            // The first one counts: top-level targets come before delegated ones.
            entries.entry(name).or_insert(entry);
        }
        let (root, targets) =
            (repository.root().signed.version.get(), repository.targets().signed.version.get());
        Self { entries, freshness, root, targets }
    }

    /// How sure it is that there is nothing newer.
    #[must_use]
    pub const fn freshness(&self) -> &Freshness {
        &self.freshness
    }

    /// Versions of the root and of the targets metadata.
    #[must_use]
    pub const fn versions(&self) -> (u64, u64) {
        (self.root, self.targets)
    }

    /// Everything, by name.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// A file by its name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// Boards that there are systems for.
    #[must_use]
    pub fn boards(&self) -> BTreeSet<Board> {
        let board = |entry: &Entry| match &entry.listed {
            Some(Listed::System(system)) => Some(system.listing.board.clone()),
            _ => None,
        };
        self.entries().filter_map(board).collect()
    }

    /// Models and content packs: of each name the newest revision, in the order of kinds and names.
    #[must_use]
    pub fn packs(&self) -> Vec<(&Entry, PackKind, &Pack)> {
        let mut newest = BTreeMap::<_, (&Entry, PackKind, &Pack)>::new();
        for entry in self.entries() {
            let (kind, pack) = match &entry.listed {
                Some(Listed::Model(pack)) => (PackKind::Model, pack),
                Some(Listed::Content(pack)) => (PackKind::Content, pack),
                _ => continue,
            };
            let place = newest.entry((kind, pack.name.as_str())).or_insert((entry, kind, pack));
            if place.2.revision < pack.revision {
                *place = (entry, kind, pack);
            }
        }
        newest.into_values().collect()
    }

    /// Versions for a board that were withdrawn, or whose rollout has not begun ([`Rollout::halted`]).
    #[must_use]
    pub fn withdrawn(&self, board: &Board) -> Vec<Version> {
        let version = |entry: &Entry| match &entry.listed {
            Some(Listed::System(system)) if system.listing.board == *board && system.rollout.halted => {
                Some(system.listing.version)
            }
            _ => None,
        };
        self.entries().filter_map(version).collect()
    }

    /// The newest system for a board, if it is newer than what is installed; never an older one. Versions that were
    /// withdrawn ([`Rollout::halted`]) do not count.
    ///
    /// A listing that does not fit its target or the limits of a device is passed over.
    #[must_use]
    pub fn newest_system(&self, board: &Board, installed: Version) -> Option<(&Entry, &System)> {
        let systems = self.entries().filter_map(|entry| match &entry.listed {
            Some(Listed::System(system)) => Some((entry, system.as_ref())),
            _ => None,
        });
        let fits = |(entry, system): &(&Entry, &System)| {
            system.listing.board == *board
                && system.listing.version > installed
                && system.listing.length == entry.length
                && system.listing.check().is_ok()
                && !system.rollout.halted
        };
        systems.filter(fits).max_by_key(|(_, system)| system.listing.version)
    }
}
