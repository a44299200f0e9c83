//! Snapshots: whole copies of `records.db`, one a day, the newest few kept, for the day when the database is damaged.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};

use crate::{
    aside, db,
    durable::Disk,
    error::{Result, StoreError},
    schema,
    store::Store,
};

/// Snapshots kept.
pub const KEPT: usize = 3;
/// Pages copied in one step.
const PAGES: i32 = 256;
/// How long a copy may wait for a locked database.
const LOCKED_TRIES: u32 = 100;

/// A snapshot as it lies in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Where.
    pub path: PathBuf,
    /// Counts up; the newest is the one that counts highest, whatever the clock said.
    pub number: u64,
    /// When, by the hub's clock, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What a snapshot came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotTaken {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

fn folder(dir: &Path) -> PathBuf {
    dir.join("snapshots")
}

/// The snapshots of a hub's folder, newest first.
pub(crate) fn list(dir: &Path) -> Result<Vec<Snapshot>> {
    let folder = folder(dir);
    let failed = |error| StoreError::io("listing", &folder, error);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parsed = name
            .strip_prefix("records-")
            .and_then(|rest| rest.strip_suffix(".db"))
            .and_then(|rest| rest.split_once('-'))
            .and_then(|(number, at)| Some((number.parse().ok()?, at.parse().ok()?)));
        if let Some((number, at_ms)) = parsed {
            found.push(Snapshot { path, number, at_ms });
        }
    }
    found.sort_by_key(|snapshot| std::cmp::Reverse(snapshot.number));
    Ok(found)
}

/// The newest snapshot that is whole and that this release can serve.
pub(crate) fn newest_good(dir: &Path, by: u32) -> Result<Option<Snapshot>> {
    for snapshot in list(dir)? {
        match schema::check_file(&snapshot.path).and_then(|stated| schema::servable(stated, by, dir)) {
            Ok(()) => return Ok(Some(snapshot)),
            Err(error) => {
                tracing::warn!(%error, path = %snapshot.path.display(), "a snapshot cannot be used");
            }
        }
    }
    Ok(None)
}

/// Copies a database as it stands at one moment, while others write to it. `progress` gets pages left and pages in all
/// and may stop it.
pub(crate) fn copy_database(
    source: &Connection,
    target: &Path,
    mut progress: impl FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let mut copy = Connection::open(target)?;
    {
        // The transaction holds the moment; without it, every write would start the copy over.
        let moment = source.unchecked_transaction()?;
        moment.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let backup = Backup::new(&moment, &mut copy)?;
        let mut locked = 0;
        loop {
            match backup.step(PAGES)? {
                StepResult::Done => break,
                StepResult::More => {
                    let left = backup.progress();
                    progress(left.remaining.try_into().unwrap_or(0), left.pagecount.try_into().unwrap_or(0))?;
                }
                _ => {
                    locked += 1;
                    if locked > LOCKED_TRIES {
                        return Err(StoreError::Busy);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
    }
    // One file, without a log beside it.
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    Ok(())
}

/// Takes a snapshot: copied under a temporary name, checked, made durable, renamed; only then an old one goes.
pub(crate) fn take(dir: &Path, at_ms: i64, disk: &Disk) -> Result<SnapshotTaken> {
    let folder = folder(dir);
    disk.make_dir(&folder)?;
    let number = list(dir)?.first().map_or(1, |newest| newest.number + 1);
    let temporary = folder.join("unfinished");
    aside::remove_database(&temporary, disk)?;
    let made = (|| -> Result<SnapshotTaken> {
        let source = db::open_reader(&dir.join("records.db"))?;
        copy_database(&source, &temporary, |_, _| Ok(()))?;
        schema::check_file(&temporary)?;
        let file = File::open(&temporary).map_err(|error| StoreError::io("opening", &temporary, error))?;
        disk.sync(&file, &temporary)?;
        let bytes = file.metadata().map_err(|error| StoreError::io("reading", &temporary, error))?.len();
        let path = folder.join(format!("records-{number:08}-{at_ms}.db"));
        disk.rename(&temporary, &path)?;
        Ok(SnapshotTaken { path, bytes })
    })();
    if made.is_err() && temporary.exists() {
        aside::remove_database(&temporary, &Disk::new())?;
    }
    let made = made?;
    for old in list(dir)?.iter().skip(KEPT) {
        disk.remove(&old.path)?;
    }
    disk.sync_dir(&folder)?;
    Ok(made)
}

impl Store {
    /// Takes a snapshot now.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] and the like; the older snapshots are untouched then.
    pub async fn snapshot(&self) -> Result<SnapshotTaken> {
        let (dir, now) = (self.inner.dir.clone(), self.inner.life.wall_ms());
        tokio::task::spawn_blocking(move || take(&dir, now, &Disk::new()))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    /// The snapshots that are there, newest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>> {
        list(&self.inner.dir)
    }
}

/// A moment as people read it, in UTC (days from civil, Howard Hinnant, "chrono-compatible low-level date algorithms").
pub(crate) fn day_and_time(at_ms: i64) -> String {
    let seconds = at_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_readable() {
        assert_eq!(day_and_time(0), "1970-01-01 00:00 UTC");
        assert_eq!(day_and_time(1_709_210_096_000), "2024-02-29 12:34 UTC");
        assert_eq!(day_and_time(1_795_180_500_000), "2026-11-20 13:15 UTC");
    }

    fn database(dir: &Path) -> PathBuf {
        let path = dir.join("records.db");
        let mut connection = db::open_writer(&path, db::Durability::Full).unwrap();
        schema::create(&mut connection).unwrap();
        path
    }

    #[test]
    fn a_cut_at_any_step_leaves_good_snapshots_only() {
        let mut step = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            database(dir.path());
            for at in 0..KEPT {
                take(dir.path(), at as i64, &Disk::new()).unwrap();
            }
            let outcome = take(dir.path(), 99, &Disk::cut_before(step));
            let left = list(dir.path()).unwrap();
            assert!(left.len() >= KEPT, "an old one went before the new one was safe: step {step}");
            for snapshot in &left {
                schema::check_file(&snapshot.path).unwrap();
            }
            assert!(newest_good(dir.path(), schema::CURRENT).unwrap().is_some());
            take(dir.path(), 100, &Disk::new()).unwrap();
            let after = list(dir.path()).unwrap();
            assert_eq!((after.len(), after[0].at_ms), (KEPT, 100), "step {step}");
            step += 1;
            if outcome.is_ok() {
                break;
            }
        }
        assert!(step > 6, "{step}");
    }
}
