//! What the keeper chose, and what is in place of it; written down before it counts.

use std::{collections::BTreeMap, io, path::Path};

use cairn_slots::durable::{self, Files, Folder};
use cairn_sync::{ChangeId, RecordId};
use serde::{Deserialize, Serialize};

use super::{Offered, PackKind, PackName, Wanted};

/// The file, in the folder of updates.
const FILE: &str = "packs.json";
/// The file that says what is on its way.
const BEGUN: &str = "pack-begun.json";

/// What is kept of a pack that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The revision in place; 0 for none.
    pub installed: u64,
    /// A revision that was of no use; 0 for none.
    #[serde(default)]
    pub refused: u64,
    /// The change that makes the record which stands for it: the same one after a power cut.
    pub change: ChangeId,
    /// That record.
    #[serde(default)]
    pub record: Option<RecordId>,
}

/// All that were chosen.
#[derive(Debug)]
pub(super) struct Kept {
    folder: Folder,
    /// By `kind/name`.
    packs: BTreeMap<String, Held>,
    begun: Option<Offered>,
}

/// What is written of [`Kept::begun`].
#[derive(Serialize, Deserialize)]
struct Begun {
    model: bool,
    name: String,
    revision: u64,
    title: String,
    memory: u64,
    ending: String,
    target: String,
    length: u64,
    sha256: [u8; 32],
}

impl From<&Offered> for Begun {
    fn from(offered: &Offered) -> Self {
        let Offered { pack, revision, title, memory, wanted, ending } = offered.clone();
        let model = pack.kind == PackKind::Model;
        let Wanted { target, length, sha256 } = wanted;
        Self { model, name: pack.name, revision, title, memory, ending, target, length, sha256 }
    }
}

impl From<Begun> for Offered {
    fn from(begun: Begun) -> Self {
        let Begun { model, name, revision, title, memory, ending, target, length, sha256 } = begun;
        let kind = if model { PackKind::Model } else { PackKind::Content };
        let wanted = Wanted { target, length, sha256 };
        Self { pack: PackName { kind, name }, revision, title, memory, wanted, ending }
    }
}

fn key(pack: &PackName) -> String {
    let kind = match pack.kind {
        PackKind::Model => "model",
        PackKind::Content => "content",
    };
    format!("{kind}/{}", pack.name)
}

impl Kept {
    /// What an earlier run left in `folder`; a file that cannot be understood is told and counts as nothing chosen.
    pub(super) fn open(folder: &Path) -> Self {
        let folder = Folder(folder.to_owned());
        let read = folder.read(FILE).map_err(|error| error.to_string()).and_then(|bytes| match bytes {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            None => Ok(BTreeMap::new()),
        });
        let packs = read.unwrap_or_else(|error| {
            tracing::warn!(error, "which packs were chosen cannot be read");
            BTreeMap::new()
        });
        let read = folder.read(BEGUN).ok().flatten();
        let begun = read.and_then(|bytes| serde_json::from_slice::<Begun>(&bytes).ok()).map(Offered::from);
        // The names were checked before they were written; they are a file's all the same.
        let begun = begun.filter(|begun| super::plain(&begun.pack.name, &begun.ending));
        Self { folder, packs, begun }
    }

    /// A pack whose way here was begun and is not known to have ended: after a power cut it may stand where it belongs without having been
    /// seen to work.
    pub(super) const fn begun(&self) -> Option<&Offered> {
        self.begun.as_ref()
    }

    /// The way of a pack begins, or has ended.
    pub(super) fn begin(&mut self, offered: Option<&Offered>) -> io::Result<()> {
        if self.begun.as_ref() == offered {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder.0)?;
        match offered {
            Some(offered) => {
                durable::replace(&self.folder, BEGUN, &serde_json::to_vec(&Begun::from(offered))?)?;
            }
            // Where it comes back after a power cut, what was begun is looked at once more and found to be done.
            None => std::fs::remove_file(self.folder.0.join(BEGUN))?,
        }
        self.begun = offered.cloned();
        Ok(())
    }

    /// What is kept of a pack that was chosen.
    pub(super) fn held(&self, pack: &PackName) -> Option<&Held> {
        self.packs.get(&key(pack))
    }

    /// The keeper wants it; one that was of no use is tried again, from the beginning.
    pub(super) fn choose(&mut self, pack: &PackName, change: ChangeId) -> io::Result<()> {
        let fresh = Held { installed: 0, refused: 0, change, record: None };
        let held = self.held(pack).filter(|held| held.refused == 0).cloned();
        self.keep(pack, Some(held.unwrap_or(fresh)))
    }

    /// The keeper wants it no longer.
    pub(super) fn leave(&mut self, pack: &PackName) -> io::Result<()> {
        self.keep(pack, None)
    }

    /// A revision is in place.
    pub(super) fn installed(
        &mut self,
        pack: &PackName,
        revision: u64,
        record: Option<RecordId>,
    ) -> io::Result<()> {
        let held =
            self.held(pack).cloned().map(|held| Held { installed: revision, refused: 0, record, ..held });
        self.keep(pack, held)
    }

    /// A revision is of no use.
    pub(super) fn refused(&mut self, pack: &PackName, revision: u64) -> io::Result<()> {
        let held = self.held(pack).cloned().map(|held| Held { refused: revision, ..held });
        self.keep(pack, held)
    }

    fn keep(&mut self, pack: &PackName, held: Option<Held>) -> io::Result<()> {
        let mut packs = self.packs.clone();
        match held {
            Some(held) => drop(packs.insert(key(pack), held)),
            None => drop(packs.remove(&key(pack))),
        }
        if packs != self.packs {
            std::fs::create_dir_all(&self.folder.0)?;
            durable::replace(&self.folder, FILE, &serde_json::to_vec(&packs)?)?;
            self.packs = packs;
        }
        Ok(())
    }
}
