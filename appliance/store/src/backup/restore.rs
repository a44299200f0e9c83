//! Taking a backup: everything is unpacked and checked beside the hub before anything of the hub moves.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

use age::{DecryptError, Decryptor, secrecy::SecretString};
use cairn_sync::BlobId;
use rusqlite::Connection;

use super::{
    BackupError, BackupSummary, MAX_WORK, Progress,
    format::{FrameReader, MAX_MANIFEST, Manifest},
    make::blob_place,
    staged,
};
use crate::{
    durable::Disk,
    error::{Result, StoreError},
    open::{OpenReport, new_epoch},
    schema,
    settings::Secret,
    store::Store,
    viewer::Viewer,
};

/// Restores a backup into a hub's folder while no hub runs there. What was in it is kept under `replaced/`.
///
/// # Errors
/// [`BackupError`] says why the file was refused; [`StoreError::InUse`] when a hub runs there. Nothing was touched then.
pub fn restore(from: &Path, passphrase: &Secret, dir: &Path, progress: &Progress) -> Result<BackupSummary> {
    fs::create_dir_all(dir).map_err(|error| StoreError::io("making", dir, error))?;
    let _lock = crate::open::lock_dir(dir)?;
    let file = File::open(from).map_err(|error| StoreError::io("opening", from, error))?;
    let disk = Disk::new();
    let summary = stage(dir, Box::new(file), passphrase, progress, &disk)?;
    staged::finish(dir, &disk, &mut OpenReport::default())?;
    Ok(summary)
}

impl Store {
    /// Unpacks and checks a backup. It takes the hub's place when the store is opened the next time; until then
    /// nothing changes.
    ///
    /// # Errors
    /// As [`restore`]; [`StoreError::Forbidden`] unless `viewer` is a keeper.
    pub async fn stage_restore(
        &self,
        viewer: &Viewer,
        from: Box<dyn Read + Send>,
        passphrase: Secret,
        progress: Progress,
    ) -> Result<BackupSummary> {
        self.only_keeper(viewer, "restore").await?;
        let dir = self.inner.dir.clone();
        tokio::task::spawn_blocking(move || stage(&dir, from, &passphrase, &progress, &Disk::new()))
            .await
            .map_err(|_| StoreError::Closed)?
    }
}

/// Unpacks into a folder that only its last step makes ready.
pub(super) fn stage(
    dir: &Path,
    from: Box<dyn Read + Send>,
    passphrase: &Secret,
    progress: &Progress,
    disk: &Disk,
) -> Result<BackupSummary> {
    let partial = dir.join(staged::PARTIAL);
    disk.remove_dir(&partial)?;
    let staged = unpack(&partial, from, passphrase, progress, disk).and_then(|manifest| {
        disk.remove_dir(&dir.join(staged::READY))?;
        disk.rename(&partial, &dir.join(staged::READY))?;
        Ok(manifest.summary())
    });
    if staged.is_err()
        && let Err(error) = Disk::new().remove_dir(&partial)
    {
        tracing::warn!(%error, "what was unpacked of a refused backup stays on the disk until the next one");
    }
    staged
}

