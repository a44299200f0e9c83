//! Models and content packs that the keeper chose: fetched in the background, verified, put in place, and kept up to date.
//!
//! A repository offers what may be too large or of no use for a hub, so nothing is fetched that nobody chose; what was chosen is followed from
//! revision to revision. [`next`] decides purely, [`Packs`] is the loop beside the one for systems, a [`Shelf`] knows where packs belong and
//! puts a new one in the place of the old one only once it has loaded. What was chosen and what is in place is written down.

mod kept;
mod work;

use std::{io, path::PathBuf, sync::Arc};

use cairn_sync::RecordId;
pub use cairn_trust::PackKind;
use futures::future::BoxFuture;

use super::{fetch::Transport, files::Wanted, policy::Wishes};
pub use kept::Held;
use kept::Kept;
pub use work::Packs;

/// Packs of a repository that are looked at.
pub const MAX_PACKS: usize = 256;
/// Room that a pack and its copies leave on the disk, in bytes.
pub const SPARE: u64 = 64 << 20;
/// Longest name, in bytes.
const MAX_NAME: usize = 100;

/// A pack by what it is and its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName {
    /// What it is for.
    pub kind: PackKind,
    /// Its name.
    pub name: String,
}

/// A pack of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Which.
    pub pack: PackName,
    /// Grows with each publication.
    pub revision: u64,
    /// For people.
    pub title: String,
    /// Memory that it needs to be of use, in MiB; 0 where that does not matter.
    pub memory: u64,
    /// Its file.
    pub wanted: Wanted,
    /// The ending of its file's name, without the dot.
    pub ending: String,
}

impl Offered {
    /// A name for its file, of letters, digits, `.`, `_` and `-`.
    #[must_use]
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.pack.name, self.ending)
    }
}

/// Whether a name can be a file's, and the ending as well: both were signed, and are not ours all the same.
#[must_use]
pub fn plain(name: &str, ending: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let short = (1..=MAX_NAME).contains(&name.len()) && (1..=10).contains(&ending.len());
    short
        && !name.starts_with('.')
        && name.bytes().all(fits)
        && ending.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What a look at a repository brought.
#[derive(Clone)]
pub struct Offers {
    /// The newest revision of each name.
    pub packs: Vec<Offered>,
    /// How to get their files.
    pub transport: Arc<dyn Transport>,
}

/// Why a pack is not in place.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// This revision will not be of use; the one before stays.
    #[error("{0}")]
    Refused(String),
    /// It may be later; the one before stays.
    #[error("{0}")]
    Later(String),
}

/// Where packs belong.
pub trait Shelf: Send + Sync {
    /// Where a pack's file rests until it is put in place, on the same file system.
    fn resting(&self, pack: &Offered) -> PathBuf;

    /// Undoes what a power cut left half done in [`Self::put`]. Gives whether the whole file is here, at rest or in its place already.
    fn settle(&self, pack: &Offered) -> BoxFuture<'_, Result<bool, PutError>>;

    /// Puts the whole, verified file in place. When this returns, the new one has loaded and the one before is gone; or the one before is
    /// in its place, as it was, or nothing where there was none. Gives the record that stands for it, where there is one.
    fn put(&self, pack: &Offered, held: &Held) -> BoxFuture<'_, Result<Option<RecordId>, PutError>>;

    /// Lets the file of a pack that is in place stand at `to` as well, on the same file system: as another name of it, or as a copy.
    fn lend(&self, pack: &InPlace, to: PathBuf) -> BoxFuture<'_, io::Result<()>>;

    /// Free space, in bytes, where it is known.
    fn room(&self) -> Option<u64>;
}

/// A pack whose newest revision is in place here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InPlace {
    /// What the repository says of it.
    pub offered: Offered,
    /// The record that stands for it.
    pub record: Option<RecordId>,
}

