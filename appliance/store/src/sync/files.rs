//! Files that documents name and that are not here: records travel first, small files by themselves, large ones when somebody
//! asks for them.

use std::fs::File;

use cairn_sync::{BlobId, Kind, RecordId, http::MAX_WANTED};
use rusqlite::{Connection, OptionalExtension, params};

use super::facts::{self, Fact};
use crate::{
    db::writer::Lane,
    error::{Result, StoreError},
    files::{Files, is_named},
    records::{access::Eyes, codec::kind_code, write::find_for},
    schema,
    store::Store,
    viewer::{Action, Viewer},
};

/// Documents that are looked at, the last changed first.
const LOOKED_AT: i64 = 2_000;

/// How a document's file stands on this hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileState {
    /// It is here.
    Here,
    /// It is not.
    Elsewhere {
        /// Its size in bytes, as the document says.
        size: u64,
        /// How much of it has come.
        came: u64,
        /// Whether somebody asked for it.
        wanted: bool,
    },
}

/// A document's file, as it names it.
struct Named {
    blob: BlobId,
    size: u64,
}

fn named(connection: &Connection, eyes: Eyes, document: RecordId) -> Result<Named> {
    let head = find_for(connection, eyes, document, Action::Read)?;
    if head.kind != Kind::Document {
        return Err(StoreError::NotFound("document"));
    }
    let record = head.load(connection)?;
    let blob = record.text("file").parse().map_err(|_| StoreError::BlobMissing)?;
    let size = record.int("size").and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
    Ok(Named { blob, size })
}

fn wanted(connection: &Connection) -> Result<Vec<BlobId>> {
    Ok(facts::read(connection, Fact::WantedFiles)?.unwrap_or_default())
}

fn state(connection: &Connection, files: &Files, named: &Named) -> Result<FileState> {
    if files.size(&named.blob)?.is_some() {
        return Ok(FileState::Here);
    }
    let wanted = wanted(connection)?.contains(&named.blob);
    Ok(FileState::Elsewhere { size: named.size, came: files.came(&named.blob), wanted })
}

impl Store {
    /// How a document's file stands here.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] also when the document may not be read.
    pub async fn file_state(&self, viewer: &Viewer, document: RecordId) -> Result<FileState> {
        let (viewer, files) = (viewer.clone(), self.inner.files.clone());
        self.ask(move |connection| {
            let eyes = Eyes::of(connection, &viewer)?;
            let named = named(connection, eyes, document)?;
            state(connection, &files, &named)
        })
        .await
    }

    /// Somebody asks for a document's file that is not here. It is remembered until the file has come.
    ///
    /// # Errors
    /// [`StoreError::SignInNeeded`]; [`StoreError::NotFound`] also when the document may not be read; [`StoreError::Invalid`]
    /// when too many files are waited for already.
    pub async fn want_file(&self, viewer: &Viewer, document: RecordId) -> Result<FileState> {
        if !(viewer.is_signed_in() || viewer.is_system()) {
            return Err(StoreError::SignInNeeded("ask for files"));
        }
        let viewer = viewer.clone();
        self.write(Lane::Person, move |desk| {
            let eyes = Eyes::of(desk.connection, &viewer)?;
            let named = named(desk.connection, eyes, document)?;
            if desk.files.size(&named.blob)?.is_some() {
                return Ok(FileState::Here);
            }
            let mut all = wanted(desk.connection)?;
            if !all.contains(&named.blob) {
                // Those that have come, or that no document names any more, are not waited for.
                all.retain(|blob| {
                    desk.files.size(blob).is_ok_and(|size| size.is_none())
                        && is_named(desk.connection, blob).unwrap_or(true)
                });
                if all.len() >= MAX_WANTED {
                    let text =
                        format!("this hub waits for {MAX_WANTED} files already; let some of them come first");
                    return Err(StoreError::Invalid(text));
                }
                all.push(named.blob);
                schema::set_fact(desk.connection, Fact::WantedFiles.name(), super::to_json(&all)?)?;
            }
            state(desk.connection, desk.files, &named)
        })
        .await
    }

    /// Files of synchronised documents that are not here and that are to be fetched: those of up to `largest` bytes, and
    /// those that somebody asked for. Of the last changed documents first, at most `limit`, with their sizes, the smallest first.
    ///
    /// # Errors
    /// When the database or the folder cannot be read.
    pub async fn sync_missing_files(&self, largest: u64, limit: usize) -> Result<Vec<(BlobId, u64)>> {
        let files = self.inner.files.clone();
        self.ask(move |connection| {
            let wanted = wanted(connection)?;
            let mut statement = connection.prepare_cached(
                "SELECT f.value, s.value FROM (SELECT id FROM records WHERE kind = ?1 AND deleted = 0 AND \
                 gateway_version IS NOT NULL ORDER BY changed_hlc DESC LIMIT ?2) r \
                 JOIN fields f ON f.record = r.id AND f.name = 'file' JOIN fields s ON s.record = r.id AND s.name = 'size'",
            )?;
            let mut rows = statement.query(params![kind_code(Kind::Document), LOOKED_AT])?;
            let mut missing: Vec<(BlobId, u64)> = Vec::new();
            while let Some(row) = rows.next()? {
                let (blob, size): (Option<String>, Option<u64>) = (row.get(0)?, row.get(1)?);
                let Some((Ok(blob), size)) = blob.map(|blob| blob.parse::<BlobId>()).zip(size) else { continue };
                let is_known = missing.iter().any(|(known, _)| *known == blob);
                if (size <= largest || wanted.contains(&blob)) && !is_known && files.size(&blob)?.is_none() {
                    missing.push((blob, size));
                }
                if missing.len() >= limit {
                    break;
                }
            }
            missing.sort_by_key(|(_, size)| *size);
            Ok(missing)
        })
        .await
    }

    /// Of these files, one that is here and that a document names which the gateway has: the file and its size.
    ///
    /// # Errors
    /// When the database or the folder cannot be read.
    pub async fn sync_file_to_send(&self, blob: BlobId) -> Result<Option<(File, u64)>> {
        let files = self.inner.files.clone();
        self.ask(move |connection| {
            let confirmed = connection
                .prepare_cached(
                    "SELECT 1 FROM lookup l JOIN records r ON r.id = l.record WHERE l.kind = ?1 AND l.name = 'file' AND \
                     l.value = ?2 AND r.gateway_version IS NOT NULL LIMIT 1",
                )?
                .query_row(params![kind_code(Kind::Document), blob.to_string()], |_| Ok(()))
                .optional()?;
            let Some(size) = files.size(&blob)?.filter(|_| confirmed.is_some()) else { return Ok(None) };
            Ok(Some((files.open_blob(&blob)?, size)))
        })
        .await
    }
}
