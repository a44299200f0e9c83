//! Files by content: those that are small enough travel by themselves, large ones when somebody asks for them; both ways, going
//! on where a broken connection or a restart stopped.
//!
//! It goes on beside the rounds, in a task of its own: records never wait for a file. A large file comes in slices, between which
//! whatever is small and new goes first.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use cairn_store::{BlobPart, ListQuery, MAX_PAGE, Order, Part, Store, StoreError, Viewer};
use cairn_sync::{
    BlobId, Kind,
    http::{BLOBS, GATEWAY_HEADER, MAX_BLOB, MAX_WANTED, UPLOADED_HEADER},
};
use futures::StreamExt;
use reqwest::{Method, Response, StatusCode, header};
use tokio::{
    task::JoinHandle,
    time::{Duration, timeout},
};

use super::{
    Client, ClientError, Ways,
    client::{WHOLE, refused, unreachable},
};

/// How long a file's stream may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How often a broken file goes on before it is left for later.
const PIECES: u32 = 20;
/// Bytes of a file in one request to send; the gateway keeps whole quarters of it.
const PIECE: u64 = 1 << 20;
/// Bytes of a file in one request to fetch.
const SLICE: u64 = 16 << 20;
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

/// What is left after a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Nothing,
    /// What did not come or go; it is tried again after a while.
    Later,
    /// More of the same; it goes on at once.
    More,
}

/// What is known between runs.
#[derive(Debug, Default)]
struct Known {
    /// Files that the gateway is known to have. Asked for anew after a start.
    at_gateway: HashSet<BlobId>,
    /// Whether all documents were looked through since the last that changed.
    looked: bool,
    /// Files that somebody elsewhere waits for.
    wanted: Vec<BlobId>,
}

/// Which files are still to come and to go.
pub(super) struct Exchange {
    known: Known,
    running: Option<Task>,
    /// Something changed while it ran.
    changed: bool,
    /// When it is tried again, where something is left, and how long it takes the next time, in milliseconds.
    due: Option<u64>,
    wait: u64,
}

/// A run; it ends when it is dropped.
struct Task(JoinHandle<(Known, Left)>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self { known: Known::default(), running: None, changed: false, due: None, wait: AGAIN_MS.0 }
    }
}

impl Exchange {
    /// When to run again, by the clock of [`Self::start`].
    pub(super) const fn due(&self) -> Option<u64> {
        if self.running.is_some() { None } else { self.due }
    }

    /// Records came or were confirmed, or a file may be at the gateway now.
    pub(super) const fn changed(&mut self) {
        (self.known.looked, self.changed, self.wait) = (false, true, AGAIN_MS.0);
    }

    /// The gateway asks for these files.
    pub(super) fn asked_for(&mut self, mut wanted: Vec<BlobId>) {
        wanted.truncate(MAX_WANTED);
        if !wanted.is_empty() && wanted != self.known.wanted {
            self.changed();
        }
        self.known.wanted = wanted;
    }

    /// Fetches and sends files of documents beside whatever else happens; nothing where that goes on already.
    pub(super) fn start(&mut self, client: &Client, store: &Store, ways: Ways) {
        if self.running.is_some() {
            return;
        }
        (self.changed, self.due) = (false, None);
        let (client, store, mut known) = (client.clone(), store.clone(), std::mem::take(&mut self.known));
        self.running = Some(Task(tokio::spawn(async move {
            let left = known.run(&client, &store, ways).await;
            (known, left)
        })));
    }

    /// Returns when a run ends; never where there is none. Whoever stops waiting loses nothing.
    pub(super) async fn ended(&mut self, now: impl Fn() -> u64) {
        let Some(running) = self.running.as_mut() else { return std::future::pending().await };
        let done = (&mut running.0).await;
        self.running = None;
        let meanwhile = std::mem::take(&mut self.known);
        let left = match done {
            Ok((known, left)) => {
                self.known = known;
                left
            }
            // A fault of ours; what is known is found out again.
            Err(error) => {
                tracing::warn!(%error, "the exchange of files stopped");
                Left::Later
            }
        };
        if self.changed {
            self.known.looked = false;
        }
        if !meanwhile.wanted.is_empty() {
            self.known.wanted = meanwhile.wanted;
        }
        let left = if self.changed { Left::More } else { left };
        self.due = match left {
            Left::More => Some(now()),
            Left::Later => Some(now().saturating_add(self.wait)),
            Left::Nothing => None,
        };
        self.wait = if left == Left::Later { (self.wait * 2).min(AGAIN_MS.1) } else { AGAIN_MS.0 };
    }

    /// Ends what goes on, because the gateway or what is wanted of it is another now; it goes on from there at the next start.
    pub(super) fn stop(&mut self) {
        if self.running.take().is_some() {
            self.due = Some(0);
        }
    }
}

