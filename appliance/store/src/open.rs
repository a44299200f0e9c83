//! Opening a hub's folder: what is checked, what is repaired, and what people are told.

mod records;
mod report;

pub use report::{Finding, OpenReport, Severity};

use std::{
    fs::{self, File, TryLockError},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_sync::{Hlc, HubId};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::broadcast;

use crate::{
    accounts::claim::ClaimGuard,
    aside,
    backup::staged,
    clock::{Checkpoint, Clocks, LifeClock, SystemClocks},
    db::{
        self,
        deadline::Watch,
        readers::Readers,
        writer::{Writer, WriterStart},
    },
    durable::Disk,
    error::{Result, StoreError},
    files::Files,
    index::open::{self as index, Anew},
    schema,
    store::{EVENTS, Inner, Store},
    upkeep::Upkeep,
};

/// How a store is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// The claim code of a hub that nobody keeps yet, instead of a random one.
    pub claim_code: Option<String>,
    /// Threads that read.
    pub readers: usize,
    /// How long one question may take before it is interrupted.
    pub question_limit: Duration,
    /// Where time comes from.
    pub clocks: Arc<dyn Clocks>,
    /// Whether snapshots, garbage collection and tidying go on by themselves.
    pub upkeep: bool,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            claim_code: None,
            readers: 3,
            question_limit: Duration::from_secs(5),
            clocks: Arc::new(SystemClocks),
            upkeep: true,
        }
    }
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions")
            .field("readers", &self.readers)
            .field("question_limit", &self.question_limit)
            .field("upkeep", &self.upkeep)
            .finish_non_exhaustive()
    }
}

/// Most reading threads.
const MAX_READERS: usize = 16;

impl Store {
    /// Opens a hub's folder, making it where there is none. Blocks for as long as the checks take: about a second
    /// for 200 MB.
    ///
    /// # Errors
    /// [`StoreError::TooNew`] when a newer release made the data (it is left untouched), [`StoreError::InUse`],
    /// [`StoreError::ReadOnly`], [`StoreError::DiskFull`].
    pub fn open(dir: &Path, options: OpenOptions) -> Result<(Self, OpenReport)> {
        let disk = Disk::new();
        fs::create_dir_all(dir).map_err(|error| StoreError::io("making", dir, error))?;
        let lock = lock_dir(dir)?;
        let mut report = OpenReport::default();
        staged::finish(dir, &disk, &mut report)?;
        let mut records = records::open(dir, &disk, options.clocks.as_ref(), &mut report)?;
        report.schema_before = schema::migrate(&mut records)?;
        report.schema = schema::read(&records)?.schema;
        let hub = identity(&records)?;
        let index = open_index(dir, &disk, options.clocks.as_ref(), &mut report)?;
        Self::drop_unfinished(&index)?;
        let life = LifeClock::resume(options.clocks.clone(), last_checkpoint(&records)?.as_ref());
        let files = Files::open(&dir.join("blobs"), Arc::new(Disk::new()))?;
        let claim = ClaimGuard::prepare(dir, &records, options.claim_code.as_deref())?;
        let vectors = Arc::new(index::load_vectors(&index)?);
        let clock = last_change(&records)?;
        // What the migration wrote must not live in the log alone: an older release looks at the database itself first.
        records.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;

        let thread = |error| StoreError::io("starting a thread for", dir, error);
        let watch = Watch::start().map_err(thread)?;
        let readers = (0..options.readers.clamp(1, MAX_READERS))
            .map(|_| open_reader(dir))
            .collect::<Result<Vec<_>>>()?;
        let readers = Readers::start(readers, &watch.deadlines(), options.question_limit).map_err(thread)?;
        let (events, _) = broadcast::channel(EVENTS);
        let writer = Writer::start(WriterStart {
            dir: dir.to_owned(),
            records,
            index,
            hub,
            clock,
            life: life.clone(),
            files: files.clone(),
            events: events.clone(),
            deadlines: watch.deadlines(),
        })
        .map_err(thread)?;
        let inner = Inner {
            dir: dir.to_owned(),
            hub,
            life,
            files,
            vectors,
            claim,
            events,
            watch,
            readers,
            writer,
            upkeep: Upkeep::default(),
            _lock: lock,
        };
        let store = Self { inner: Arc::new(inner) };
        if options.upkeep {
            store.inner.upkeep.start(&store).map_err(thread)?;
        }
        Ok((store, report))
    }
}

