//! Searching: by words and by meaning, in one snapshot with the permissions.

use std::collections::HashMap;

use cairn_sync::{Kind, RecordId};
use rusqlite::{Connection, OptionalExtension, named_params};

use super::{
    candidates::{Candidates, MAX_SCORED, Ranked},
    types::{Location, PassageId, Scored, StoredPassage},
    vectors::{Quantized, Vectors},
    words::Words,
};
use crate::{
    error::{Result, StoreError},
    records::{
        access::{Eyes, read_rule},
        codec::id,
    },
    store::Store,
    viewer::Viewer,
};

/// Most hits of one search, and most passages fetched at once.
pub const MAX_HITS: usize = 200;
/// How much more a passage counts that holds every word.
const EVERY_WORD: f32 = 1.25;
/// Candidates by meaning that are put in order at first, for each hit wanted.
const CANDIDATES: usize = 8;

/// Says for each passage whether `viewer` may read its document and whether the passage is from the file that the
/// document has now; asks the database once a document.
struct Gate<'a> {
    connection: &'a Connection,
    eyes: Eyes,
    /// The current file of each document that may be read.
    files: HashMap<RecordId, Option<String>>,
    sql: String,
}

impl<'a> Gate<'a> {
    fn new(connection: &'a Connection, viewer: &Viewer) -> Result<Self> {
        let eyes = Eyes::of(connection, viewer)?;
        let sql = format!(
            "SELECT f.value FROM records r JOIN fields f ON f.record = r.id AND f.name = 'file' \
             WHERE r.id = :id AND r.deleted = 0 AND ({})",
            read_rule(Kind::Document)
        );
        Ok(Self { connection, eyes, files: HashMap::new(), sql })
    }

    /// The document of a passage that is searched and may be read.
    fn document(&mut self, passage: i64) -> Result<Option<RecordId>> {
        let sql = "SELECT u.document, u.blob FROM idx.passages p JOIN idx.runs u ON u.id = p.run \
                   WHERE p.id = ?1 AND u.state = 1";
        let found = self
            .connection
            .prepare_cached(sql)?
            .query_row([passage], |row| Ok((id(row, 0)?, row.get::<_, String>(1)?)))
            .optional()?;
        let Some((document, blob)) = found else { return Ok(None) };
        Ok((self.file(document)? == Some(blob.as_str())).then_some(document))
    }

    /// The file that a document has now; `None` when it may not be read.
    fn file(&mut self, document: RecordId) -> Result<Option<&str>> {
        if !self.files.contains_key(&document) {
            let file: Option<Option<String>> = self
                .connection
                .prepare_cached(&self.sql)?
                .query_row(
                    named_params! {":id": document.as_bytes(), ":viewer": self.eyes.viewer(), ":role": self.eyes.role},
                    |row| row.get(0),
                )
                .optional()?;
            self.files.insert(document, file.flatten());
        }
        Ok(self.files.get(&document).and_then(Option::as_deref))
    }
}

