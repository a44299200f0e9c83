//! How the hub is, for whoever looks after many: what waits, and the last exchanges.

use cairn_store::Store;
use cairn_sync::http::{LogLine, MAX_LOG, MAX_NAME, MAX_NOTE, REPORT, Report, ReportReply};

use super::{Client, ClientError};

/// The shortest time between two reports, in milliseconds.
const AGAIN_MS: u64 = 60_000;

/// When the gateway wants to hear how the hub is; at once at first.
#[derive(Debug, Default)]
pub(super) struct Reports {
    due: Option<u64>,
}

impl Reports {
    /// The gateway has something to say in its answer.
    pub(super) const fn ask(&mut self) {
        self.due = None;
    }

    /// Sends a report where it is time for one, `now` in milliseconds. Without an answer it is tried again later. Gives what
    /// the gateway wants of the hub.
    pub(super) async fn send(
        &mut self,
        client: &Client,
        store: &Store,
        name: &str,
        now: u64,
    ) -> Option<ReportReply> {
        if self.due.is_some_and(|due| due > now) {
            return None;
        }
        let reply = send(client, store, name).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the gateway did not hear how the hub is");
            ReportReply::default()
        });
        // Where a key is to be changed, the answer may get lost: it is asked for again soon.
        let next = if reply.change_key { AGAIN_MS } else { reply.next_ms.max(AGAIN_MS) };
        self.due = Some(now.saturating_add(next));
        Some(reply)
    }
}

/// Sends a report.
async fn send(client: &Client, store: &Store, name: &str) -> Result<ReportReply, ClientError> {
    let report = report(store, name).await.map_err(|error| ClientError::Unreadable(error.to_string()))?;
    client.json(REPORT, &report).await
}

async fn report(store: &Store, name: &str) -> cairn_store::Result<Report> {
    let (figures, settings) = (store.sync_figures().await?, store.settings().await?);
    let mut log = store.sync_log(u16::try_from(MAX_LOG).unwrap_or(u16::MAX)).await?;
    log.reverse();
    let log = log.into_iter().map(|entry| LogLine {
        at: entry.at_ms,
        up: entry.up,
        down: entry.down,
        took_ms: entry.took_ms,
        worked: entry.worked,
        note: shortened(&entry.note, MAX_NOTE),
    });
    let name = if settings.hub_name.is_empty() { name } else { &settings.hub_name };
    Ok(Report {
        name: shortened(name, MAX_NAME),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        queue: figures.queue,
        conflicts: figures.conflicts,
        refused: figures.refused,
        log: log.collect(),
        ..Report::default()
    })
}

/// The beginning of a text, at most so many bytes.
fn shortened(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}
