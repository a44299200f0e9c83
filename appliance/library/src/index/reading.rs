//! One document at a time: file → confined reader → passages → store.

use std::{
    collections::HashMap,
    fs::File,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cairn_store::{DocumentIndex, FileMeta, IndexProgress, Location, Part, Passage, StoreError, Viewer};
use cairn_sync::RecordId;
use tokio::sync::{Notify, Semaphore, watch};

use super::{
    outcome::{IndexError, IndexLimits, IndexOutcome, IndexState, Progress, Trouble},
    pace::Pace,
};
use crate::{
    extract::{EXTRACTOR_VERSION, Extractor, Hint},
    library::Parts,
    split::{self, SPLITTER_VERSION, Splitter},
};

/// What the index remembers of how a document was read: a change of the reader or of the cutting makes it pending.
pub(crate) const READING_VERSION: u32 = EXTRACTOR_VERSION * 1_000 + SPLITTER_VERSION;

/// Readers that run side by side: one for the background, one for whoever uploads just now.
const READERS: usize = 2;
/// Most troubled documents that are remembered; they are pending in the store anyway.
pub(crate) const MAX_TROUBLES: usize = 100;

/// Turns documents into passages and keeps the count.
pub(crate) struct Indexer {
    pub(crate) parts: Arc<Parts>,
    pub(crate) limits: IndexLimits,
    extractor: Extractor,
    readers: Semaphore,
    /// Documents being read, so that no two readers take the same one, and deletion can stop one.
    in_hand: Mutex<HashMap<RecordId, Arc<InHand>>>,
    board: Mutex<Board>,
    /// Something may be left to do.
    pub(crate) wake: Notify,
    /// Counts rounds after which nothing was left to do.
    pub(crate) rounds: watch::Sender<u64>,
}

/// One document being read.
#[derive(Default)]
struct InHand {
    turn: tokio::sync::Mutex<()>,
    stop: Notify,
}

/// What is shown of the indexer.
#[derive(Default)]
struct Board {
    counts: IndexProgress,
    state: IndexState,
    pace: Pace,
    troubles: Vec<Trouble>,
}

/// The indexer's own viewer.
pub(crate) const fn indexing() -> Viewer {
    Viewer::system(Part::Index)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in this module can panic while it holds a lock; if something did, the counts are still usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Indexer {
    pub(crate) fn new(parts: Arc<Parts>, extractor: Extractor, limits: IndexLimits) -> Self {
        Self {
            parts,
            limits,
            extractor,
            readers: Semaphore::new(READERS),
            in_hand: Mutex::default(),
            board: Mutex::default(),
            wake: Notify::new(),
            rounds: watch::Sender::new(0),
        }
    }

    /// For an upload, which waits: reads the document now, whatever became of it before.
    pub(crate) async fn index_now(&self, document: RecordId) -> Result<IndexOutcome, IndexError> {
        let outcome = self.index(document).await;
        self.refresh().await?;
        self.wake.notify_one();
        outcome
    }

    /// Reads one document unless that was done meanwhile.
    pub(crate) async fn index(&self, document: RecordId) -> Result<IndexOutcome, IndexError> {
        let in_hand = lock(&self.in_hand).entry(document).or_default().clone();
        let outcome = {
            let _turn = in_hand.turn.lock().await;
            match self.parts.store.document_index(&indexing(), document).await {
                Ok(DocumentIndex::Indexed { passages, .. }) => {
                    Ok(IndexOutcome::Indexed { passages, notices: Vec::new() })
                }
                Ok(DocumentIndex::Pending | DocumentIndex::Failed { .. }) => tokio::select! {
                    outcome = self.read_and_store(document) => outcome,
                    () = in_hand.stop.notified() => Ok(IndexOutcome::Gone),
                },
                Err(StoreError::NotFound(_)) => Ok(IndexOutcome::Gone),
                Err(error) => Err(error.into()),
            }
        };
        let mut all = lock(&self.in_hand);
        // Ours and the map's own: nobody else waits for this document.
        if Arc::strong_count(&in_hand) <= 2 {
            all.remove(&document);
        }
        outcome
    }

    /// Stops reading a document that was deleted.
    pub(crate) fn stop(&self, document: RecordId) {
        if let Some(in_hand) = lock(&self.in_hand).get(&document) {
            in_hand.stop.notify_waiters();
        }
    }

    async fn read_and_store(&self, document: RecordId) -> Result<IndexOutcome, IndexError> {
        let store = &self.parts.store;
        let (file, meta) = match store.open_file(&indexing(), document).await {
            Ok(opened) => opened,
            Err(StoreError::NotFound(_)) => return Ok(IndexOutcome::Gone),
            Err(error) => return Err(error.into()),
        };
        let blob = meta.blob;
        match self.read(file, meta).await? {
            Read::Passages { passages, notices } => {
                let count = passages.len() as u64;
                match store.put_passages(document, blob, READING_VERSION, passages).await {
                    Ok(()) => Ok(IndexOutcome::Indexed { passages: count, notices }),
                    Err(StoreError::NotFound(_)) => Ok(IndexOutcome::Gone),
                    Err(error) => Err(error.into()),
                }
            }
            Read::Unreadable { reason } => {
                match store.mark_failed(document, blob, READING_VERSION, &reason).await {
                    Ok(()) => Ok(IndexOutcome::Failed { reason }),
                    Err(StoreError::NotFound(_)) => Ok(IndexOutcome::Gone),
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    async fn read(&self, file: File, meta: FileMeta) -> Result<Read, IndexError> {
        let _reader = self.readers.acquire().await.map_err(|_| IndexError::Store(StoreError::Closed))?;
        let hint = Hint { name: meta.file_name, media_type: Some(meta.media_type) };
        let mut passages = Vec::new();
        let mut splitter = Splitter::new(|passage| passages.push(stored(passage)));
        // Cutting while the child still reads keeps only the passages in memory, not the blocks too.
        let read = self
            .extractor
            .extract_to(file, &hint, |blocks| blocks.iter().for_each(|block| splitter.block(block)));
        let read = read.await;
        splitter.finish();
        match read {
            Ok(summary) => {
                let notices = summary.notices.iter().map(ToString::to_string).collect();
                Ok(Read::Passages { passages, notices })
            }
            Err(error) if error.is_transient() => Err(IndexError::Later(error.to_string())),
            Err(error) => Ok(Read::Unreadable { reason: error.to_string() }),
        }
    }

    /// Documents and passages as last counted.
    pub(crate) fn counts(&self) -> IndexProgress {
        lock(&self.board).counts
    }

    /// Counts again.
    pub(crate) async fn refresh(&self) -> Result<IndexProgress, StoreError> {
        let counts = self.parts.store.index_progress().await?;
        lock(&self.board).counts = counts;
        Ok(counts)
    }

    pub(crate) fn set_state(&self, state: IndexState) {
        lock(&self.board).state = state;
    }

    /// Embedded `count` passages in `time`.
    pub(crate) fn embedded(&self, count: usize, time: std::time::Duration) {
        let mut board = lock(&self.board);
        board.pace.record(count, time);
        board.counts.embedded = (board.counts.embedded + count as u64).min(board.counts.passages);
    }

    pub(crate) fn set_troubles(&self, troubles: Vec<Trouble>) {
        lock(&self.board).troubles = troubles;
    }

    pub(crate) fn progress(&self) -> Progress {
        let board = lock(&self.board);
        let counts = board.counts;
        let unread = counts.documents.saturating_sub(counts.indexed + counts.failed);
        // A file that was not read yet is taken for an average one.
        let average = counts.passages.checked_div(counts.indexed).unwrap_or(0);
        let left = counts.passages.saturating_sub(counts.embedded) + unread * average;
        Progress {
            counts,
            state: board.state.clone(),
            seconds_left: board.pace.seconds_for(left),
            troubles: board.troubles.clone(),
        }
    }

    /// Waits for two whole rounds without work: the first may have begun before whatever the caller did.
    pub(crate) async fn settled(&self) -> Progress {
        let mut rounds = self.rounds.subscribe();
        for _ in 0..2 {
            rounds.mark_unchanged();
            self.wake.notify_one();
            if rounds.changed().await.is_err() {
                break;
            }
        }
        self.progress()
    }
}

/// A passage as the store takes it. Where the document has chapters but no headings, the chapter is the heading.
pub(crate) fn stored(passage: split::Passage) -> Passage {
    let mut heading = passage.heading();
    if heading.is_empty() {
        heading = passage.location.chapter.unwrap_or_default();
    }
    Passage {
        ordinal: passage.ordinal,
        heading,
        text: passage.text,
        location: Location { page: passage.location.page, anchor: passage.location.anchor },
    }
}

/// What a reader made of a file.
enum Read {
    Passages { passages: Vec<Passage>, notices: Vec<String> },
    Unreadable { reason: String },
}
