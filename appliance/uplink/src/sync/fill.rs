//! Filling a hub that is new or far behind: everything beyond its cursors in one stream (S7), page by page. Each page is taken in with
//! its cursors in one transaction, so that a broken stream goes on where it broke, also after a restart.

use std::time::{Duration, Instant};

use cairn_store::{Store, StoreError, SyncError};
use cairn_sync::{
    http::{
        Page, SNAPSHOT, SnapshotRequest,
        pack::{FRAME_PREFIX, frame_length, unframe},
    },
    wire::{MAX_RECORDS, ScopeId},
};
use futures::StreamExt;

use super::{Client, ClientError};

/// A reply with so many records, and more to come, is the first of many: one stream saves their round trips.
pub(super) const FAR_BEHIND: usize = MAX_RECORDS as usize / 2;
/// How long the stream may be silent.
const SILENCE: Duration = Duration::from_secs(60);
/// How long it may go on before the loop looks at what else there is to do.
const WITHIN: Duration = Duration::from_secs(10 * 60);
/// How often it may break in a row without having brought a page.
const BREAKS: u32 = 5;

/// What came.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// Records.
    pub(super) records: usize,
    /// Streams that it took.
    pub(super) streams: u32,
    /// Whether there is more to fetch or to send.
    pub(super) more: bool,
    /// Scopes that did not add up and are read again.
    pub(super) healed: Vec<ScopeId>,
}

/// What ended one stream.
enum Ended {
    /// It was read to its end.
    Whole,
    /// It broke, after so many pages.
    Broke { pages: u32 },
    /// It made no sense.
    Nonsense(String),
}

/// Fills the hub, as far as that goes; what is left follows in rounds, which also tell what is wrong with the gateway.
///
/// # Errors
/// The store's.
pub(super) async fn fill(client: &Client, store: &Store) -> Result<Filled, StoreError> {
    let mut filled = Filled { more: true, ..Filled::default() };
    let (began, mut idle) = (Instant::now(), 0);
    while began.elapsed() < WITHIN && idle < BREAKS {
        filled.streams += 1;
        match stream(client, store, &mut filled, began).await? {
            Ended::Whole => return Ok(filled),
            Ended::Broke { pages } => idle = if pages > 0 { 0 } else { idle + 1 },
            Ended::Nonsense(why) => {
                tracing::warn!(why, "a page of the stream that fills this hub was not taken in");
                break;
            }
        }
    }
    Ok(filled)
}

async fn stream(
    client: &Client,
    store: &Store,
    filled: &mut Filled,
    began: Instant,
) -> Result<Ended, StoreError> {
    let request = SnapshotRequest { cursors: store.sync_cursors().await? };
    let mut pages = 0;
    let response = match client.frames(SNAPSHOT, &request).await {
        Ok(response) => response,
        Err(ClientError::Unreadable(why)) => return Ok(Ended::Nonsense(why)),
        Err(error) => {
            tracing::debug!(%error, "the stream that fills this hub did not begin");
            return Ok(Ended::Broke { pages });
        }
    };
    let mut pieces = response.bytes_stream();
    let mut buffer: Vec<u8> = Vec::new();
    loop {
        while let Some(prefix) = buffer.first_chunk::<FRAME_PREFIX>() {
            let length = match frame_length(*prefix) {
                Ok(length) if buffer.len() < length => break,
                Ok(length) => length,
                Err(error) => return Ok(Ended::Nonsense(error.to_string())),
            };
            let rest = buffer.split_off(length);
            let page: Page = match unframe(&std::mem::replace(&mut buffer, rest)) {
                Ok(page) => page,
                Err(error) => return Ok(Ended::Nonsense(error.to_string())),
            };
            let last = !page.more;
            match store.sync_take_page(page).await {
                Ok(taken) => {
                    pages += 1;
                    filled.records += taken.records;
                    filled.more = taken.more;
                    filled.healed.extend(taken.healed);
                }
                Err(SyncError::Nonsense(nonsense)) => return Ok(Ended::Nonsense(nonsense.to_string())),
                Err(SyncError::Store(error)) => return Err(error),
            }
            if last {
                return Ok(Ended::Whole);
            }
            if began.elapsed() >= WITHIN {
                filled.more = true;
                return Ok(Ended::Broke { pages });
            }
        }
        match tokio::time::timeout(SILENCE, pieces.next()).await {
            Ok(Some(Ok(piece))) => buffer.extend_from_slice(&piece),
            Ok(Some(Err(_)) | None) | Err(_) => {
                filled.more = true;
                return Ok(Ended::Broke { pages });
            }
        }
    }
}
