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
    (1..)
        .map(|number: u32| number.to_string())
        .find(|name| !dir.join(REPLACED).join(name).exists())
        .unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A hub's folder with old content and a staged backup with new content.
    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        for name in ["records.db", "records.db-wal", "index.db", "blobs/aa/1", "snapshots/1", "claim"] {
            put(name, "old");
        }
        put("restore.ready/records.db", "new");
        put("restore.ready/blobs/bb/2", "new");
        dir
    }

    fn content(dir: &Path) -> Vec<(PathBuf, String)> {
        let mut found = Vec::new();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push((
                        path.strip_prefix(dir).unwrap().to_owned(),
                        fs::read_to_string(path).unwrap(),
                    ));
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_cut_at_any_step_is_finished_at_the_next_start() {
        let whole = folder();
        finish(whole.path(), &Disk::new(), &mut OpenReport::default()).unwrap();
        let expected = content(whole.path());
        let of = |start: &str| {
            expected
                .iter()
                .filter(|(path, _)| path.starts_with(start))
                .map(|(_, text)| text.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(of("replaced/1"), ["old"; 6]);
        assert_eq!((of("records.db"), of("blobs"), of("restore.ready")), (vec!["new"], vec!["new"], vec![]));
        let (mut cuts, mut step) = (0, 0);
        loop {
            let dir = folder();
            // The power may go again while the first cut is being mended.
            let first = finish(dir.path(), &Disk::cut_before(step), &mut OpenReport::default());
            let again = finish(dir.path(), &Disk::cut_before(3), &mut OpenReport::default());
            finish(dir.path(), &Disk::new(), &mut OpenReport::default()).unwrap();
            assert_eq!(content(dir.path()), expected, "cut before step {step}");
            cuts += u32::from(first.is_err()) + u32::from(again.is_err());
            step += 1;
            if first.is_ok() {
                break;
            }
        }
        assert!(cuts > 20, "{cuts}");
    }

    #[test]
    fn what_was_only_half_unpacked_goes() {
        let dir = folder();
        fs::rename(dir.path().join(READY), dir.path().join(PARTIAL)).unwrap();
        let mut report = OpenReport::default();
        finish(dir.path(), &Disk::new(), &mut report).unwrap();
        assert_eq!(report.findings, []);
        assert!(content(dir.path()).iter().all(|(_, text)| text == "old"));
    }
}
