//! Keeps the index equal to the records: what belongs to no living document goes, a changed title is written anew.

use std::sync::Arc;

use cairn_sync::Kind;
use rusqlite::{Connection, params};

use super::vectors::Vectors;
use crate::{error::Result, records::codec::kind_code, store::Store};

/// Passages removed or written anew in one transaction.
const SLICE: i64 = 128;
/// Documents looked at in one round.
const ROUND: i64 = 256;

impl Store {
    /// Removes runs that unfinished work of an earlier start left; only before new work begins.
    pub(crate) fn drop_unfinished(index: &Connection) -> Result<()> {
        index.execute("UPDATE runs SET state = 3 WHERE state = 0", [])?;
        Ok(())
    }

    /// Brings the index in line with the documents that were deleted, got another file or another title.
    pub(crate) async fn tidy_index(&self) -> Result<()> {
        loop {
            let gone: Vec<i64> = self
                .ask(|connection| {
                    let sql = "SELECT u.id FROM idx.runs u WHERE u.state IN (1, 2) AND NOT EXISTS \
                               (SELECT 1 FROM fields f JOIN records r ON r.id = f.record \
                                WHERE f.record = u.document AND f.name = 'file' AND f.value = u.blob \
                                AND r.deleted = 0) LIMIT ?1";
                    let mut statement = connection.prepare_cached(sql)?;
                    let rows = statement.query_map([ROUND], |row| row.get(0))?;
                    Ok(rows.collect::<rusqlite::Result<_>>()?)
                })
                .await?;
            if gone.is_empty() {
                break;
            }
            self.inner
                .writer
                .write_index(move |index| {
                    let transaction = index.transaction()?;
                    for run in gone {
                        transaction.execute("UPDATE runs SET state = 3 WHERE id = ?1", [run])?;
                    }
                    Ok(transaction.commit()?)
                })
                .await?;
        }
        self.remove_waste().await?;
        self.retitle().await
    }

    /// Removes waste slice by slice.
    pub(crate) async fn remove_waste(&self) -> Result<()> {
        loop {
            let vectors = self.inner.vectors.clone();
            if !self.inner.writer.write_index(move |index| remove_slice(index, &vectors)).await? {
                return Ok(());
            }
        }
    }

    async fn retitle(&self) -> Result<()> {
        loop {
            let renamed: Vec<(i64, String)> = self
                .ask(|connection| {
                    let sql = "SELECT u.id, f.value FROM lookup l JOIN idx.runs u \
                               ON u.document = l.record AND u.state IN (1, 2) \
                               JOIN fields f ON f.record = l.record AND f.name = 'title' \
                               WHERE l.kind = ?1 AND l.name = 'file' AND u.title <> f.value LIMIT ?2";
                    let mut statement = connection.prepare_cached(sql)?;
                    let rows = statement.query_map(params![kind_code(Kind::Document), ROUND], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })?;
                    Ok(rows.collect::<rusqlite::Result<_>>()?)
                })
                .await?;
            if renamed.is_empty() {
                return Ok(());
            }
            for (run, title) in renamed {
                let mut from = 0;
                while let Some(next) = {
                    let title = title.clone();
                    self.inner
                        .writer
                        .write_index(move |index| retitle_slice(index, run, &title, from))
                        .await?
                } {
                    from = next;
                }
            }
        }
    }
}

/// Whether there is more.
fn remove_slice(index: &mut Connection, vectors: &Arc<Vectors>) -> Result<bool> {
    let transaction = index.transaction()?;
    let ids: Vec<i64> = {
        let sql = "SELECT p.id FROM runs u JOIN passages p ON p.run = u.id WHERE u.state = 3 LIMIT ?1";
        let mut statement = transaction.prepare_cached(sql)?;
        let rows = statement.query_map([SLICE], |row| row.get(0))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for id in &ids {
        transaction.prepare_cached("DELETE FROM words WHERE rowid = ?1")?.execute([id])?;
        transaction.prepare_cached("DELETE FROM embeddings WHERE passage = ?1")?.execute([id])?;
        transaction.prepare_cached("DELETE FROM passages WHERE id = ?1")?.execute([id])?;
    }
    if ids.is_empty() {
        transaction.execute("DELETE FROM runs WHERE state = 3", [])?;
    }
    transaction.commit()?;
    vectors.remove(&ids);
    Ok(!ids.is_empty())
}

/// Writes the words of some passages anew. Where to go on, until the run's title is changed as the last step.
fn retitle_slice(index: &mut Connection, run: i64, title: &str, from: i64) -> Result<Option<i64>> {
    let transaction = index.transaction()?;
    let rows: Vec<(i64, i64, String, String)> = {
        let sql = "SELECT id, ordinal, heading, body FROM passages WHERE run = ?1 AND ordinal >= ?2 \
                   ORDER BY ordinal LIMIT ?3";
        let mut statement = transaction.prepare_cached(sql)?;
        let rows = statement.query_map(params![run, from, SLICE], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for (id, _, heading, body) in &rows {
        transaction.prepare_cached("DELETE FROM words WHERE rowid = ?1")?.execute([id])?;
        transaction
            .prepare_cached("INSERT INTO words (rowid, title, heading, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, title, heading, body])?;
    }
    let next = rows.last().map(|(_, ordinal, ..)| ordinal + 1);
    if next.is_none() {
        transaction.execute("UPDATE runs SET title = ?2 WHERE id = ?1", params![run, title])?;
    }
    transaction.commit()?;
    Ok(next)
}
