//! Connections to SQLite: how they are set up, who may write, who reads, and how long a statement may take.

pub(crate) mod deadline;
pub(crate) mod readers;
pub(crate) mod writer;

use std::{path::Path, sync::Mutex, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig, limits::Limit};

use crate::error::{Result, StoreError};

/// How long SQLite itself waits for a lock. Only the writer writes, so that only a backup tool from outside or a
/// checkpoint can hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Page cache of one connection, in KiB.
const CACHE_KIB: i32 = 2048;
/// Prepared statements kept by one connection.
const STATEMENTS: usize = 128;
/// The write-ahead log is cut back to this size after a checkpoint, in bytes.
const WAL_KEPT: i64 = 4 << 20;

/// How safe a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// On the disk when the commit returns: what a person was told is saved.
    Full,
    /// Whole after a power cut, though the last commits may be missing: what can be made again.
    Rebuildable,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Opens for writing; the file is made where it is missing.
pub(crate) fn open_writer(path: &Path, durability: Durability) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    common(&connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Corrupt(format!("no write-ahead log, but {mode:?}")));
    }
    connection.pragma_update(None, "journal_size_limit", WAL_KEPT)?;
    match durability {
        Durability::Full => connection.pragma_update(None, "synchronous", "FULL")?,
        Durability::Rebuildable => connection.pragma_update(None, "synchronous", "NORMAL")?,
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// Opens for reading only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    common(&connection)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn common(connection: &Connection) -> Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    // One value of the database may be as large as the largest field with room for its encoding, no larger.
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 64 << 20)?;
    Ok(())
}

/// Size of a database's write-ahead log in bytes.
pub(crate) fn wal_bytes(database: &Path) -> u64 {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).map_or(0, |meta| meta.len())
}
