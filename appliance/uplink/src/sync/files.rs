//! Files by content: those that are small enough travel by themselves, both ways, going on where a broken connection stopped.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use cairn_store::{ListQuery, MAX_PAGE, Order, Part, Store, StoreError, Viewer};
use cairn_sync::{
    BlobId, Kind,
    http::{BLOBS, GATEWAY_HEADER, UPLOADED_HEADER},
};
use futures::StreamExt;
use reqwest::{Method, Response, StatusCode, header};
use tokio::time::{Duration, timeout};

use super::{
    Client, ClientError, Ways,
    client::{WHOLE, refused, unreachable},
};

/// How long a file's stream may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a broken file goes on before it is left for the next round.
const PIECES: u32 = 20;
/// Bytes of a file in one request; the gateway keeps whole quarters of it.
const PIECE: u64 = 1 << 20;
/// Most files fetched, and most sent, at once.
const FILES: usize = 20;
/// The first and the longest time until files that did not come or go are tried again, in milliseconds.
const AGAIN_MS: (u64, u64) = (20_000, 60 * 60 * 1000);
/// Pages of documents that are looked through for files to send, the last changed first.
const DOCUMENT_PAGES: usize = 10;
const SYNC: Viewer = Viewer::system(Part::Sync);

/// Why a file is not here.
#[derive(Debug, thiserror::Error)]
enum FileError {
    /// The gateway could not be reached, or has not got it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It could not be read here.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// What came is something else.
    #[error("the file that came is another one")]
    Another,
    /// The connection broke too often.
    #[error("the connection broke {PIECES} times")]
    Broken,
}

/// Which files are still to come and to go.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Files that the gateway is known to have. Asked for anew after a start.
    at_gateway: HashSet<BlobId>,
    /// Whether all documents were looked through since the last that changed.
    looked: bool,
    /// When it is tried again, where something is left, and how long it takes the next time, in milliseconds.
    due: Option<u64>,
    wait: u64,
}

impl Default for Exchange {
    fn default() -> Self {
        Self { at_gateway: HashSet::new(), looked: false, due: None, wait: AGAIN_MS.0 }
    }
}

impl Exchange {
    /// When to run again, by the clock of [`Self::run`].
    pub(super) const fn due(&self) -> Option<u64> {
        self.due
    }

    /// Records came or were confirmed.
    pub(super) const fn changed(&mut self) {
        (self.looked, self.wait) = (false, AGAIN_MS.0);
    }

    /// Fetches and sends files of documents, the small ones; `now` is in milliseconds.
    pub(super) async fn run(&mut self, client: &Client, store: &Store, ways: Ways, now: u64) {
        let done = fetch_some(client, store, ways).await & self.send_some(client, store, ways).await;
        self.due = (!done).then(|| now.saturating_add(self.wait));
        self.wait = if done { AGAIN_MS.0 } else { (self.wait * 2).min(AGAIN_MS.1) };
    }

    /// Says whether nothing is left to send.
    async fn send_some(&mut self, client: &Client, store: &Store, ways: Ways) -> bool {
        if self.looked {
            return true;
        }
        let (mut sent, mut done) = (0, true);
        let mut query = ListQuery { order: Order::Changed, limit: MAX_PAGE, ..ListQuery::of(Kind::Document) };
        for _ in 0..DOCUMENT_PAGES {
            let page = match store.list(&SYNC, query.clone()).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "which files are to be sent cannot be told");
                    return true;
                }
            };
            // A document that waits itself goes first; its file follows the answer.
            for document in page.items.iter().filter(|document| document.gateway_version.is_some()) {
                let size = document.int("size").and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                let Ok(blob) = document.text("file").parse::<BlobId>() else { continue };
                if size == 0 || size > ways.fetch_up_to || self.at_gateway.contains(&blob) {
                    continue;
                }
                // One that is not here came from another hub, which sends it.
                let Ok((file, _)) = store.open_file(&SYNC, document.id).await else { continue };
                if sent == FILES {
                    return false;
                }
                sent += 1;
                match send(client, file, blob, size).await {
                    Ok(()) => {
                        self.at_gateway.insert(blob);
                    }
                    Err(error) => {
                        tracing::info!(%blob, %error, "a file did not go");
                        done = false;
                    }
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        self.looked = done;
        done
    }
}

/// Says whether nothing is left to fetch.
async fn fetch_some(client: &Client, store: &Store, ways: Ways) -> bool {
    let missing = match store.sync_missing_files(ways.fetch_up_to, FILES).await {
        Ok(missing) => missing,
        Err(error) => {
            tracing::warn!(%error, "which files are missing cannot be told");
            return true;
        }
    };
    let mut done = missing.len() < FILES;
    for (blob, size) in missing {
        if let Err(error) = fetch(client, store, blob, size).await {
            tracing::info!(%blob, %error, "a file did not come");
            done = false;
        }
    }
    done
}

/// Fetches a file of `size` bytes.
async fn fetch(client: &Client, store: &Store, blob: BlobId, size: u64) -> Result<(), FileError> {
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

/// Brings a file of `size` bytes to the gateway, from where an earlier attempt stopped; nothing where it is there already.
async fn send(client: &Client, file: File, blob: BlobId, size: u64) -> Result<(), FileError> {
    let path = format!("{BLOBS}/{blob}");
    let response = client.begin(Method::HEAD, &path).timeout(WHOLE).send().await.map_err(unreachable)?;
    let mut have = match response.status() {
        StatusCode::OK if response.headers().contains_key(GATEWAY_HEADER) => return Ok(()),
        StatusCode::NOT_FOUND if response.headers().contains_key(GATEWAY_HEADER) => uploaded(&response),
        _ => return Err(refused(response).await.into()),
    };
    let mut file = Some(file);
    // A piece may have to be sent again, but not for ever.
    for _ in 0..(size / PIECE + 1) * 2 {
        let Some(mut reading) = file.take() else { return Err(FileError::Broken) };
        let read = tokio::task::spawn_blocking(move || -> io::Result<_> {
            let mut piece = Vec::new();
            reading.seek(SeekFrom::Start(have))?;
            (&mut reading).take(PIECE).read_to_end(&mut piece)?;
            Ok((reading, piece))
        });
        let (reading, piece) = read.await.map_err(|_| FileError::Broken)??;
        file = Some(reading);
        let end = have + piece.len() as u64;
        if piece.is_empty() || end > size {
            return Err(FileError::Another);
        }
        let request = client.begin(Method::PUT, &path).timeout(WHOLE);
        let request = request.header(header::CONTENT_RANGE, format!("bytes {have}-{}/{size}", end - 1));
        let response = request.body(piece).send().await.map_err(unreachable)?;
        match response.status() {
            _ if !response.headers().contains_key(GATEWAY_HEADER) => {
                return Err(refused(response).await.into());
            }
            StatusCode::CREATED => return Ok(()),
            // Also where another hub sends the same file at the same time: on from where it is.
            StatusCode::ACCEPTED | StatusCode::CONFLICT => have = uploaded(&response),
            _ => return Err(refused(response).await.into()),
        }
    }
    Err(FileError::Broken)
}

/// Up to where the gateway has a file.
fn uploaded(response: &Response) -> u64 {
    let header = response.headers().get(UPLOADED_HEADER).and_then(|value| value.to_str().ok());
    header.and_then(|text| text.parse().ok()).unwrap_or(0)
}
