//! From two images to a bundle, its deltas, and their place in the draft.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use cairn_bundle::{
    Board, Chunking, DeltaListing, Head, Listing, ReadAt, Verity, Version,
    write::{self, Input, Old, Source},
};
use cairn_trust::{Listed, System, rollout::Rollout};
use tough::schema::Target;

use crate::workshop::{self, Workshop};

/// A new system version.
#[derive(Debug, Clone)]
pub struct NewSystem {
    /// The board it boots on.
    pub board: Board,
    /// Its version.
    pub version: Version,
    /// Image of the boot partition.
    pub boot: PathBuf,
    /// Image of the root partition, hash tree included.
    pub root: PathBuf,
    /// Where dm-verity finds its tree.
    pub verity: Option<Verity>,
    /// Newest schema of the hub's data that it makes.
    pub schema: Option<u32>,
    /// What changed, for people.
    pub notes: String,
    /// Published versions to make deltas from.
    pub deltas_from: Vec<Version>,
}

/// What was added.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Added {
    /// The bundle's target.
    pub target: String,
    /// Bytes of the bundle.
    pub length: u64,
    /// Version and bytes of each delta.
    pub deltas: Vec<(Version, u64)>,
}

/// Name of a system's target.
#[must_use]
pub fn target(board: &Board, version: Version) -> String {
    format!("system-{board}-{version}.cairn")
}

fn open(path: &Path) -> Result<(File, u64)> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

const fn source(file: &(File, u64), verity: Option<Verity>) -> Source<'_> {
    Source { bytes: &file.0, length: file.1, verity }
}

/// Where a version's images are kept for later deltas.
fn kept(workshop: &Workshop, board: &Board, version: Version) -> PathBuf {
    workshop.path("images").join(board.as_str()).join(version.to_string())
}

/// What the draft says about a system version.
///
/// # Errors
/// Where the draft does not know it.
pub fn find(workshop: &Workshop, board: &Board, version: Version) -> Result<System> {
    let name = target(board, version);
    let draft = workshop.draft()?;
    let entry: Option<&Target> = draft.signed.targets.get(&workshop::target_name(&name)?);
    match entry.and_then(workshop::listed) {
        Some(Listed::System(system)) => Ok(*system),
        _ => bail!("there is no version {version} for {board}"),
    }
}

/// Makes the bundle and its deltas, puts them into the repository and lists them in the draft; nobody installs it before its
/// rollout starts ([`Rollout::halted`] until then).
///
/// # Errors
/// Where the version exists, an image is missing, or something is too large for a device.
pub fn add(workshop: &Workshop, new: &NewSystem) -> Result<Added> {
    if find(workshop, &new.board, new.version).is_ok() {
        bail!(
            "version {} for {} is there already; a version is never published twice",
            new.version,
            new.board
        );
    }
    let (boot, root) = (open(&new.boot)?, open(&new.root)?);
    let images = [source(&boot, None), source(&root, new.verity)];
    let [boot_source, root_source] = images;
    let input = Input {
        board: new.board.clone(),
        version: new.version,
        built: workshop.now(),
        schema: new.schema,
        chunking: Chunking::default(),
        boot: boot_source,
        root: root_source,
    };
    let scratch = tempfile::tempdir_in(workshop.path("draft"))?;
    let bundle = scratch.path().join("bundle");
    let mut spool = tempfile::tempfile_in(scratch.path())?;
    let mut listing = write::bundle(&input, &mut spool, &mut File::create(&bundle)?)?;
    let mut head = vec![0; usize::try_from(listing.head_length())?];
    File::open(&bundle)?.read_exact_at(0, &mut head)?;
    let head = Head::parse(&head, &listing)?;
    let mut deltas = Vec::new();
    let mut targets = Vec::new();
    for from in &new.deltas_from {
        let file = scratch.path().join(format!("delta-{from}"));
        let made = delta(workshop, new, *from, &head, &listing, images, &file)?;
        if made.length >= listing.length {
            continue;
        }
        targets.push((made.target.clone(), workshop.place(&made.target, &file, &Listed::Delta)?));
        deltas.push((*from, made.length));
        listing.deltas.push(made);
    }
    let length = listing.length;
    // Withdrawn until `rollout` says when and how fast.
    let rollout = Rollout { halted: true, ..Rollout::at_once(workshop.now()) };
    let name = target(&new.board, new.version);
    let listed = Listed::System(Box::new(System { listing, rollout, notes: new.notes.clone() }));
    targets.push((name.clone(), workshop.place(&name, &bundle, &listed)?));
    let keep = kept(workshop, &new.board, new.version);
    fs::create_dir_all(&keep)?;
    fs::copy(&new.boot, keep.join("boot.img"))?;
    fs::copy(&new.root, keep.join("root.img"))?;
    workshop.edit(|draft| {
        for (name, entry) in targets {
            draft.add_target(workshop::target_name(&name)?, entry);
        }
        Ok(())
    })?;
    Ok(Added { target: name, length, deltas })
}

fn delta(
    workshop: &Workshop,
    new: &NewSystem,
    from: Version,
    head: &Head,
    listing: &Listing,
    images: [Source<'_>; 2],
    file: &Path,
) -> Result<DeltaListing> {
    let old = find(workshop, &new.board, from)?;
    let keep = kept(workshop, &new.board, from);
    let (boot, root) = (open(&keep.join("boot.img"))?, open(&keep.join("root.img"))?);
    let old = Old {
        version: from,
        manifest: old.listing.manifest,
        boot: source(&boot, None),
        root: source(&root, None),
    };
    let name = format!("system-{}-{from}-to-{}.delta", new.board, new.version);
    let made = write::delta(&old, head, listing.manifest, images, name, &mut File::create(file)?)?;
    Ok(made.listing)
}