fn unpack(
    partial: &Path,
    from: Box<dyn Read + Send>,
    passphrase: &Secret,
    progress: &Progress,
    disk: &Disk,
) -> Result<Manifest> {
    let decryptor = Decryptor::new_buffered(std::io::BufReader::new(from)).map_err(refused)?;
    if !decryptor.is_scrypt() {
        return Err(BackupError::NotABackup.into());
    }
    let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.reveal().to_owned()));
    identity.set_max_work_factor(MAX_WORK);
    let plain = decryptor.decrypt(std::iter::once(&identity as &dyn age::Identity)).map_err(refused)?;
    let mut frames = FrameReader::start(plain)?;

    let manifest = match frames.next()? {
        Some(entry) if entry.name == "manifest.json" && entry.size <= MAX_MANIFEST => {
            let mut text = Vec::new();
            frames.content(&entry, |piece| {
                text.extend_from_slice(piece);
                Ok(())
            })?;
            serde_json::from_slice::<Manifest>(&text)
                .map_err(|_| BackupError::Damaged("its manifest cannot be read".to_owned()))?
        }
        _ => return Err(BackupError::NotABackup.into()),
    };
    if manifest.min_reader > schema::CURRENT {
        return Err(BackupError::TooNew.into());
    }
    let blobs = partial.join("blobs");
    disk.make_dir(&blobs)?;
    let (mut done, mut files) = (0, 0);
    let records = partial.join("records.db");
    while let Some(entry) = frames.next()? {
        let blob = entry.name.strip_prefix("blobs/").and_then(|name| name.parse::<BlobId>().ok());
        let place = match (&blob, entry.name.as_str()) {
            (Some(blob), _) => blob_place(&blobs, blob)?,
            (None, "records.db") if !records.exists() => records.clone(),
            _ => {
                return Err(BackupError::Damaged("it holds a file that is none of a hub's".to_owned()).into());
            }
        };
        if done + entry.size > manifest.bytes {
            return Err(BackupError::Damaged("it holds more than it says".to_owned()).into());
        }
        let mut file = File::create(&place).map_err(|error| StoreError::io("making", &place, error))?;
        let hash = frames.content(&entry, |piece| {
            file.write_all(piece).map_err(|error| StoreError::io("writing", &place, error))?;
            done += piece.len() as u64;
            Ok(progress.tell(done, manifest.bytes)?)
        })?;
        if blob.is_some_and(|blob| blob.as_bytes() != hash.as_bytes()) {
            return Err(
                BackupError::Damaged(format!("{} has other content than its name", entry.name)).into()
            );
        }
        files += u64::from(blob.is_some());
        disk.sync(&file, &place)?;
    }
    if files != manifest.files || !records.exists() {
        return Err(BackupError::Damaged("it holds less than it says".to_owned()).into());
    }
    accept_database(partial, &records, disk)?;
    sync_folders(&blobs, disk)?;
    disk.sync_dir(partial)?;
    Ok(manifest)
}

/// The database is whole, can be served, and starts a new storage epoch.
fn accept_database(partial: &Path, records: &Path, disk: &Disk) -> Result<()> {
    let stated = schema::check_file(records).map_err(|error| match error {
        error if error.is_damage() => BackupError::Damaged(error.to_string()).into(),
        other => other,
    })?;
    schema::servable(stated, schema::CURRENT, partial).map_err(|_| BackupError::TooNew)?;
    {
        let connection = Connection::open(records)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        new_epoch(&connection)?;
    }
    let file = File::open(records).map_err(|error| StoreError::io("opening", records, error))?;
    disk.sync(&file, records)
}

fn sync_folders(blobs: &Path, disk: &Disk) -> Result<()> {
    for folder in fs::read_dir(blobs).map_err(|error| StoreError::io("listing", blobs, error))? {
        let folder = folder.map_err(|error| StoreError::io("listing", blobs, error))?;
        disk.sync_dir(&folder.path())?;
    }
    disk.sync_dir(blobs)
}

fn refused(error: DecryptError) -> StoreError {
    match error {
        DecryptError::DecryptionFailed | DecryptError::KeyDecryptionFailed | DecryptError::NoMatchingKeys => {
            BackupError::WrongPassphrase
        }
        DecryptError::ExcessiveWork { .. } => {
            BackupError::Damaged("it asks for more work than a backup of a hub needs".to_owned())
        }
        DecryptError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            BackupError::Truncated
        }
        DecryptError::Io(error) => BackupError::Damaged(error.to_string()),
        DecryptError::InvalidMac => BackupError::Damaged("its beginning was changed".to_owned()),
        _ => BackupError::NotABackup,
    }
    .into()
}
