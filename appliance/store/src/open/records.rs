//! Opens `records.db`: new, as it is, or from the newest good snapshot when it is damaged.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{new_epoch, report::OpenReport};
use crate::{
    aside,
    clock::Clocks,
    db::{self, Durability},
    durable::Disk,
    error::{Result, StoreError},
    schema, snapshots,
};

const ADVICE: &str = "Look at what was changed since then and enter it again. If you have a newer backup, restore it. \
                      Damage like this often means that the card is worn out: make a backup now and replace it.";

pub(super) fn open(
    dir: &Path,
    disk: &Disk,
    clocks: &dyn Clocks,
    report: &mut OpenReport,
) -> Result<Connection> {
    let path = dir.join("records.db");
    let unfinished = dir.join("records.db.new");
    aside::remove_database(&unfinished, disk)?;
    if !path.exists() && !was_used(dir)? {
        create(&path, &unfinished, disk)?;
    }
    let damage = match schema::check_file(&path) {
        Ok(stated) => {
            schema::servable(stated, schema::CURRENT, dir)?;
            return db::open_writer(&path, Durability::Full);
        }
        Err(error) if error.is_damage() => Some(error.to_string()),
        Err(_) if !path.exists() => None,
        Err(error) => return Err(error),
    };
    match &damage {
        Some(damage) => tracing::error!(%damage, "records.db is damaged"),
        None => tracing::error!("records.db is missing although the hub was used"),
    }
    // The copy is whole before the damaged file moves, so that a cut in between finds either again.
    let snapshot = snapshots::newest_good(dir, schema::CURRENT)?;
    if let Some(snapshot) = &snapshot {
        fs::copy(&snapshot.path, &unfinished)
            .map_err(|error| StoreError::io("copying", &snapshot.path, error))?;
        let file =
            fs::File::open(&unfinished).map_err(|error| StoreError::io("opening", &unfinished, error))?;
        disk.sync(&file, &unfinished)?;
    }
    let kept = aside::set_aside(dir, "records", &path, disk, clocks)?;
    let what = if damage.is_some() {
        format!("The hub's records were damaged. The damaged file is kept as {kept}.")
    } else {
        "The file with the hub's records was gone.".to_owned()
    };
    let Some(snapshot) = snapshot else {
        create(&path, &unfinished, disk)?;
        report.lost(
            format!("{what} There was no good snapshot to go back to, so the hub starts empty."),
            "Restore a backup if you have one. The files of the library are still there.",
        );
        return db::open_writer(&path, Durability::Full);
    };
    {
        let copy = Connection::open(&unfinished)?;
        new_epoch(&copy)?;
    }
    disk.rename(&unfinished, &path)?;
    report.lost(
        format!(
            "{what} The hub went back to the snapshot from {}; what was changed after that is not there.",
            snapshots::day_and_time(snapshot.at_ms)
        ),
        ADVICE,
    );
    db::open_writer(&path, Durability::Full)
}

/// Whether this folder held a hub: then a missing `records.db` is a loss, not a beginning.
fn was_used(dir: &Path) -> Result<bool> {
    Ok(!snapshots::list(dir)?.is_empty() || dir.join("index.db").exists())
}

/// Makes an empty database that is there whole or not at all.
fn create(path: &Path, unfinished: &Path, disk: &Disk) -> Result<()> {
    {
        let mut connection = Connection::open(unfinished)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::create(&mut connection)?;
    }
    disk.rename(unfinished, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClocks;

    fn facts(connection: &Connection) -> Option<i64> {
        schema::fact(connection, "mark").unwrap()
    }

    /// A folder with a snapshot that holds a mark, and damaged records.
    fn damaged() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let connection = open(dir.path(), &Disk::new(), &SystemClocks, &mut OpenReport::default()).unwrap();
        schema::set_fact(&connection, "mark", 7).unwrap();
        drop(connection);
        snapshots::take(dir.path(), 0, &Disk::new()).unwrap();
        fs::write(dir.path().join("records.db"), vec![0xA5; 20_000]).unwrap();
        dir
    }

    #[test]
    fn a_cut_while_falling_back_to_a_snapshot_is_mended_at_the_next_start() {
        let mut step = 0;
        loop {
            let dir = damaged();
            let first = open(dir.path(), &Disk::cut_before(step), &SystemClocks, &mut OpenReport::default());
            let done = first.is_ok();
            drop(first);
            let connection =
                open(dir.path(), &Disk::new(), &SystemClocks, &mut OpenReport::default()).unwrap();
            assert_eq!(facts(&connection), Some(7), "step {step}");
            let kept = fs::read_dir(dir.path().join("damaged")).unwrap().flatten();
            let kept = kept.filter(|folder| folder.path().join("records.db").exists()).count();
            assert_eq!(kept, 1, "the damaged file is kept once: step {step}");
            step += 1;
            if done {
                break;
            }
        }
        assert!(step > 5, "{step}");
    }

    #[test]
    fn a_cut_while_a_new_hub_is_made_leaves_a_new_hub() {
        for step in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let _cut = open(dir.path(), &Disk::cut_before(step), &SystemClocks, &mut OpenReport::default());
            let mut report = OpenReport::default();
            let connection = open(dir.path(), &Disk::new(), &SystemClocks, &mut report).unwrap();
            assert_eq!(report.findings, []);
            assert_eq!(facts(&connection), None);
        }
    }
}
