//! Making a backup while the hub goes on working.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use age::{Encryptor, secrecy::SecretString};
use cairn_sync::BlobId;
use rusqlite::Connection;

use super::{
    BackupError, BackupSummary, MIN_PASSPHRASE, Progress, WORK,
    format::{FrameWriter, Manifest},
};
use crate::{
    aside, db,
    durable::Disk,
    error::{Result, StoreError},
    files::{Files, path_in},
    records::access::Eyes,
    schema,
    settings::{Secret, read_settings},
    snapshots::copy_database,
    store::Store,
    viewer::Viewer,
};

impl Store {
    /// Writes a backup as it stands at one moment to `to`. Blocks a thread of the blocking pool, not the hub.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] unless `viewer` is a keeper; [`BackupError::WeakPassphrase`],
    /// [`BackupError::Stopped`]; what writing to `to` says.
    pub async fn backup(
        &self,
        viewer: &Viewer,
        to: Box<dyn Write + Send>,
        passphrase: Secret,
        progress: Progress,
    ) -> Result<BackupSummary> {
        self.only_keeper(viewer, "back up").await?;
        check_passphrase(&passphrase)?;
        let (dir, files, now) = (self.inner.dir.clone(), self.inner.files.clone(), self.inner.life.wall_ms());
        tokio::task::spawn_blocking(move || make(&dir, &files, now, to, &passphrase, &progress))
            .await
            .map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn only_keeper(&self, viewer: &Viewer, action: &'static str) -> Result<()> {
        let viewer = viewer.clone();
        self.ask(move |connection| {
            if Eyes::of(connection, &viewer)?.is_keeper() {
                Ok(())
            } else {
                Err(StoreError::Forbidden { action, what: "hub" })
            }
        })
        .await
    }
}

pub(super) fn check_passphrase(passphrase: &Secret) -> Result<(), BackupError> {
    if passphrase.reveal().chars().count() < MIN_PASSPHRASE {
        return Err(BackupError::WeakPassphrase);
    }
    Ok(())
}

/// The copy of the database, removed however the backup ends.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = aside::remove_database(&self.0, &Disk::new()) {
            tracing::warn!(%error, "the copy made for a backup stays on the disk until the next one");
        }
    }
}

fn make(
    dir: &Path,
    files: &Files,
    now: i64,
    to: Box<dyn Write + Send>,
    passphrase: &Secret,
    progress: &Progress,
) -> Result<BackupSummary> {
    progress.tell(0, 0)?;
    let mut name = [0; 16];
    getrandom::fill(&mut name).map_err(|error| StoreError::invalid(error.to_string()))?;
    let copy = Copy(dir.join(format!("backup-{}.db", cairn_sync::RecordId::from_bytes(name))));
    let source = db::open_reader(&dir.join("records.db"))?;
    copy_database(&source, &copy.0, |_, _| Ok(progress.tell(0, 0)?))?;
    drop(source);
    let (mut manifest, blobs) = take_stock(&copy.0, files, now)?;
    let database = File::open(&copy.0).map_err(|error| StoreError::io("opening", &copy.0, error))?;
    let database_size = database.metadata().map_err(|error| StoreError::io("reading", &copy.0, error))?.len();
    manifest.bytes += database_size;

    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.reveal().to_owned()));
    recipient.set_work_factor(WORK);
    let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as &dyn age::Recipient))
        .map_err(|error| StoreError::invalid(error.to_string()))?;
    let output = Path::new("the backup");
    let encrypted = encryptor.wrap_output(to).map_err(|error| StoreError::io("writing", output, error))?;
    let mut frames = FrameWriter::start(encrypted)?;
    let stated = serde_json::to_vec(&manifest).map_err(|error| StoreError::invalid(error.to_string()))?;
    frames.entry("manifest.json", stated.len() as u64, stated.as_slice(), |_| Ok(()))?;
    let (mut done, total) = (0, manifest.bytes);
    let mut count = |bytes: u64| {
        done += bytes;
        Ok(progress.tell(done, total)?)
    };
    frames.entry("records.db", database_size, database, &mut count)?;
    for (blob, size) in blobs {
        let hash = frames.entry(&format!("blobs/{blob}"), size, files.open_blob(&blob)?, &mut count)?;
        if hash.as_bytes() != blob.as_bytes() {
            return Err(BackupError::Damaged(format!("the file {blob} changed on the disk")).into());
        }
    }
    let mut to = frames.finish()?.finish().map_err(|error| StoreError::io("writing", output, error))?;
    to.flush().map_err(|error| StoreError::io("writing", output, error))?;
    Ok(manifest.summary())
}

/// What the copy holds, and which files go with it.
fn take_stock(copy: &Path, files: &Files, now: i64) -> Result<(Manifest, Vec<(BlobId, u64)>)> {
    let connection = Connection::open(copy)?;
    // Whoever reads the backup must not be able to sign in as somebody else.
    connection.execute_batch("DELETE FROM sessions; VACUUM")?;
    let stated = schema::read(&connection)?;
    let records =
        connection.query_row("SELECT count(*) FROM records WHERE deleted = 0", [], |row| row.get(0))?;
    let mut blobs = Vec::new();
    let mut statement = connection.prepare(
        "SELECT DISTINCT value FROM fields WHERE name = 'file' AND value IS NOT NULL ORDER BY value",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        // A file that is not on this hub cannot be in its backup; the record still is.
        if let Ok(blob) = name.parse::<BlobId>()
            && let Some(size) = files.size(&blob)?
        {
            blobs.push((blob, size));
        }
    }
    let manifest = Manifest {
        made_by: env!("CARGO_PKG_VERSION").to_owned(),
        made_at_ms: now,
        hub_name: read_settings(&connection)?.hub_name,
        schema: stated.schema,
        min_reader: stated.min_reader,
        records,
        files: blobs.len() as u64,
        bytes: blobs.iter().map(|(_, size)| size).sum(),
    };
    Ok((manifest, blobs))
}

/// Where a blob of a backup is put.
pub(super) fn blob_place(dir: &Path, blob: &BlobId) -> Result<PathBuf> {
    let place = path_in(dir, blob);
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).map_err(|error| StoreError::io("making", folder, error))?;
    }
    Ok(place)
}
