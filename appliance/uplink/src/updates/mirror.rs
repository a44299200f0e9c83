//! Passing on: a copy of the newest system as it is in the repository, and the models and content packs that are in place here, with the metadata
//! that vouch for them, for the next hub on the local network. Opt-in, because a bundle takes room that nothing else needs. Who reads it believes the
//! signatures and not this hub.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use cairn_slots::durable;

use super::{
    fetch::Transport,
    files::{self, FileError, Wanted},
    packs::{InPlace, Packs},
    repository::METADATA,
};

/// Folder of the files, in a repository.
const TARGETS: &str = "targets";
/// Most metadata files that are copied.
const MAX_METADATA: usize = 256;
/// What is lent and not looked at yet.
const LENT: &str = "lent.part";

/// Makes `mirror` hold the `system`, the packs that are `lent`, and the metadata of `evidence`; goes on with what an earlier call left. What older
/// metadata spoke of is removed once the new ones are there. A pack that cannot be lent is left out, and told.
///
/// # Errors
/// [`FileError`]; the mirror is what it was, or on its way.
pub async fn keep(
    system: Option<(&Wanted, &dyn Transport)>,
    lent: Option<(&Packs, &[InPlace])>,
    evidence: &Path,
    mirror: &Path,
) -> Result<(), FileError> {
    let targets = mirror.join(TARGETS);
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Io { doing, path, source }
    };
    fs::create_dir_all(&targets).map_err(failed("making", &targets))?;
    let mut names = Vec::new();
    if let Some((wanted, transport)) = system {
        let name = name_of(wanted);
        let place = targets.join(name);
        if !is_there(wanted, &place) {
            files::fetch(wanted, transport, &place).await?;
        }
        names.push(name);
    }
    let (packs, lent) = lent.map_or((None, [].as_slice()), |(packs, lent)| (Some(packs), lent));
    for pack in lent {
        let (wanted, name) = (&pack.offered.wanted, name_of(&pack.offered.wanted));
        let place = targets.join(name);
        if !is_there(wanted, &place)
            && let Some(packs) = packs
            && let Err(error) = lend(packs, pack, &targets, &place).await
        {
            tracing::warn!(%error, name = pack.offered.pack.name, "a pack is not passed on");
            continue;
        }
        names.push(name);
    }
    let metadata = mirror.join(METADATA);
    tokio::task::block_in_place(|| copy(&evidence.join(METADATA), &metadata))
        .map_err(failed("copying", &metadata))?;
    for entry in fs::read_dir(&targets).map_err(failed("reading", &targets))?.flatten() {
        if !names.iter().any(|name| entry.file_name() == *name) {
            fs::remove_file(entry.path()).map_err(failed("removing", &entry.path()))?;
        }
    }
    Ok(())
}

fn name_of(wanted: &Wanted) -> &str {
    wanted.target.rsplit('/').next().unwrap_or_default()
}

/// Its name begins with its hash, and it was put there whole.
fn is_there(wanted: &Wanted, place: &Path) -> bool {
    fs::metadata(place).map(|meta| meta.len()).ok() == Some(wanted.length)
}

/// Lets a pack's file stand at `place`, if it is still what was signed.
async fn lend(packs: &Packs, pack: &InPlace, targets: &Path, place: &Path) -> Result<(), FileError> {
    let lent = targets.join(LENT);
    let failed = |doing| {
        let path = lent.clone();
        move |source| FileError::Io { doing, path, source }
    };
    match fs::remove_file(&lent) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("removing")(error)),
        _ => {}
    }
    packs.lend(pack, lent.clone()).await.map_err(failed("lending"))?;
    let wanted = &pack.offered.wanted;
    if !tokio::task::block_in_place(|| files::is(wanted, &lent))? {
        return Err(FileError::Differs(wanted.target.clone()));
    }
    tokio::task::block_in_place(|| {
        File::open(&lent)?.sync_all()?;
        fs::rename(&lent, place)?;
        File::open(targets)?.sync_all()
    })
    .map_err(failed("putting in place"))
}

/// Copies metadata, the timestamp last: a reader at any instant sees what belongs together.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut names: Vec<String> =
        fs::read_dir(from)?.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| name.ends_with(".json"));
    names.truncate(MAX_METADATA);
    names.sort_by_key(|name| name == "timestamp.json");
    let folder = durable::Folder(to.to_owned());
    for name in &names {
        let bytes = fs::read(from.join(name))?;
        if fs::read(to.join(name)).ok().as_ref() != Some(&bytes) {
            durable::replace(&folder, name, &bytes)?;
        }
    }
    for entry in fs::read_dir(to)?.flatten() {
        if !names.iter().any(|name| *name == *entry.file_name().to_string_lossy()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Takes everything away.
///
/// # Errors
/// What the system reports.
pub fn clear(mirror: &Path) -> io::Result<()> {
    match fs::remove_dir_all(mirror) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
