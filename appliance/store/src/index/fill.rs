//! Filling the index: what is missing is found by comparing, never kept in a queue that could be lost.

use cairn_sync::{BlobId, Kind, RecordId};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    types::{DocumentIndex, IndexProgress, Passage, PassageId, PendingDocument},
    vectors::Quantized,
};
use crate::{
    error::{Result, StoreError},
    records::{
        access::Eyes,
        codec::{id, kind_code},
        head::Head,
        write::find_for,
    },
    store::Store,
    viewer::{Action, Viewer},
};

/// Most passages of one document.
pub const MAX_PASSAGES: usize = 500_000;
/// Longest text of one passage with its heading, in bytes.
pub const MAX_PASSAGE: usize = 16 * 1024;
/// Passages written in one transaction: about 10 ms, so that a person's write never waits longer for one.
const SLICE: usize = 128;
/// Longest reason why a document could not be read, in bytes.
const MAX_REASON: usize = 500;
/// Most documents or passages given out at once.
const MAX_PENDING: usize = 1024;

impl Store {
    /// Replaces a document's passages. Searches find the old ones until the last new one is there, then only the new
    /// ones.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the document is gone or has another file by now; [`StoreError::Invalid`] past a
    /// limit.
    pub async fn put_passages(
        &self,
        document: RecordId,
        blob: BlobId,
        extractor_version: u32,
        passages: Vec<Passage>,
    ) -> Result<()> {
        if passages.len() > MAX_PASSAGES {
            return Err(StoreError::invalid(format!("The document has more than {MAX_PASSAGES} passages.")));
        }
        if passages.iter().any(|one| one.text.len() + one.heading.len() > MAX_PASSAGE) {
            return Err(StoreError::invalid(format!("A passage is longer than {MAX_PASSAGE} bytes.")));
        }
        if passages.windows(2).any(|pair| matches!(pair, [one, next] if one.ordinal >= next.ordinal)) {
            return Err(StoreError::invalid("Passages come in order, each with a number of its own."));
        }
        let title = self.ask(move |connection| title_of(connection, document, blob)).await?;
        let shown = title.clone();
        let run = self
            .inner
            .writer
            .write_index(move |index| {
                let sql =
                    "INSERT INTO runs (document, blob, extractor, state, title) VALUES (?1, ?2, ?3, 0, ?4)";
                index
                    .execute(sql, params![document.as_bytes(), blob.to_string(), extractor_version, shown])?;
                Ok(index.last_insert_rowid())
            })
            .await?;
        let mut passages = passages.into_iter();
        let mut count = 0_u64;
        loop {
            let slice: Vec<Passage> = passages.by_ref().take(SLICE).collect();
            if slice.is_empty() {
                break;
            }
            count += slice.len() as u64;
            let title = title.clone();
            self.inner.writer.write_index(move |index| add_slice(index, run, &title, &slice)).await?;
        }
        self.inner.writer.write_index(move |index| make_current(index, run, document, 1, "", count)).await?;
        self.remove_waste().await
    }

    /// Notes that a document's file could not be read, and why, in words for people.
    ///
    /// # Errors
    /// As [`Store::put_passages`].
    pub async fn mark_failed(
        &self,
        document: RecordId,
        blob: BlobId,
        extractor_version: u32,
        reason: &str,
    ) -> Result<()> {
        let title = self.ask(move |connection| title_of(connection, document, blob)).await?;
        let mut reason = reason.to_owned();
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        self.inner
            .writer
            .write_index(move |index| {
                let sql =
                    "INSERT INTO runs (document, blob, extractor, state, title) VALUES (?1, ?2, ?3, 0, ?4)";
                index
                    .execute(sql, params![document.as_bytes(), blob.to_string(), extractor_version, title])?;
                let run = index.last_insert_rowid();
                make_current(index, run, document, 2, &reason, 0)
            })
            .await?;
        self.remove_waste().await
    }

