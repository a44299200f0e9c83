//! The background task: rounds of work, and what wakes them.

use std::{collections::HashMap, sync::Arc, time::Instant};

use cairn_store::{PendingDocument, StoreError};
use cairn_sync::{Kind, RecordId};
use tokio::sync::broadcast::error::RecvError;

use super::{
    embedding::{Embedding, Step},
    outcome::{IndexOutcome, IndexState, Trouble},
    reading::{Indexer, MAX_TROUBLES, READING_VERSION},
};

/// Documents asked of the store at once.
const DOCUMENTS: usize = 16;

/// Works until it is aborted.
pub(crate) async fn run(indexer: Arc<Indexer>) {
    tokio::join!(work(&indexer), follow(&indexer));
}

/// Wakes the indexer when a document changes and stops reading one that was deleted.
async fn follow(indexer: &Indexer) {
    let mut changes = indexer.parts.store.subscribe();
    loop {
        match changes.recv().await {
            Ok(change) if change.kind == Kind::Document => {
                if change.deleted {
                    indexer.stop(change.id);
                }
                indexer.wake.notify_one();
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => indexer.wake.notify_one(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// A document to be tried again, and from when on.
struct Deferred {
    trouble: Trouble,
    until: Instant,
}

async fn work(indexer: &Indexer) {
    let mut embedding = Embedding::default();
    let mut deferred: HashMap<RecordId, Deferred> = HashMap::new();
    loop {
        let pause = match round(indexer, &mut embedding, &mut deferred).await {
            Ok(Round::Worked) => continue,
            Ok(Round::Idle) if deferred.is_empty() => {
                indexer.set_state(IndexState::Idle);
                indexer.limits.look
            }
            Ok(Round::Idle) => {
                indexer.set_state(IndexState::Idle);
                indexer.limits.retry
            }
            Ok(Round::WaitingForModel(reason)) => {
                indexer.set_state(IndexState::WaitingForModel { reason });
                indexer.limits.retry
            }
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "the index cannot go on; trying again");
                indexer.set_state(IndexState::Troubled { reason: error.to_string() });
                indexer.limits.retry
            }
        };
        indexer.rounds.send_modify(|rounds| *rounds += 1);
        tokio::select! {
            () = indexer.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What one round came to.
enum Round {
    Worked,
    Idle,
    WaitingForModel(String),
}

/// Documents first, since words are found at once; then one batch of embeddings.
async fn round(
    indexer: &Indexer,
    embedding: &mut Embedding,
    deferred: &mut HashMap<RecordId, Deferred>,
) -> Result<Round, StoreError> {
    let now = Instant::now();
    let pending = indexer.parts.store.pending_documents(READING_VERSION, DOCUMENTS + deferred.len()).await?;
    deferred.retain(|id, _| pending.iter().any(|document| document.document == *id));
    let due = |document: &&PendingDocument| {
        deferred.get(&document.document).is_none_or(|deferred| deferred.until <= now)
    };
    let due: Vec<PendingDocument> = pending.iter().filter(due).cloned().collect();
    let mut progressed = false;
    for document in &due {
        indexer.parts.courtesy.quiet(indexer.limits.patience).await;
        indexer.set_state(IndexState::Reading { title: document.title.clone() });
        progressed |= read(indexer, document, deferred).await;
        indexer.refresh().await?;
    }
    indexer.set_troubles(deferred.values().map(|deferred| deferred.trouble.clone()).collect());
    if due.is_empty() {
        indexer.refresh().await?;
    }
    match embedding.step(indexer).await? {
        Step::Embedded => {
            indexer.set_state(IndexState::Embedding);
            Ok(Round::Worked)
        }
        Step::Nothing | Step::Unavailable(_) if progressed => Ok(Round::Worked),
        Step::Nothing => Ok(Round::Idle),
        Step::Unavailable(reason) => Ok(Round::WaitingForModel(reason)),
    }
}

/// Reads one document; returns whether that settled it.
async fn read(
    indexer: &Indexer,
    document: &PendingDocument,
    deferred: &mut HashMap<RecordId, Deferred>,
) -> bool {
    let id = document.document;
    match indexer.index(id).await {
        Ok(IndexOutcome::Failed { reason }) => {
            tracing::info!(document = %id, reason, "a file cannot be read");
            deferred.remove(&id);
            true
        }
        Ok(IndexOutcome::Indexed { .. } | IndexOutcome::Gone) => {
            deferred.remove(&id);
            true
        }
        Err(error) => {
            tracing::warn!(document = %id, %error, "a document is tried again later");
            if deferred.len() < MAX_TROUBLES || deferred.contains_key(&id) {
                let trouble =
                    Trouble { document: id, title: document.title.clone(), reason: error.to_string() };
                let until = Instant::now() + indexer.limits.retry;
                deferred.insert(id, Deferred { trouble, until });
            }
            false
        }
    }
}
