//! Files by content: `blobs/ab/cdef…`, named by BLAKE3, written once and never changed.
//!
//! A file is there under its name whole or not at all: it is written under `blobs/tmp/`, made durable, renamed, and its
//! folder made durable. What a power cut leaves in `blobs/tmp/` goes at the next start; what is fetched from the gateway under
//! `blobs/part/` goes on. A file that no living document
//! refers to for [`GRACE_MS`] is removed; the check and the removal happen on the writing thread, where a document that
//! would refer to it is made too.

mod garbage;
mod part;
mod writer;

pub use garbage::Garbage;
pub(crate) use garbage::is_named;
pub use part::BlobPart;
pub use writer::BlobWriter;

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use cairn_sync::{BlobId, Kind, RecordId};

use crate::{
    db::lock,
    durable::Disk,
    error::{Result, StoreError},
    records::{access::Eyes, write::find_for},
    store::Store,
    viewer::{Action, Viewer},
};

/// Finished uploads remembered as fresh, so that garbage collection leaves them alone.
const FRESH: usize = 10_000;

/// What goes with an open file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// Its content's name, which serves as a strong ETag.
    pub blob: BlobId,
    /// The document's title.
    pub title: String,
    /// The file's name.
    pub file_name: String,
    /// The file's media type as it was uploaded; not to be trusted.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// The folder of files.
#[derive(Clone)]
pub(crate) struct Files {
    dir: PathBuf,
    disk: Arc<Disk>,
    /// What was uploaded in this run and when: a document that refers to it may be about to come.
    fresh: Arc<Mutex<HashMap<BlobId, Instant>>>,
}

impl Files {
    /// Opens the folder and removes what unfinished uploads left.
    pub(crate) fn open(dir: &Path, disk: Arc<Disk>) -> Result<Self> {
        let files = Self { dir: dir.to_owned(), disk, fresh: Arc::default() };
        files.disk.remove_dir(&files.temporary())?;
        files.disk.make_dir(&files.temporary())?;
        files.make_parts()?;
        Ok(files)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Where a blob lies.
    pub(crate) fn path(&self, blob: &BlobId) -> PathBuf {
        path_in(&self.dir, blob)
    }

    /// A blob's size; `None` when it is not here.
    pub(crate) fn size(&self, blob: &BlobId) -> Result<Option<u64>> {
        let path = self.path(blob);
        match fs::metadata(&path) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("reading", &path, error)),
        }
    }

    pub(crate) fn open_blob(&self, blob: &BlobId) -> Result<File> {
        let path = self.path(blob);
        File::open(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => StoreError::BlobMissing,
            _ => StoreError::io("opening", &path, error),
        })
    }

    /// Makes a whole file durable and gives it its name.
    fn settle(&self, file: &File, path: &Path, blob: &BlobId) -> Result<()> {
        let place = self.path(blob);
        self.disk.sync(file, path)?;
        if let Some(folder) = place.parent()
            && !folder.exists()
        {
            self.disk.make_dir(folder)?;
            self.disk.sync_dir(&self.dir)?;
        }
        self.disk.rename(path, &place)
    }

    fn remember(&self, blob: BlobId) {
        let mut fresh = lock(&self.fresh);
        if fresh.len() >= FRESH
            && let Some(oldest) = fresh.iter().min_by_key(|(_, at)| **at).map(|(blob, _)| *blob)
        {
            fresh.remove(&oldest);
        }
        fresh.insert(blob, Instant::now());
    }

    /// Every blob and its size, with the first error met.
    pub(crate) fn each(&self, mut visit: impl FnMut(BlobId, u64) -> Result<()>) -> Result<()> {
        each_in(&self.dir, &mut visit)
    }
}

/// Where a blob lies below the folder of files.
pub(crate) fn path_in(dir: &Path, blob: &BlobId) -> PathBuf {
    let name = blob.to_string();
    let (folder, rest) = name.split_at(2);
    dir.join(folder).join(rest)
}

fn each_in(dir: &Path, visit: &mut impl FnMut(BlobId, u64) -> Result<()>) -> Result<()> {
    let failed = |error| StoreError::io("listing", dir, error);
    for folder in fs::read_dir(dir).map_err(failed)? {
        let folder = folder.map_err(failed)?;
        let start = folder.file_name().to_string_lossy().into_owned();
        if start.len() != 2 {
            continue;
        }
        for file in fs::read_dir(folder.path()).map_err(failed)? {
            let file = file.map_err(failed)?;
            if let Ok(blob) = format!("{start}{}", file.file_name().to_string_lossy()).parse() {
                visit(blob, file.metadata().map_err(failed)?.len())?;
            }
        }
    }
    Ok(())
}

impl Store {
    /// Takes a file of at most `limit` bytes.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] and [`StoreError::ReadOnly`] when the disk is.
    pub fn blob_writer(&self, limit: u64) -> Result<BlobWriter> {
        BlobWriter::start(self.inner.files.clone(), limit)
    }

    /// Opens a document's file.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] also when the document may not be read; [`StoreError::BlobMissing`] when its file is
    /// not on this hub.
    pub async fn open_file(&self, viewer: &Viewer, document: RecordId) -> Result<(File, FileMeta)> {
        let (viewer, files) = (viewer.clone(), self.inner.files.clone());
        self.ask(move |connection| {
            let eyes = Eyes::of(connection, &viewer)?;
            let head = find_for(connection, eyes, document, Action::Read)?;
            if head.kind != Kind::Document {
                return Err(StoreError::NotFound("document"));
            }
            let record = head.load(connection)?;
            let blob: BlobId = record.text("file").parse().map_err(|_| StoreError::BlobMissing)?;
            let file = files.open_blob(&blob)?;
            let size =
                file.metadata().map_err(|error| StoreError::io("reading", &files.path(&blob), error))?.len();
            let text = |field: &str| record.text(field).to_owned();
            let meta = FileMeta {
                blob,
                title: text("title"),
                file_name: text("file_name"),
                media_type: text("media_type"),
                size,
            };
            Ok((file, meta))
        })
        .await
    }
}
