//! Files by content: fetched when they are small enough or somebody asks, going on where a broken connection stopped.

use cairn_store::{Store, StoreError};
use cairn_sync::{BlobId, http::BLOBS};
use futures::StreamExt;
use tokio::time::{Duration, timeout};

use super::{Client, ClientError};

/// How long a file's stream may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a broken file goes on before it is left for the next round.
const PIECES: u32 = 20;

/// Why a file is not here.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// The gateway could not be reached, or has not got it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came is something else.
    #[error("the file that came is another one")]
    Another,
    /// The connection broke too often.
    #[error("the connection broke {PIECES} times")]
    Broken,
}

/// Fetches a file of `size` bytes.
pub(super) async fn fetch(client: &Client, store: &Store, blob: BlobId, size: u64) -> Result<(), FileError> {
    let mut writer = Some(store.blob_writer(size)?);
    let mut have = 0;
    for _ in 0..PIECES {
        let response = client.stream(&format!("{BLOBS}/{blob}"), (have > 0).then_some(have)).await?;
        if have > 0 && response.status().as_u16() != 206 {
            return Err(FileError::Another);
        }
        let mut pieces = response.bytes_stream();
        while let Ok(Some(Ok(piece))) = timeout(SILENCE, pieces.next()).await {
            have += piece.len() as u64;
            let Some(mut taken) = writer.take() else { return Err(FileError::Another) };
            // Hashing and writing a piece takes a moment on a card; the event loop does not wait for it.
            let wrote = tokio::task::spawn_blocking(move || taken.write(&piece).map(|()| taken)).await;
            writer = Some(wrote.map_err(|_| FileError::Broken)??);
        }
        if have >= size {
            break;
        }
    }
    let Some(writer) = writer.filter(|_| have == size) else { return Err(FileError::Broken) };
    let kept =
        tokio::task::spawn_blocking(move || writer.finish()).await.map_err(|_| FileError::Broken)??;
    // A file under another name is an orphan, which the store collects by itself.
    if kept == blob { Ok(()) } else { Err(FileError::Another) }
}
