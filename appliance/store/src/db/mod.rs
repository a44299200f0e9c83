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
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
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
    // A plan never depends on the values bound, else SQLite prepares a statement anew whenever one that could matter
    // changes: a fifth of a search's time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
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

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use super::*;
    use crate::{OpenOptions, Store};

    const ENDLESS: &str =
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";

    #[tokio::test]
    async fn a_question_that_takes_too_long_is_interrupted_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let question_limit = Duration::from_millis(100);
        let options = OpenOptions { question_limit, readers: 1, upkeep: false, ..OpenOptions::default() };
        let (store, _) = Store::open(dir.path(), options).unwrap();
        let began = Instant::now();
        let endless =
            store.ask(|connection| Ok(connection.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))?)).await;
        assert!(matches!(endless, Err(StoreError::Busy)));
        assert!(began.elapsed() < Duration::from_secs(10));
        let health = store.health().await;
        assert_eq!(health.slow_statements, 1);
        assert!(health.database_connected, "the connection goes on serving");
    }

    /// A write that goes on until it is told to end, once it has begun.
    async fn held_up(store: &Store) -> (tokio::task::JoinHandle<Result<bool>>, std::sync::mpsc::Sender<()>) {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (begun, beginning) = tokio::sync::oneshot::channel::<()>();
        let store = store.clone();
        let write = tokio::spawn(async move {
            let work = move |_: &mut writer::Desk<'_>| {
                begun.send(()).unwrap();
                Ok(held.recv_timeout(Duration::from_secs(20)).is_ok())
            };
            store.write(writer::Lane::Sync, work).await
        });
        beginning.await.unwrap();
        (write, hold)
    }

    #[tokio::test]
    async fn a_person_goes_before_synchronisation_and_that_before_indexing() {
        use crate::db::writer::Lane;
        let dir = tempfile::tempdir().unwrap();
        let (store, _) =
            Store::open(dir.path(), OpenOptions { upkeep: false, ..OpenOptions::default() }).unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (first, hold) = held_up(&store).await;
        let mut waiting = Vec::new();
        for (name, lane) in [("index", Lane::Index), ("sync", Lane::Sync), ("person", Lane::Person)] {
            let (store, order) = (store.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let work = move |_: &mut writer::Desk<'_>| {
                    lock(&order).push(name);
                    Ok(())
                };
                store.write(lane, work).await
            }));
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while store.inner.writer.queued() != [1, 1, 1] {
            assert!(Instant::now() < deadline, "{:?}", store.inner.writer.queued());
            tokio::task::yield_now().await;
        }
        hold.send(()).unwrap();
        assert!(first.await.unwrap().unwrap());
        for one in waiting {
            one.await.unwrap().unwrap();
        }
        assert_eq!(*lock(&order), ["person", "sync", "index"]);
    }

    #[tokio::test]
    async fn waiting_writes_share_a_transaction_and_each_can_fail_alone() {
        use crate::db::writer::Lane;
        let dir = tempfile::tempdir().unwrap();
        let (store, _) =
            Store::open(dir.path(), OpenOptions { upkeep: false, ..OpenOptions::default() }).unwrap();
        let (first, hold) = held_up(&store).await;
        let mut writes = Vec::new();
        for number in 0..8 {
            let store = store.clone();
            writes.push(tokio::spawn(async move {
                store
                    .write(Lane::Person, move |desk| {
                        crate::schema::set_fact(desk.connection, &format!("f{number}"), number)?;
                        if number == 3 { Err(StoreError::invalid("no")) } else { Ok(()) }
                    })
                    .await
            }));
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while store.inner.writer.queued()[0] != 8 {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
        let commits = || wal_bytes(&dir.path().join("records.db"));
        let before = commits();
        hold.send(()).unwrap();
        first.await.unwrap().unwrap();
        let mut failed = 0;
        for write in writes {
            failed += usize::from(write.await.unwrap().is_err());
        }
        assert_eq!(failed, 1);
        let kept: i64 = store
            .ask(|connection| {
                Ok(connection
                    .query_row("SELECT count(*) FROM hub WHERE name GLOB 'f[0-9]'", [], |row| row.get(0))?)
            })
            .await
            .unwrap();
        assert_eq!(kept, 7);
        // One commit writes the page once; seven would have written it seven times.
        assert!(commits() - before < 5 * 4120, "{} bytes for one group", commits() - before);
    }
}
