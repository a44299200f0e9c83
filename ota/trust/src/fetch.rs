//! How files of a repository come here, with a limit on everything.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use tokio::io::AsyncReadExt;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

use crate::Error;

/// A file as it comes in.
pub type Body = Pin<Box<dyn Stream<Item = Result<Bytes, FetchError>> + Send>>;

/// Why a file did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// There is none (over HTTP 404, or 403 where a store of objects says so).
    #[error("there is no such file")]
    NotFound,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// Opens files of a repository: an HTTP client, a USB stick, another hub.
#[async_trait]
pub trait Fetch: fmt::Debug + Send + Sync {
    /// Opens a file by its path below the repository, as `metadata/timestamp.json`. Limits of size and time are kept by the
    /// caller, who drops the body when it has had enough.
    async fn open(&self, path: &str) -> Result<Body, FetchError>;
}

/// What a look at a repository may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Largest `root.json`, in bytes.
    pub root: u64,
    /// Largest `timestamp.json`, in bytes.
    pub timestamp: u64,
    /// Largest `snapshot.json`, in bytes.
    pub snapshot: u64,
    /// Largest `targets.json`, in bytes.
    pub targets: u64,
    /// Most root metadata followed at once.
    pub roots: u64,
    /// Most bytes of metadata altogether.
    pub total: u64,
    /// Longest time for one file.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root: 256 * 1024,
            timestamp: 16 * 1024,
            snapshot: 256 * 1024,
            targets: 4 * 1024 * 1024,
            roots: 128,
            total: 16 * 1024 * 1024,
            patience: Duration::from_secs(120),
        }
    }
}

impl Limits {
    fn of(&self, file: &str) -> u64 {
        if file.ends_with("root.json") {
            self.root
        } else if file.ends_with("timestamp.json") {
            self.timestamp
        } else if file.ends_with("snapshot.json") {
            self.snapshot
        } else {
            self.targets
        }
    }
}

/// A repository in a folder: a USB stick, or an upload that was unpacked.
#[derive(Debug, Clone)]
pub struct Directory(pub PathBuf);

#[async_trait]
impl Fetch for Directory {
    async fn open(&self, path: &str) -> Result<Body, FetchError> {
        let path = Path::new(path);
        if !path.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(FetchError::NotFound);
        }
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => FetchError::NotFound,
            _ => FetchError::Failed(error.to_string()),
        };
        let file = tokio::fs::File::open(self.0.join(path)).await.map_err(failed)?;
        if !file.metadata().await.map_err(failed)?.is_file() {
            return Err(FetchError::NotFound);
        }
        Ok(Box::pin(stream::try_unfold(file, move |mut file| async move {
            let mut buffer = vec![0; 64 * 1024];
            let count = file.read(&mut buffer).await.map_err(failed)?;
            buffer.truncate(count);
            Ok((count > 0).then(|| (Bytes::from(buffer), file)))
        })))
    }
}

/// What the transport noticed.
#[derive(Debug, Default)]
pub(crate) struct Noticed {
    /// Names of the files that were asked for, in order.
    pub(crate) asked: Vec<String>,
    /// Bytes until now.
    pub(crate) bytes: u64,
    /// Why the last file did not come, unless there was none.
    pub(crate) failed: Option<Error>,
}

/// `tough`'s way to files: whole files, within limits.
#[derive(Debug, Clone)]
pub(crate) struct Limited {
    source: Arc<dyn Fetch>,
    limits: Limits,
    noticed: Arc<Mutex<Noticed>>,
}

impl Limited {
    pub(crate) fn new(source: Arc<dyn Fetch>, limits: Limits) -> Self {
        Self { source, limits, noticed: Arc::default() }
    }

    pub(crate) fn noticed(&self) -> MutexGuard<'_, Noticed> {
        // What is inside is never half-changed, so a panic elsewhere does not spoil it.
        self.noticed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn whole(&self, path: &str) -> Result<Bytes, Refused> {
        let limit = self.limits.of(path);
        let left = self.limits.total.saturating_sub(self.noticed().bytes);
        let mut body = self.source.open(path).await?;
        let mut bytes = Vec::new();
        while let Some(part) = body.next().await {
            let part = part?;
            let length = (bytes.len() as u64).saturating_add(part.len() as u64);
            if length > limit {
                return Err(Refused::Because(Error::TooLarge { file: path.to_owned(), limit }));
            }
            if length > left {
                return Err(Refused::Because(Error::TooMuch));
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.into())
    }
}

enum Refused {
    NotFound,
    Because(Error),
}

impl From<FetchError> for Refused {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::NotFound => Self::NotFound,
            FetchError::Failed(why) => Self::Because(Error::Unreachable(why)),
        }
    }
}

#[async_trait]
impl Transport for Limited {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let path = url.path().trim_start_matches('/').to_owned();
        self.noticed().asked.push(path.rsplit('/').next().unwrap_or_default().to_owned());
        let patience = self.limits.patience;
        let file = match tokio::time::timeout(patience, self.whole(&path)).await {
            Ok(file) => file,
            Err(_) => {
                Err(Refused::Because(Error::TooSlow { file: path.clone(), seconds: patience.as_secs() }))
            }
        };
        // `tough` takes any error of this function for "no newer root", so errors go into the stream instead.
        let item = match file {
            Ok(bytes) => {
                let mut noticed = self.noticed();
                noticed.bytes = noticed.bytes.saturating_add(bytes.len() as u64);
                Ok(bytes)
            }
            Err(Refused::NotFound) => Err(TransportError::new(TransportErrorKind::FileNotFound, &path)),
            Err(Refused::Because(error)) => {
                let text = error.to_string();
                self.noticed().failed = Some(error);
                Err(TransportError::new_with_cause(TransportErrorKind::Other, &path, text))
            }
        };
        Ok(Box::pin(stream::iter([item])))
    }
}