/// How a pack is, for the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackStatus {
    /// What the repository offers.
    pub offered: Offered,
    /// Whether the keeper chose it.
    pub chosen: bool,
    /// The revision that is in place; 0 for none.
    pub installed: u64,
    /// The record that stands for it.
    pub record: Option<RecordId>,
    /// Bytes that have come of the revision that is being fetched.
    pub coming: Option<u64>,
    /// Why it is not in place.
    pub trouble: Option<String>,
}

/// Which pack is to be brought next: what was chosen and is not in place, in the order of names, and not a revision that was refused. On a
/// connection that costs money only what the keeper has just chosen.
fn next<'a>(offered: &'a [Offered], kept: &Kept, wishes: Wishes) -> Option<&'a Offered> {
    if wishes.paused {
        return None;
    }
    offered.iter().find(|offered| {
        kept.held(&offered.pack).is_some_and(|held| {
            let newer = offered.revision > held.installed && offered.revision != held.refused;
            newer && (!wishes.metered || held.installed == 0)
        })
    })
}

#[cfg(test)]
mod tests {
    use cairn_sync::ChangeId;

    use super::*;

    fn offered(name: &str, revision: u64) -> Offered {
        Offered {
            pack: PackName { kind: PackKind::Model, name: name.to_owned() },
            revision,
            title: String::new(),
            memory: 0,
            wanted: Wanted { target: format!("targets/{name}.gguf"), length: 1, sha256: [0; 32] },
            ending: "gguf".to_owned(),
        }
    }

    #[test]
    fn only_what_was_chosen_and_is_newer_comes() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path());
        let packs = [offered("a", 1), offered("b", 3)];
        let free = Wishes::default();
        assert_eq!(next(&packs, &kept, free), None, "nobody chose anything");
        kept.choose(&packs[1].pack, ChangeId::from_bytes([1; 16])).unwrap();
        assert_eq!(next(&packs, &kept, free), Some(&packs[1]));
        assert_eq!(next(&packs, &kept, Wishes { paused: true, ..free }), None);
        assert_eq!(
            next(&packs, &kept, Wishes { metered: true, ..free }),
            Some(&packs[1]),
            "it was just chosen"
        );
        kept.installed(&packs[1].pack, 2, None).unwrap();
        assert_eq!(next(&packs, &kept, Wishes { metered: true, ..free }), None);
        assert_eq!(next(&packs, &kept, free), Some(&packs[1]));
        kept.refused(&packs[1].pack, 3).unwrap();
        assert_eq!(next(&packs, &kept, free), None, "it was of no use");
        let newer = [offered("b", 4)];
        assert_eq!(next(&newer, &Kept::open(folder.path()), free), Some(&newer[0]), "after a restart too");
        kept.choose(&packs[1].pack, ChangeId::from_bytes([2; 16])).unwrap();
        assert_eq!(next(&packs, &kept, free), Some(&packs[1]), "the keeper says: try again");
    }

    #[test]
    fn what_was_begun_is_known_after_a_power_cut() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Kept::open(folder.path());
        let (one, other) = (offered("a", 1), offered("b", 3));
        assert_eq!(kept.begun(), None);
        kept.begin(None).unwrap();
        for begun in [&one, &other] {
            kept.begin(Some(begun)).unwrap();
            assert_eq!(Kept::open(folder.path()).begun(), Some(begun));
        }
        kept.begin(None).unwrap();
        assert_eq!((kept.begun(), Kept::open(folder.path()).begun()), (None, None));
        // A file of ours that somebody has changed leads out of no folder.
        kept.begin(Some(&offered("../../a", 1))).unwrap();
        assert_eq!(Kept::open(folder.path()).begun(), None);
    }

    #[test]
    fn a_packs_name_stays_a_file_name() {
        assert!(plain("first-aid_2.1", "zim"));
        for (name, ending) in
            [("", "zim"), (".a", "zim"), ("a/b", "zim"), ("a", ""), ("a", "z/"), ("ä", "zim")]
        {
            assert!(!plain(name, ending), "{name:?} {ending:?}");
        }
    }
}
