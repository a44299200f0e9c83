//! Removes files that no living document refers to any more.

use std::time::Duration;

use cairn_sync::{BlobId, Kind};
use rusqlite::{Connection, OptionalExtension, params};

use crate::{
    db::{
        lock,
        writer::{Desk, Lane},
    },
    error::Result,
    records::codec::kind_code,
    store::Store,
};

/// How long a file stays after nothing refers to it, on the life clock: a deleted document can be brought back for 30
/// days, and every snapshot's files are still there.
pub(crate) const GRACE_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// A finished upload is left alone for this long even when nothing refers to it yet.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);
/// Files looked at in one write.
const SLICE: usize = 256;

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Garbage {
    /// How many files.
    pub files: u64,
    /// How many bytes they had.
    pub bytes: u64,
    /// How many wait for their grace to pass.
    pub waiting: u64,
}

impl Store {
    /// Looks at every file once; removes those that nothing referred to for the grace period.
    ///
    /// # Errors
    /// When the disk cannot be read or written.
    pub async fn collect_garbage(&self) -> Result<Garbage> {
        self.collect_garbage_after(GRACE_MS).await
    }

    pub(crate) async fn collect_garbage_after(&self, grace_ms: i64) -> Result<Garbage> {
        let files = self.inner.files.clone();
        let found = tokio::task::spawn_blocking(move || {
            let mut found = Vec::new();
            files.each(|blob, size| {
                found.push((blob, size));
                Ok(())
            })?;
            Ok::<_, crate::StoreError>(found)
        })
        .await
        .map_err(|_| crate::StoreError::Closed)??;
        let files = self.inner.files.clone();
        self.write(Lane::Index, move |desk| {
            // What has come of a file that no document names any more, and of one that came another way.
            for blob in files.on_their_way()? {
                if !is_named(desk.connection, &blob)? || files.size(&blob)?.is_some() {
                    files.forget_part(&blob)?;
                }
            }
            Ok(())
        })
        .await?;
        let mut total = Garbage::default();
        for slice in found.chunks(SLICE) {
            let slice = slice.to_vec();
            let one = self.write(Lane::Index, move |desk| sweep(desk, &slice, grace_ms)).await?;
            total.files += one.files;
            total.bytes += one.bytes;
            total.waiting += one.waiting;
        }
        Ok(total)
    }
}

fn sweep(desk: &Desk<'_>, found: &[(BlobId, u64)], grace_ms: i64) -> Result<Garbage> {
    let now = desk.life.now_ms();
    let mut garbage = Garbage::default();
    for (blob, size) in found {
        let name = blob.to_string();
        if is_named(desk.connection, blob)? || is_fresh(desk, blob) {
            desk.connection.prepare_cached("DELETE FROM orphans WHERE blob = ?1")?.execute([&name])?;
            continue;
        }
        let since: Option<i64> = desk
            .connection
            .prepare_cached("SELECT since_life FROM orphans WHERE blob = ?1")?
            .query_row([&name], |row| row.get(0))
            .optional()?;
        match since {
            Some(since) if now.saturating_sub(since) >= grace_ms => {
                desk.files.disk.remove(&desk.files.path(blob))?;
                desk.connection.prepare_cached("DELETE FROM orphans WHERE blob = ?1")?.execute([&name])?;
                garbage.files += 1;
                garbage.bytes += size;
            }
            Some(_) => garbage.waiting += 1,
            None => {
                let sql = "INSERT INTO orphans (blob, since_life) VALUES (?1, ?2)";
                desk.connection.prepare_cached(sql)?.execute(params![name, now])?;
                garbage.waiting += 1;
            }
        }
    }
    Ok(garbage)
}

/// Whether a living document names the file.
pub(crate) fn is_named(connection: &Connection, blob: &BlobId) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM lookup WHERE kind = ?1 AND name = 'file' AND value = ?2)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params![kind_code(Kind::Document), blob.to_string()], |row| row.get(0))?)
}

fn is_fresh(desk: &Desk<'_>, blob: &BlobId) -> bool {
    lock(&desk.files.fresh).get(blob).is_some_and(|at| at.elapsed() < FRESH)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use cairn_sync::{Fields, Value};

    use super::*;
    use crate::{
        OpenOptions,
        clock::{Clocks, tests::TurnedClocks},
        viewer::{Part, Viewer},
    };

    const DAY: i64 = 24 * 60 * 60 * 1000;

    #[tokio::test]
    async fn a_file_goes_when_nothing_referred_to_it_for_the_grace_period() {
        let dir = tempfile::tempdir().unwrap();
        let clocks = TurnedClocks::new(0, 0, "a");
        let turned: Arc<dyn Clocks> = clocks.clone();
        let options = OpenOptions { clocks: turned, upkeep: false, ..OpenOptions::default() };
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let console = Viewer::system(Part::Console);
        let put = |text: &str| {
            let mut writer = store.blob_writer(100).unwrap();
            writer.write(text.as_bytes()).unwrap();
            writer.finish().unwrap()
        };
        let fields = |blob: BlobId| {
            let pairs = [
                ("title", "T".to_owned()),
                ("file", blob.to_string()),
                ("file_name", "a".into()),
                ("media_type", "text/plain".into()),
            ];
            pairs.into_iter().map(|(name, text)| (name.to_owned(), Value::from(text))).collect::<Fields>()
        };
        let (kept, deleted, never_used) = (put("kept"), put("deleted"), put("never used"));
        store.create(&console, Kind::Document, None, fields(kept), None).await.unwrap();
        let document = store.create(&console, Kind::Document, None, fields(deleted), None).await.unwrap();
        store.delete(&console, document.id, None).await.unwrap();
        assert_eq!(
            store.collect_garbage_after(0).await.unwrap(),
            Garbage::default(),
            "a fresh upload is left alone"
        );
        let there = |blob: &BlobId| store.inner.files.size(blob).unwrap().is_some();

        // As if it were the next day's process: no upload is fresh any more.
        lock(&store.inner.files.fresh).clear();
        let first = store.collect_garbage().await.unwrap();
        assert_eq!((first.files, first.waiting), (0, 2));
        clocks.turn(0, 29 * DAY, "a");
        assert_eq!(store.collect_garbage().await.unwrap().waiting, 2);
        store.restore_record(&console, document.id, None).await.unwrap();
        clocks.turn(0, 31 * DAY, "a");
        let second = store.collect_garbage().await.unwrap();
        assert_eq!((second.files, second.bytes), (1, 10));
        assert!(there(&kept) && there(&deleted) && !there(&never_used));

        // Uploaded again while it waits: fresh, so that the document that is about to come finds it.
        store.delete(&console, document.id, None).await.unwrap();
        store.collect_garbage().await.unwrap();
        clocks.turn(0, 90 * DAY, "a");
        put("deleted");
        assert_eq!(store.collect_garbage().await.unwrap().files, 0);
        lock(&store.inner.files.fresh).insert(deleted, Instant::now() - FRESH);
        assert_eq!(store.collect_garbage().await.unwrap().waiting, 1, "its grace began anew");
    }
}