fn by_words(connection: &Connection, viewer: &Viewer, typed: &str, limit: usize) -> Result<Vec<Scored>> {
    let Some(words) = Words::of(typed) else { return Ok(Vec::new()) };
    let candidates = Candidates::of(connection, &words, MAX_SCORED)?;
    let mut gate = Gate::new(connection, viewer)?;
    let mut hits: Vec<Scored> = Vec::new();
    let mut take = |ranked: Vec<Ranked>, weight: f32| -> Result<bool> {
        let mut found = 0;
        for (passage, bm25) in ranked {
            let Some(document) = gate.document(passage)? else { continue };
            found += 1;
            let passage = PassageId(passage);
            if !hits.iter().any(|hit| hit.passage == passage) {
                #[allow(clippy::cast_possible_truncation)] // a score, not an identity
                hits.push(Scored { passage, document, score: -bm25 as f32 * weight });
            }
            if found >= limit {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let enough = match candidates.every(connection)? {
        Some(every) => take(every, EVERY_WORD)?,
        None => false,
    };
    if !enough {
        take(candidates.any(connection, limit)?, 1.0)?;
    }
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.passage.cmp(&b.passage)));
    hits.truncate(limit);
    Ok(hits)
}

fn by_meaning(
    connection: &Connection,
    vectors: &Vectors,
    viewer: &Viewer,
    query: &Quantized,
    limit: usize,
) -> Result<Vec<Scored>> {
    let mut gate = Gate::new(connection, viewer)?;
    let mut candidates = vectors.scan(query);
    let best = |a: &(f32, i64), b: &(f32, i64)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let mut hits = Vec::with_capacity(limit);
    let first = limit * CANDIDATES;
    if candidates.len() > first {
        candidates.select_nth_unstable_by(first, best);
    }
    let split = first.min(candidates.len());
    let (near, far) = candidates.split_at_mut(split);
    near.sort_unstable_by(best);
    let mut take = |ordered: &[(f32, i64)], hits: &mut Vec<Scored>| -> Result<()> {
        for (score, passage) in ordered {
            if hits.len() >= limit {
                break;
            }
            if let Some(document) = gate.document(*passage)? {
                hits.push(Scored { passage: PassageId(*passage), document, score: *score });
            }
        }
        Ok(())
    };
    take(near, &mut hits)?;
    if hits.len() < limit && !far.is_empty() {
        // Most of the nearest may not be read by this viewer.
        far.sort_unstable_by(best);
        take(far, &mut hits)?;
    }
    Ok(hits)
}

const PASSAGE: &str = "SELECT p.id, u.document, u.title, p.heading, p.body, p.ordinal, p.location, u.blob \
                       FROM idx.passages p JOIN idx.runs u ON u.id = p.run WHERE u.state = 1";

/// A passage and the file it is from.
fn stored(row: &rusqlite::Row<'_>) -> rusqlite::Result<(StoredPassage, String)> {
    let location: String = row.get(6)?;
    let passage = StoredPassage {
        id: PassageId(row.get(0)?),
        document: id(row, 1)?,
        title: row.get(2)?,
        heading: row.get(3)?,
        text: row.get(4)?,
        ordinal: row.get(5)?,
        location: serde_json::from_str::<Location>(&location).unwrap_or_default(),
    };
    Ok((passage, row.get(7)?))
}

impl Store {
    /// Passages by words (BM25): any of them counts, passages with all of them count more, the last word may be
    /// unfinished, accents and case do not matter. Best first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn search_text(&self, viewer: &Viewer, query: &str, limit: usize) -> Result<Vec<Scored>> {
        let (viewer, query) = (viewer.clone(), query.to_owned());
        let limit = limit.min(MAX_HITS);
        self.ask(move |connection| by_words(connection, &viewer, &query, limit)).await
    }

    /// Passages by meaning: cosine similarity to an embedding of length 1. Best first.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for another number of dimensions.
    pub async fn search_vector(&self, viewer: &Viewer, query: &[f32], limit: usize) -> Result<Vec<Scored>> {
        let (viewer, query, vectors) = (viewer.clone(), Quantized::of(query)?, self.inner.vectors.clone());
        let limit = limit.min(MAX_HITS);
        self.ask(move |connection| by_meaning(connection, &vectors, &viewer, &query, limit)).await
    }

    /// At most [`MAX_HITS`] passages, in the order asked; those that are gone or may not be read are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn passages(&self, viewer: &Viewer, ids: &[PassageId]) -> Result<Vec<StoredPassage>> {
        if ids.len() > MAX_HITS {
            return Err(StoreError::invalid(format!("At most {MAX_HITS} passages at once.")));
        }
        let (viewer, ids) = (viewer.clone(), ids.to_vec());
        self.ask(move |connection| {
            let mut gate = Gate::new(connection, &viewer)?;
            let mut found = Vec::with_capacity(ids.len());
            let sql = format!("{PASSAGE} AND p.id = ?1");
            for passage in ids {
                let one = connection.prepare_cached(&sql)?.query_row([passage.0], stored).optional()?;
                if let Some((one, blob)) = one
                    && gate.file(one.document)? == Some(blob.as_str())
                {
                    found.push(one);
                }
            }
            Ok(found)
        })
        .await
    }

    /// The passages of a document in order, from the one after `after`.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the document may not be read.
    pub async fn passages_of(
        &self,
        viewer: &Viewer,
        document: RecordId,
        after: Option<u32>,
        limit: usize,
    ) -> Result<Vec<StoredPassage>> {
        let viewer = viewer.clone();
        let limit = limit.min(MAX_HITS);
        self.ask(move |connection| {
            let mut gate = Gate::new(connection, &viewer)?;
            let file = gate.file(document)?.ok_or(StoreError::NotFound("document"))?;
            let sql = format!(
                "{PASSAGE} AND u.document = ?1 AND p.ordinal > ?2 AND u.blob = ?4 ORDER BY p.ordinal LIMIT ?3"
            );
            let after = after.map_or(-1, i64::from);
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map((document.as_bytes(), after, limit, file), stored)?;
            Ok(rows.map(|row| row.map(|(passage, _)| passage)).collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}
