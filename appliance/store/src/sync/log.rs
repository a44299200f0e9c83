//! What synchronisation did, and what is left to do.

use cairn_sync::{ChangeId, Kind, RecordId, change::Change};
use rusqlite::{Connection, params};

use super::{from_json, scopes};
use crate::{
    db::writer::Lane,
    error::Result,
    records::codec::{id, id_or_none, kind_of},
    store::Store,
    viewer::Viewer,
};

/// Lines that are kept.
const LINES: i64 = 500;
/// Longest note in bytes.
const NOTE: usize = 500;
/// Most lines or changes given at once.
const PAGE: u16 = 200;

/// A round.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogEntry {
    /// When it ended, by this hub's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// Changes sent.
    pub up: u32,
    /// Records received.
    pub down: u32,
    /// How long it took, in milliseconds.
    pub took_ms: u32,
    /// Whether it worked.
    pub worked: bool,
    /// Why not, or what was noticed.
    pub note: String,
}

/// How much is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyncFigures {
    /// Changes of chosen scopes that wait to be sent.
    pub queue: u64,
    /// Conflicts that wait for a person.
    pub conflicts: u64,
    /// Changes that the gateway refused and that lie aside.
    pub refused: u64,
}

/// A change that the gateway could not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedChange {
    /// The change.
    pub change: ChangeId,
    /// Its record.
    pub record: RecordId,
    /// What it was.
    pub what: Change,
    /// Why, in words.
    pub reason: String,
    /// When that was learnt, in milliseconds since 1970.
    pub at_ms: i64,
}

/// Changes of chosen scopes that wait.
pub(super) fn queue(connection: &Connection) -> Result<u64> {
    let chosen = scopes::cursors(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT r.kind, r.scope, count(*) FROM outbox o JOIN records r ON r.id = o.record GROUP BY r.kind, r.scope",
    )?;
    let mut rows = statement.query([])?;
    let mut queue = 0;
    while let Some(row) = rows.next()? {
        let kind = kind_of(row.get(0)?);
        let project = if kind == Some(Kind::Project) { None } else { id_or_none(row, 1)? };
        if kind.is_some() && chosen.contains_key(&project.into()) {
            queue += row.get::<_, u64>(2)?;
        }
    }
    Ok(queue)
}

impl Store {
    /// Writes a line into the log, which keeps the last 500.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn sync_log_add(&self, entry: LogEntry) -> Result<()> {
        self.write(Lane::Sync, move |desk| {
            let mut end = entry.note.len().min(NOTE);
            while !entry.note.is_char_boundary(end) {
                end -= 1;
            }
            let note = entry.note.get(..end).unwrap_or_default();
            desk.connection
                .prepare_cached(
                    "INSERT INTO sync_log (at, up, down, took_ms, worked, note) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![entry.at_ms, entry.up, entry.down, entry.took_ms, entry.worked, note])?;
            let last = desk.connection.last_insert_rowid();
            desk.connection
                .prepare_cached("DELETE FROM sync_log WHERE id <= ?1")?
                .execute([last.saturating_sub(LINES)])?;
            Ok(())
        })
        .await
    }

    /// The last rounds, newest first; at most 200.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sync_log(&self, limit: u16) -> Result<Vec<LogEntry>> {
        self.ask(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT at, up, down, took_ms, worked, note FROM sync_log ORDER BY id DESC LIMIT ?1",
            )?;
            let rows = statement.query_map([limit.min(PAGE)], |row| {
                Ok(LogEntry {
                    at_ms: row.get(0)?,
                    up: row.get(1)?,
                    down: row.get(2)?,
                    took_ms: row.get(3)?,
                    worked: row.get(4)?,
                    note: row.get(5)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// What is left to do.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn sync_figures(&self) -> Result<SyncFigures> {
        self.ask(|connection| {
            let count = |sql: &'static str| -> Result<u64> {
                Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
            };
            Ok(SyncFigures {
                queue: queue(connection)?,
                conflicts: count("SELECT count(*) FROM conflicts WHERE settled_at IS NULL")?,
                refused: count("SELECT count(*) FROM refused")?,
            })
        })
        .await
    }

    /// Changes that the gateway refused, at most 200. For keepers.
    ///
    /// # Errors
    /// [`crate::StoreError::Forbidden`] for everybody else.
    pub async fn sync_refused(&self, viewer: &Viewer) -> Result<Vec<RefusedChange>> {
        super::facts::keepers(viewer)?;
        self.ask(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT change, record, body, reason, at FROM refused ORDER BY at DESC LIMIT ?1",
            )?;
            let mut rows = statement.query([PAGE])?;
            let mut refused = Vec::new();
            while let Some(row) = rows.next()? {
                refused.push(RefusedChange {
                    change: ChangeId::from_bytes(row.get(0)?),
                    record: id(row, 1)?,
                    what: from_json(&row.get::<_, String>(2)?)?,
                    reason: row.get(3)?,
                    at_ms: row.get(4)?,
                });
            }
            Ok(refused)
        })
        .await
    }
}
