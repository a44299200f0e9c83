//! How the store is, for the health page, metrics and the support bundle.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::{
    db, error::Result, index::IndexProgress, schema, settings::Settings, snapshots::day_and_time,
    store::Store, viewer::Viewer,
};

/// How long the database may take to answer before it counts as not connected.
const ANSWER: Duration = Duration::from_secs(2);

/// How the store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether the database answers.
    pub database_connected: bool,
    /// Schema of the records.
    pub schema_version: u32,
    /// Size of the write-ahead log in bytes.
    pub wal_bytes: u64,
    /// Writes of people that wait.
    pub queued_person: usize,
    /// Writes of synchronisation that wait.
    pub queued_sync: usize,
    /// Writes of indexing that wait.
    pub queued_index: usize,
    /// Questions that wait.
    pub queued_questions: usize,
    /// Statements that were interrupted because they took too long.
    pub slow_statements: u64,
    /// Changes that the gateway has not confirmed.
    pub outbox: u64,
}

/// What a support bundle says about the store. No secret, no content, no name of a person.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SupportFacts {
    /// How it is.
    pub health: Health,
    /// Version of the program.
    pub version: String,
    /// Version of SQLite.
    pub sqlite: String,
    /// Living records by kind, and tombstones.
    pub counts: BTreeMap<String, u64>,
    /// How far the index is.
    pub index: IndexProgress,
    /// Size of the database in bytes.
    pub database_bytes: u64,
    /// Number and size of the files.
    pub files: (u64, u64),
    /// When the snapshots were taken.
    pub snapshots: Vec<String>,
    /// What was set aside as damaged.
    pub damaged: Vec<String>,
    /// The settings without secrets.
    pub settings: serde_json::Value,
}

impl Store {
    /// How the store is; answers within two seconds whatever happens.
    pub async fn health(&self) -> Health {
        let asked = self.ask(|connection| {
            let outbox =
                connection.query_row("SELECT count(*) FROM outbox", [], |row| row.get::<_, u64>(0))?;
            Ok((schema::read(connection)?.schema, outbox))
        });
        let answer = tokio::time::timeout(ANSWER, asked).await;
        let (database_connected, schema_version, outbox) = match answer {
            Ok(Ok((schema, outbox))) => (true, schema, outbox),
            _ => (false, 0, 0),
        };
        let [queued_person, queued_sync, queued_index] = self.inner.writer.queued();
        Health {
            database_connected,
            schema_version,
            wal_bytes: db::wal_bytes(&self.inner.dir.join("records.db")),
            queued_person,
            queued_sync,
            queued_index,
            queued_questions: self.inner.readers.queued(),
            slow_statements: self.inner.watch.interrupted(),
            outbox,
        }
    }

    /// What a support bundle says about the store.
    ///
    /// # Errors
    /// [`crate::StoreError::Forbidden`] unless `viewer` is a keeper.
    pub async fn support_facts(&self, viewer: &Viewer) -> Result<SupportFacts> {
        self.only_keeper(viewer, "see the inside of").await?;
        let settings = self.settings().await?;
        let everything = Viewer::system(crate::viewer::Part::Console);
        let mut counts: BTreeMap<String, u64> = self
            .counts(&everything)
            .await?
            .into_iter()
            .map(|(kind, count)| (kind.to_string(), count))
            .collect();
        let tombstones = self
            .ask(|connection| {
                let sql = "SELECT count(*) FROM records WHERE deleted = 1";
                Ok(connection.query_row(sql, [], |row| row.get(0))?)
            })
            .await?;
        counts.insert("tombstones".to_owned(), tombstones);
        let files = self.inner.files.clone();
        let files = tokio::task::spawn_blocking(move || {
            let mut sum = (0, 0);
            files.each(|_, size| {
                sum = (sum.0 + 1, sum.1 + size);
                Ok(())
            })?;
            Ok::<_, crate::StoreError>(sum)
        })
        .await
        .map_err(|_| crate::StoreError::Closed)??;
        let dir = &self.inner.dir;
        let mut damaged: Vec<String> = std::fs::read_dir(dir.join("damaged"))
            .map(|entries| {
                entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
            })
            .unwrap_or_default();
        damaged.sort();
        Ok(SupportFacts {
            health: self.health().await,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sqlite: rusqlite::version().to_owned(),
            counts,
            index: self.index_progress().await?,
            database_bytes: std::fs::metadata(dir.join("records.db")).map_or(0, |meta| meta.len()),
            files,
            snapshots: self.snapshots()?.iter().map(|snapshot| day_and_time(snapshot.at_ms)).collect(),
            damaged,
            settings: without_secrets(settings),
        })
    }
}

/// The settings as JSON; every secret is "(hidden)" or absent. What is shown is named here, so that a setting added later
/// is hidden until somebody decides.
fn without_secrets(settings: Settings) -> serde_json::Value {
    serde_json::json!({
        "language": settings.language,
        "open_sign_up": settings.open_sign_up,
        "session_hours": settings.session_hours,
        "inference": settings.inference,
        "cloud": settings.cloud.map(|endpoint| serde_json::json!({
            "url": endpoint.url,
            "model": endpoint.model,
            "key": if endpoint.key.is_empty() { "(none)" } else { "(hidden)" },
        })),
        "allowed_origins": settings.allowed_origins.len(),
        "allowed_hosts": settings.allowed_hosts.len(),
        "max_upload_bytes": settings.max_upload_bytes,
    })
}
