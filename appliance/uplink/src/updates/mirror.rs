//! Passing on: a copy of the newest system as it is in the repository, with the metadata that vouch for it, for the next hub on the local
//! network. Opt-in, because it takes the room of a whole bundle. Who reads it believes the signatures and not this hub.

use std::{fs, io, path::Path};

use cairn_slots::durable;

use super::{
    fetch::Transport,
    files::{self, FileError, Wanted},
    repository::METADATA,
};

/// Folder of the files, in a repository.
const TARGETS: &str = "targets";
/// Most metadata files that are copied.
const MAX_METADATA: usize = 256;

/// Makes `mirror` hold `wanted` and the metadata of `evidence`; goes on with what an earlier call left. What older metadata spoke of is
/// removed once the new ones are there.
///
/// # Errors
/// [`FileError`]; the mirror is what it was, or on its way.
pub async fn keep(
    wanted: &Wanted,
    transport: &dyn Transport,
    evidence: &Path,
    mirror: &Path,
) -> Result<(), FileError> {
    let targets = mirror.join(TARGETS);
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Io { doing, path, source }
    };
    fs::create_dir_all(&targets).map_err(failed("making", &targets))?;
    let name = wanted.target.rsplit('/').next().unwrap_or_default();
    let place = targets.join(name);
    // Its name begins with its hash, and it was put there whole.
    if fs::metadata(&place).map(|meta| meta.len()).ok() != Some(wanted.length) {
        files::fetch(wanted, transport, &place).await?;
    }
    let metadata = mirror.join(METADATA);
    tokio::task::block_in_place(|| copy(&evidence.join(METADATA), &metadata))
        .map_err(failed("copying", &metadata))?;
    for entry in fs::read_dir(&targets).map_err(failed("reading", &targets))?.flatten() {
        if entry.file_name() != name {
            fs::remove_file(entry.path()).map_err(failed("removing", &entry.path()))?;
        }
    }
    Ok(())
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
