//! Moving a database out of the way: with its log, into `damaged/`, never deleted by itself.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use crate::{clock::Clocks, durable::Disk, error::Result};

/// What SQLite keeps beside a database.
const BESIDE: [&str; 3] = ["-journal", "-wal", "-shm"];

/// The database and what lies beside it. The database comes first: without it the others mean nothing, while it with a
/// log of another database would be damaged further.
pub(crate) fn parts(database: &Path) -> Vec<PathBuf> {
    let with = |end: &str| {
        let mut name = OsString::from(database);
        name.push(end);
        PathBuf::from(name)
    };
    std::iter::once(database.to_owned()).chain(BESIDE.into_iter().map(with)).collect()
}

/// Moves a database into a new folder under `damaged/`; says which, as people see it.
pub(crate) fn set_aside(
    dir: &Path,
    what: &str,
    database: &Path,
    disk: &Disk,
    clocks: &dyn Clocks,
) -> Result<String> {
    let mut number = 0;
    let folder = loop {
        let name = format!("{}-{what}-{number}", clocks.wall_ms());
        let folder = dir.join("damaged").join(&name);
        if !folder.exists() {
            break folder;
        }
        number += 1;
    };
    disk.make_dir(&folder)?;
    for part in parts(database).iter().filter(|part| part.exists()) {
        if let Some(name) = part.file_name() {
            disk.rename(part, &folder.join(name))?;
        }
    }
    disk.sync_dir(dir)?;
    let shown = folder.strip_prefix(dir).unwrap_or(&folder).join(database.file_name().unwrap_or_default());
    Ok(shown.display().to_string())
}

/// Removes a database with everything beside it.
pub(crate) fn remove_database(database: &Path, disk: &Disk) -> Result<()> {
    parts(database).iter().filter(|part| part.exists()).try_for_each(|part| disk.remove(part))
}
