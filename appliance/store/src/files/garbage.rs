//! Removes files that no living document refers to any more.

use std::time::Duration;

use cairn_sync::{BlobId, Kind};
use rusqlite::{OptionalExtension, params};

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
        let used: bool = desk
            .connection
            .prepare_cached("SELECT EXISTS (SELECT 1 FROM lookup WHERE kind = ?1 AND name = 'file' AND value = ?2)")?
            .query_row(params![kind_code(Kind::Document), name], |row| row.get(0))?;
        if used || is_fresh(desk, blob) {
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

fn is_fresh(desk: &Desk<'_>, blob: &BlobId) -> bool {
    lock(&desk.files.fresh).get(blob).is_some_and(|at| at.elapsed() < FRESH)
}