/// How long a folder's lock is waited for. A process that was killed while it started a child lets go only when that
/// child has begun its own program; a hub that starts again meanwhile must not be refused.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How often it is tried.
const LOCK_STEP: Duration = Duration::from_millis(20);

pub(crate) fn lock_dir(dir: &Path) -> Result<File> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    lock(dir, || {
        std::thread::sleep(LOCK_STEP);
        Instant::now() < deadline
    })
}

/// Tries as long as `again` says.
fn lock(dir: &Path, mut again: impl FnMut() -> bool) -> Result<File> {
    let path = dir.join("lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| StoreError::io("locking", &path, error))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if again() => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(dir.display().to_string())),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("locking", &path, error)),
        }
    }
}

/// A connection that reads the records and, as `idx`, the index.
pub(crate) fn open_reader(dir: &Path) -> Result<Connection> {
    let connection = db::open_reader(&dir.join("records.db"))?;
    let index = dir.join("index.db");
    connection.execute("ATTACH ?1 AS idx", [index.to_string_lossy()])?;
    Ok(connection)
}

/// The hub's identity; a new one where there is none (yet, or since a restore).
fn identity(connection: &Connection) -> Result<HubId> {
    if let Some(bytes) = schema::fact::<[u8; 16]>(connection, "hub_id")? {
        return Ok(HubId::from_bytes(bytes));
    }
    let hub = HubId::new();
    schema::set_fact(connection, "hub_id", hub.as_bytes())?;
    Ok(hub)
}

/// Makes what is in the database the start of a new storage epoch: another identity, so that no counter is used twice,
/// and nobody signed in.
pub(crate) fn new_epoch(connection: &Connection) -> Result<()> {
    connection.execute_batch("DELETE FROM sessions; DELETE FROM hub WHERE name IN ('hub_id', 'life')")?;
    Ok(())
}

fn last_checkpoint(connection: &Connection) -> Result<Option<Checkpoint>> {
    let text = schema::fact::<String>(connection, "life")?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The last point in the order of changes that this hub knows.
fn last_change(connection: &Connection) -> Result<Hlc> {
    let sql = "SELECT max(m) FROM (SELECT (SELECT changed_hlc FROM records r WHERE r.kind = k.kind AND r.deleted = d.deleted \
               ORDER BY changed_hlc DESC LIMIT 1) AS m FROM (SELECT DISTINCT kind FROM tallies) k, \
               (SELECT 0 AS deleted UNION ALL SELECT 1) d)";
    let bytes: Option<Option<[u8; 16]>> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(bytes.flatten().map_or(Hlc::ZERO, Hlc::from_bytes))
}

fn open_index(dir: &Path, disk: &Disk, clocks: &dyn Clocks, report: &mut OpenReport) -> Result<Connection> {
    let path = dir.join("index.db");
    match index::open(&path)? {
        Ok(connection) => return Ok(connection),
        Err(Anew::Missing) => {}
        Err(Anew::OtherSchema) => {
            report.note(
                "The search index was made by another release and is being made anew.",
                "Nothing to do. Search finds more and more while the library is read again.",
            );
            aside::remove_database(&path, disk)?;
        }
        Err(Anew::Damaged(damage)) => {
            tracing::warn!(%damage, "index.db is damaged and is made anew");
            let kept = aside::set_aside(dir, "index", &path, disk, clocks)?;
            report.repaired(
                format!("The search index was damaged and is being made anew. No record was lost. The damaged file is kept as {kept}."),
                "Nothing to do. Search finds more and more while the library is read again. If this happens again, the card may be worn out: make a backup.",
            );
        }
    }
    index::create(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_let_go_meanwhile_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut held = Some(lock_dir(folder.path()).unwrap());
        assert!(matches!(lock(folder.path(), || false), Err(StoreError::InUse(_))));
        let taken = lock(folder.path(), || held.take().is_some()).unwrap();
        assert!(matches!(lock(folder.path(), || false), Err(StoreError::InUse(_))));
        drop(taken);
    }
}
