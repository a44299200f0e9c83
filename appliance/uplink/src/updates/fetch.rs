//! Bringing bytes of a repository's files, from wherever they are.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use cairn_bundle::ByteRange;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// How long a connection may give nothing before it is given up.
pub const STALLED: Duration = Duration::from_secs(60);
/// Bytes read at once from a stick.
const STEP: usize = 128 << 10;

/// Why bytes did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Trying again may help.
    #[error("{0}")]
    Interrupted(String),
    /// It will not.
    #[error("{0}")]
    Refused(String),
}

/// Pieces of a file as they arrive.
pub type Pieces = BoxStream<'static, Result<Bytes, FetchError>>;

/// Where a repository's files are.
pub trait Transport: Send + Sync {
    /// Opens `target` at `range`. No more than the range is given; less when the connection breaks.
    fn open(&self, target: &str, range: ByteRange) -> BoxFuture<'_, Result<Pieces, FetchError>>;
}

/// Whether a target's name stays inside the repository and needs no escaping.
fn plain(target: &str) -> Result<(), FetchError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(fits);
    if target.len() <= 255 && target.split('/').all(part) {
        Ok(())
    } else {
        Err(FetchError::Refused(format!("{target:?} is no name of a file in a repository")))
    }
}

/// Files over HTTPS, by ranges.
#[derive(Debug, Clone)]
pub struct Https {
    client: reqwest::Client,
    /// Ends with a slash.
    base: String,
}

impl Https {
    /// The files below `base`.
    #[must_use]
    pub fn new(client: reqwest::Client, base: &str) -> Self {
        Self { client, base: format!("{}/", base.trim_end_matches('/')) }
    }

    async fn get(&self, target: String, range: ByteRange) -> Result<Pieces, FetchError> {
        plain(&target)?;
        let interrupted = |error: reqwest::Error| FetchError::Interrupted(error.without_url().to_string());
        let wanted = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let request = self.client.get(format!("{}{target}", self.base)).header("range", wanted);
        let answer = tokio::time::timeout(STALLED, request.send())
            .await
            .map_err(|_| FetchError::Interrupted("the server does not answer".to_owned()))?
            .map_err(interrupted)?;
        let status = answer.status();
        if status != reqwest::StatusCode::PARTIAL_CONTENT {
            let text = format!("the server answered {status} instead of a part of {target}");
            let again = status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS;
            return Err(if again { FetchError::Interrupted(text) } else { FetchError::Refused(text) });
        }
        let begins = format!("bytes {}-", range.start);
        let right = answer.headers().get("content-range").and_then(|value| value.to_str().ok());
        if !right.is_some_and(|value| value.starts_with(&begins)) {
            return Err(FetchError::Refused(format!("the server sends another part of {target}")));
        }
        let pieces = answer.bytes_stream().map(move |piece| piece.map_err(interrupted));
        Ok(limited(pieces.boxed(), range.len()))
    }
}

impl Transport for Https {
    fn open(&self, target: &str, range: ByteRange) -> BoxFuture<'_, Result<Pieces, FetchError>> {
        self.get(target.to_owned(), range).boxed()
    }
}

/// Files in a folder: a USB stick, or what was uploaded.
#[derive(Debug, Clone)]
pub struct Stick(pub PathBuf);

impl Stick {
    async fn read(&self, target: String, range: ByteRange) -> Result<Pieces, FetchError> {
        plain(&target)?;
        let path = self.0.join(&target);
        let refused = |error: io::Error| FetchError::Refused(format!("{target}: {error}"));
        let mut file = tokio::fs::File::open(&path).await.map_err(refused)?;
        file.seek(io::SeekFrom::Start(range.start)).await.map_err(refused)?;
        let pieces = ReaderStream::with_capacity(file.take(range.len()), STEP);
        Ok(pieces.map(|piece| piece.map_err(|error| FetchError::Refused(error.to_string()))).boxed())
    }
}

impl Transport for Stick {
    fn open(&self, target: &str, range: ByteRange) -> BoxFuture<'_, Result<Pieces, FetchError>> {
        self.read(target.to_owned(), range).boxed()
    }
}

/// Ends what gives more than was asked for.
fn limited(pieces: Pieces, most: u64) -> Pieces {
    let mut left = most;
    pieces
        .map(move |piece| {
            let piece = piece?;
            left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
                FetchError::Refused("the server sends more than it was asked for".to_owned())
            })?;
            Ok(piece)
        })
        .boxed()
}

/// Fetches a small part of a file whole, with a few tries.
///
/// # Errors
/// [`FetchError`] of the last try.
pub async fn whole(transport: &dyn Transport, target: &str, range: ByteRange) -> Result<Vec<u8>, FetchError> {
    let mut bytes = Vec::new();
    let mut tries = Tries::default();
    while (bytes.len() as u64) < range.len() {
        let rest = ByteRange { start: range.start.saturating_add(bytes.len() as u64), end: range.end };
        let before = bytes.len();
        let outcome = async {
            let mut pieces = transport.open(target, rest).await?;
            while let Some(piece) = next(&mut pieces).await? {
                bytes.extend_from_slice(&piece);
            }
            Ok::<(), FetchError>(())
        };
        let outcome = outcome.await;
        tries.after(bytes.len() > before, outcome).await?;
    }
    Ok(bytes)
}

/// The next piece, or an error when none comes for too long.
///
/// # Errors
/// [`FetchError::Interrupted`].
pub async fn next(pieces: &mut Pieces) -> Result<Option<Bytes>, FetchError> {
    match tokio::time::timeout(STALLED, pieces.next()).await {
        Ok(piece) => piece.transpose(),
        Err(_) => Err(FetchError::Interrupted("the connection gives nothing any more".to_owned())),
    }
}

/// Counts tries that brought nothing, and waits between them.
#[derive(Debug, Default)]
pub struct Tries(u32);

impl Tries {
    /// Most tries in a row that bring nothing.
    pub const MOST: u32 = 8;

    /// After a try: waits a little where it helps to try again.
    ///
    /// # Errors
    /// What the try ended with, when it is no use to try again.
    pub async fn after(
        &mut self,
        brought_something: bool,
        outcome: Result<(), FetchError>,
    ) -> Result<(), FetchError> {
        self.0 = if brought_something { 0 } else { self.0 + 1 };
        match outcome {
            Err(FetchError::Refused(why)) => return Err(FetchError::Refused(why)),
            _ if brought_something => {}
            Err(error) if self.0 >= Self::MOST => return Err(error),
            Ok(()) if self.0 >= Self::MOST => {
                return Err(FetchError::Interrupted("the connection ends before anything comes".to_owned()));
            }
            _ => tokio::time::sleep(Duration::from_millis(100 << self.0)).await,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_stays_in_its_repository() {
        for good in ["system-1.2.3.bundle", "a/b-c_d.e"] {
            assert!(plain(good).is_ok(), "{good}");
        }
        for bad in ["", "/etc/passwd", "a/../b", "..", "a//b", "a?b", "a b", ".hidden", "ä", &"x".repeat(256)]
        {
            assert!(matches!(plain(bad), Err(FetchError::Refused(_))), "{bad}");
        }
    }
}