impl Known {
    /// One run. What is small goes first, and of a large file one slice.
    async fn run(&mut self, client: &Client, store: &Store, ways: Ways) -> Left {
        let missing = match store.sync_missing_files(ways.fetch_up_to, FILES).await {
            Ok(missing) => missing,
            Err(error) => {
                tracing::warn!(%error, "which files are missing cannot be told");
                Vec::new()
            }
        };
        let small = missing.partition_point(|(_, size)| *size <= SLICE);
        let (small, large) = missing.split_at(small);
        let mut left = if missing.len() < FILES { Left::Nothing } else { Left::More };
        for (blob, size) in small {
            left = left.max(fetch_or_later(client, store, *blob, *size).await);
        }
        left = left.max(self.send_some(client, store, ways).await);
        left = left.max(self.send_wanted(client, store).await);
        for (blob, size) in large {
            left = left.max(fetch_or_later(client, store, *blob, *size).await);
        }
        left
    }

    /// Sends files that are small enough.
    async fn send_some(&mut self, client: &Client, store: &Store, ways: Ways) -> Left {
        if self.looked {
            return Left::Nothing;
        }
        let (mut sent, mut left) = (0, Left::Nothing);
        let mut query = ListQuery { order: Order::Changed, limit: MAX_PAGE, ..ListQuery::of(Kind::Document) };
        for _ in 0..DOCUMENT_PAGES {
            let page = match store.list(&SYNC, query.clone()).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "which files are to be sent cannot be told");
                    return Left::Later;
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
                    return Left::More;
                }
                sent += 1;
                left = left.max(self.send_or_later(client, file, blob, size).await);
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        self.looked = left == Left::Nothing;
        left
    }

    /// Sends what somebody elsewhere waits for, whatever its size.
    async fn send_wanted(&mut self, client: &Client, store: &Store) -> Left {
        let mut left = Left::Nothing;
        for blob in self.wanted.clone() {
            if self.at_gateway.contains(&blob) {
                continue;
            }
            match store.sync_file_to_send(blob).await {
                Ok(Some((file, size))) if size <= MAX_BLOB => {
                    left = left.max(self.send_or_later(client, file, blob, size).await);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, %blob, "whether a file is here cannot be told");
                    left = left.max(Left::Later);
                }
            }
        }
        left
    }

    async fn send_or_later(&mut self, client: &Client, file: File, blob: BlobId, size: u64) -> Left {
        match send(client, file, blob, size).await {
            Ok(()) => {
                self.at_gateway.insert(blob);
                Left::Nothing
            }
            Err(error) => {
                tracing::info!(%blob, %error, "a file did not go");
                Left::Later
            }
        }
    }
}

async fn fetch_or_later(client: &Client, store: &Store, blob: BlobId, size: u64) -> Left {
    match fetch(client, store, blob, size).await {
        Ok(left) => left,
        Err(error) => {
            tracing::info!(%blob, %error, "a file did not come");
            Left::Later
        }
    }
}

/// Fetches a file of `size` bytes, or its next slice.
async fn fetch(client: &Client, store: &Store, blob: BlobId, size: u64) -> Result<Left, FileError> {
    let opened = {
        let store = store.clone();
        tokio::task::spawn_blocking(move || store.blob_part(blob, size))
    };
    let mut part = opened.await.map_err(|_| FileError::Broken)??;
    let end = size.min(part.have().saturating_add(SLICE));
    let mut breaks = 0;
    while part.have() < end {
        let had = part.have();
        part = fetch_piece(client, part, blob, end).await?;
        // A connection that brings something each time may break as often as it likes.
        breaks = if part.have() > had { 0 } else { breaks + 1 };
        if breaks == PIECES {
            return Err(FileError::Broken);
        }
    }
    if part.have() < size {
        return Ok(Left::More);
    }
    let kept = tokio::task::spawn_blocking(move || part.finish()).await.map_err(|_| FileError::Broken)??;
    if kept { Ok(Left::Nothing) } else { Err(FileError::Another) }
}

/// Reads on in a file until its end, or until the connection breaks.
async fn fetch_piece(
    client: &Client,
    mut part: BlobPart,
    blob: BlobId,
    end: u64,
) -> Result<BlobPart, FileError> {
    let from = part.have();
    let response = client.stream(&format!("{BLOBS}/{blob}"), Some((from, end - 1))).await?;
    let begins = format!("bytes {from}-");
    let said = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    if response.status() != StatusCode::PARTIAL_CONTENT || !said.is_some_and(|said| said.starts_with(&begins))
    {
        return Err(FileError::Another);
    }
    let mut pieces = response.bytes_stream();
    while let Ok(Some(Ok(piece))) = timeout(SILENCE, pieces.next()).await {
        if part.have() + piece.len() as u64 > end {
            return Err(FileError::Another);
        }
        // Hashing and writing a piece takes a moment on a card; the event loop does not wait for it.
        let wrote = tokio::task::spawn_blocking(move || part.write(&piece).map(|()| part)).await;
        part = wrote.map_err(|_| FileError::Broken)??;
    }
    Ok(part)
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
