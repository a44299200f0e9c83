//! Opens `index.db`, or makes it anew.

use std::path::Path;

use rusqlite::Connection;

use super::vectors::Vectors;
use crate::{
    db::{self, Durability},
    error::{Result, StoreError},
    schema,
};

/// The schema of `index.db`. Any other is thrown away.
pub(crate) const INDEX_SCHEMA: u32 = 1;
/// Says that a SQLite file is our index: "CRNx".
const APPLICATION_ID: i32 = 0x4352_4e78;

const SCHEMA: &str = include_str!("../migrations/index.sql");

/// Why an index had to be made anew.
#[derive(Debug)]
pub(crate) enum Anew {
    /// There was none.
    Missing,
    /// Another release made it.
    OtherSchema,
    /// It was damaged, in SQLite's words.
    Damaged(String),
}

/// Opens the index. `Err` of the inner result says why there is none that can be used; the file is untouched then.
pub(crate) fn open(path: &Path) -> Result<std::result::Result<Connection, Anew>> {
    if !path.exists() {
        return Ok(Err(Anew::Missing));
    }
    let opened = (|| -> Result<std::result::Result<Connection, Anew>> {
        let connection = db::open_writer(path, Durability::Rebuildable)?;
        let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if id != APPLICATION_ID {
            return Ok(Err(Anew::Damaged("it does not say that it is an index".to_owned())));
        }
        if version != INDEX_SCHEMA {
            return Ok(Err(Anew::OtherSchema));
        }
        if let Some(damage) = schema::quick_check(&connection)? {
            return Ok(Err(Anew::Damaged(damage)));
        }
        // The full-text index has a check of its own.
        connection.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 0)", [])?;
        Ok(Ok(connection))
    })();
    match opened {
        Err(error) if error.is_damage() => Ok(Err(Anew::Damaged(error.to_string()))),
        other => other,
    }
}

/// Makes an empty index where there is none.
pub(crate) fn create(path: &Path) -> Result<Connection> {
    let mut connection = db::open_writer(path, Durability::Rebuildable)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", INDEX_SCHEMA)?;
    transaction.commit()?;
    Ok(connection)
}

/// Reads every embedding of a searched run into memory.
pub(crate) fn load_vectors(connection: &Connection) -> Result<Vectors> {
    let vectors = Vectors::default();
    let sql = "SELECT e.passage, e.scale, e.vector FROM embeddings e JOIN passages p ON p.id = e.passage \
               JOIN runs u ON u.id = p.run WHERE u.state = 1";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        #[allow(clippy::cast_possible_truncation)] // written as f32
        let scale = row.get::<_, f64>(1)? as f32;
        let bytes = row.get_ref(2)?.as_blob().map_err(|error| StoreError::Corrupt(error.to_string()))?;
        vectors.put_stored(row.get(0)?, scale, bytes);
    }
    Ok(vectors)
}
