//! Putting a staged backup in the hub's place, in steps of which each is one rename, so that a power cut at any of
//! them is finished at the next start.
//!
//! | folder | means |
//! |---|---|
//! | `restore.partial` | being unpacked; a start removes it |
//! | `restore.ready` | whole and checked; what is in the hub's place moves to `replaced/<name>` |
//! | `restore.moving` | everything old has moved; what is in here moves into its place |

use std::{fs, path::Path};

use crate::{
    aside,
    durable::Disk,
    error::{Result, StoreError},
    open::OpenReport,
};

pub(super) const PARTIAL: &str = "restore.partial";
pub(super) const READY: &str = "restore.ready";
const MOVING: &str = "restore.moving";
const REPLACED: &str = "replaced";

/// Does what a staged backup is waiting for, if one is.
pub(crate) fn finish(dir: &Path, disk: &Disk, report: &mut OpenReport) -> Result<()> {
    if dir.join(PARTIAL).exists() {
        disk.remove_dir(&dir.join(PARTIAL))?;
    }
    let (ready, moving) = (dir.join(READY), dir.join(MOVING));
    if ready.exists() && !moving.exists() {
        let kept = move_old(dir, &ready, disk)?;
        disk.rename(&ready, &moving)?;
        report.note(
            format!("A backup was restored. What was here before is kept in {kept}."),
            "Check that everything is there. People sign in again. When all is well, the old data can be deleted.",
        );
    }
    if moving.exists() {
        move_new(dir, &moving, disk)?;
        disk.remove_dir(&moving)?;
        disk.sync_dir(dir)?;
    }
    Ok(())
}

/// Moves what is in the hub's place away. A cut in between leaves the rest for the next start, which goes on in the
/// same folder: its name is written down first.
fn move_old(dir: &Path, ready: &Path, disk: &Disk) -> Result<String> {
    let note = ready.join("replaced");
    let name = match fs::read_to_string(&note) {
        Ok(name) => name,
        Err(_) => {
            let name = unused_name(dir);
            disk.write(&note, name.as_bytes(), 0o600)?;
            name
        }
    };
    let old = dir.join(REPLACED).join(&name);
    disk.make_dir(&old)?;
    disk.sync_dir(&dir.join(REPLACED))?;
    disk.sync_dir(dir)?;
    let mut away = aside::parts(&dir.join("records.db"));
    away.extend(aside::parts(&dir.join("index.db")));
    away.extend(["blobs", "snapshots", "claim"].map(|name| dir.join(name)));
    for path in away.iter().filter(|path| path.exists()) {
        if let Some(name) = path.file_name() {
            disk.rename(path, &old.join(name))?;
        }
    }
    Ok(format!("{REPLACED}/{name}"))
}

fn unused_name(dir: &Path) -> String {
    (1..).map(|number: u32| number.to_string()).find(|name| !dir.join(REPLACED).join(name).exists()).unwrap_or_default()
}

fn move_new(dir: &Path, moving: &Path, disk: &Disk) -> Result<()> {
    let entries = fs::read_dir(moving).map_err(|error| StoreError::io("listing", moving, error))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|error| StoreError::io("listing", moving, error))?.file_name());
    }
    // The records come last: with them, the hub is whole.
    names.sort_by_key(|name| name == "records.db");
    for name in names.iter().filter(|name| *name != "replaced") {
        disk.rename(&moving.join(name), &dir.join(name))?;
    }
    Ok(())
}