    /// Documents whose file, as they have it now, was not read by this version of the extractor.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_documents(
        &self,
        extractor_version: u32,
        limit: usize,
    ) -> Result<Vec<PendingDocument>> {
        let limit = limit.min(MAX_PENDING);
        self.ask(move |connection| {
            let sql = "SELECT l.record FROM lookup l LEFT JOIN idx.runs u \
                       ON u.document = l.record AND u.state IN (1, 2) AND u.blob = l.value AND u.extractor >= ?1 \
                       WHERE l.kind = ?2 AND l.name = 'file' AND u.id IS NULL LIMIT ?3";
            let mut statement = connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![extractor_version, kind_code(Kind::Document), limit])?;
            let mut pending = Vec::new();
            while let Some(row) = rows.next()? {
                let Some(head) = Head::find(connection, id(row, 0)?)? else { continue };
                let record = head.load(connection)?;
                let Ok(blob) = record.text("file").parse() else { continue };
                let text = |field: &str| record.text(field).to_owned();
                pending.push(PendingDocument {
                    document: record.id,
                    blob,
                    title: text("title"),
                    file_name: text("file_name"),
                    media_type: text("media_type"),
                    size: u64::try_from(record.int("size").unwrap_or(0)).unwrap_or(0),
                });
            }
            Ok(pending)
        })
        .await
    }

    /// What became of one document in the index.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it may not be read.
    pub async fn document_index(&self, viewer: &Viewer, document: RecordId) -> Result<DocumentIndex> {
        let viewer = viewer.clone();
        self.ask(move |connection| {
            let eyes = Eyes::of(connection, &viewer)?;
            let record = find_for(connection, eyes, document, Action::Read)?.load(connection)?;
            let sql = "SELECT id, state, reason, passages FROM idx.runs \
                       WHERE document = ?1 AND state IN (1, 2) AND blob = ?2";
            let found = connection
                .prepare_cached(sql)?
                .query_row(params![document.as_bytes(), record.text("file")], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, i64>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, u64>(3)?,
                    ))
                })
                .optional()?;
            let Some((run, state, reason, passages)) = found else { return Ok(DocumentIndex::Pending) };
            if state == 2 {
                return Ok(DocumentIndex::Failed { reason });
            }
            let sql = "SELECT count(*) FROM idx.passages WHERE run = ?1 AND embedded = 1";
            let embedded = connection.prepare_cached(sql)?.query_row([run], |row| row.get(0))?;
            Ok(DocumentIndex::Indexed { passages, embedded })
        })
        .await
    }

    /// Passages that have no embedding yet, with the text to embed: heading and body.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pending_embeddings(&self, limit: usize) -> Result<Vec<(PassageId, String)>> {
        let limit = limit.min(MAX_PENDING);
        self.ask(move |connection| {
            let sql = "SELECT p.id, p.heading, p.body FROM idx.passages p INDEXED BY passages_bare \
                       JOIN idx.runs u ON u.id = p.run WHERE p.embedded = 0 AND u.state = 1 ORDER BY p.id LIMIT ?1";
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([limit], |row| {
                let (heading, body): (String, String) = (row.get(1)?, row.get(2)?);
                let text = if heading.is_empty() { body } else { format!("{heading}\n{body}") };
                Ok((PassageId(row.get(0)?), text))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Keeps embeddings (cosine, length 1). Those of passages that are gone meanwhile are dropped.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for another number of dimensions; nothing is kept then.
    pub async fn put_embeddings(&self, embeddings: Vec<(PassageId, Vec<f32>)>) -> Result<()> {
        let quantized = embeddings
            .iter()
            .map(|(passage, vector)| Ok((passage.0, Quantized::of(vector)?)))
            .collect::<Result<Vec<_>>>()?;
        for slice in quantized.chunks(SLICE) {
            let (slice, vectors) = (slice.to_vec(), self.inner.vectors.clone());
            self.inner
                .writer
                .write_index(move |index| {
                    let transaction = index.transaction()?;
                    let mut kept = Vec::with_capacity(slice.len());
                    for (passage, embedding) in &slice {
                        let sql = "UPDATE passages SET embedded = 1 WHERE id = ?1";
                        if transaction.prepare_cached(sql)?.execute([passage])? == 1 {
                            transaction
                                .prepare_cached("INSERT OR REPLACE INTO embeddings VALUES (?1, ?2, ?3)")?
                                .execute(params![
                                    passage,
                                    f64::from(embedding.scale),
                                    embedding.to_bytes()
                                ])?;
                            kept.push((passage, embedding));
                        }
                    }
                    transaction.commit()?;
                    kept.into_iter().for_each(|(passage, embedding)| vectors.put(*passage, embedding));
                    Ok(())
                })
                .await?;
        }
        Ok(())
    }

    /// How far the index is.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn index_progress(&self) -> Result<IndexProgress> {
        let embedded = self.inner.vectors.len() as u64;
        self.ask(move |connection| {
            let sql = "SELECT count(*), count(iif(u.state = 1, 1, NULL)), count(iif(u.state = 2, 1, NULL)), \
                       coalesce(sum(iif(u.state = 1, u.passages, 0)), 0) FROM lookup l LEFT JOIN idx.runs u \
                       ON u.document = l.record AND u.state IN (1, 2) AND u.blob = l.value \
                       WHERE l.kind = ?1 AND l.name = 'file'";
            Ok(connection.prepare_cached(sql)?.query_row([kind_code(Kind::Document)], |row| {
                let passages: u64 = row.get(3)?;
                Ok(IndexProgress {
                    documents: row.get(0)?,
                    indexed: row.get(1)?,
                    failed: row.get(2)?,
                    passages,
                    embedded: embedded.min(passages),
                })
            })?)
        })
        .await
    }
}

/// The title of a document that still has this file.
fn title_of(connection: &Connection, document: RecordId, blob: BlobId) -> Result<String> {
    let head = Head::find(connection, document)?
        .filter(|head| head.kind == Kind::Document && !head.deleted)
        .ok_or(StoreError::NotFound("document"))?;
    let record = head.load(connection)?;
    if record.text("file") == blob.to_string() {
        Ok(record.text("title").to_owned())
    } else {
        Err(StoreError::NotFound("document with this file"))
    }
}

fn add_slice(index: &mut Connection, run: i64, title: &str, slice: &[Passage]) -> Result<()> {
    let transaction = index.transaction()?;
    for passage in slice {
        let location = serde_json::to_string(&passage.location)
            .map_err(|error| StoreError::invalid(error.to_string()))?;
        transaction
            .prepare_cached(
                "INSERT INTO passages (run, ordinal, heading, body, location) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![run, passage.ordinal, passage.heading, passage.text, location])?;
        let rowid = transaction.last_insert_rowid();
        transaction
            .prepare_cached("INSERT INTO words (rowid, title, heading, body) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![rowid, title, passage.heading, passage.text])?;
    }
    transaction.commit()?;
    Ok(())
}

/// Makes `run` what searches see of the document, and whatever they saw before waste.
fn make_current(
    index: &mut Connection,
    run: i64,
    document: RecordId,
    state: i64,
    reason: &str,
    passages: u64,
) -> Result<()> {
    let transaction = index.transaction()?;
    transaction.execute(
        "UPDATE runs SET state = 3 WHERE document = ?1 AND state IN (1, 2)",
        [document.as_bytes()],
    )?;
    let sql = "UPDATE runs SET state = ?2, reason = ?3, passages = ?4 WHERE id = ?1";
    transaction.execute(sql, params![run, state, reason, passages])?;
    transaction.commit()?;
    Ok(())
}
