//! How the hub is, for whoever looks after many: what waits, the last exchanges, and what became of updates.

use std::{fmt, sync::Arc};

use cairn_store::Store;
use cairn_sync::http::{
    LogLine, MAX_LOG, MAX_NAME, MAX_NOTE, MAX_VERSION, REPORT, Report, ReportReply, UpdateOutcome,
};

use super::{Client, ClientError};
use crate::updates::outcomes::Outcomes;

/// The shortest time between two reports, in milliseconds.
const AGAIN_MS: u64 = 60_000;

/// What a hub says of itself beyond its records.
#[derive(Clone)]
pub struct About {
    /// The version that people are told.
    pub version: String,
    /// The board, as in `hardware/`; empty on a computer.
    pub board: String,
    /// Free space for its data, in bytes, where it is known.
    pub free_bytes: Arc<dyn Fn() -> Option<u64> + Send + Sync>,
    /// What became of updates, on a device that takes them.
    pub outcomes: Option<Arc<Outcomes>>,
}

impl Default for About {
    /// A computer of which nothing is known.
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            board: String::new(),
            free_bytes: Arc::new(|| None),
            outcomes: None,
        }
    }
}

impl fmt::Debug for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("About")
            .field("version", &self.version)
            .field("board", &self.board)
            .finish_non_exhaustive()
    }
}

/// When the gateway wants to hear how the hub is; at once at first.
#[derive(Debug)]
pub(super) struct Reports {
    about: About,
    due: Option<u64>,
    /// What was said of updates last, and when, whatever came of it.
    told: Option<(u64, Vec<UpdateOutcome>)>,
}

impl Reports {
    pub(super) const fn new(about: About) -> Self {
        Self { about, due: None, told: None }
    }

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
        let updates = self.about.outcomes.as_ref().map(|outcomes| outcomes.waiting()).unwrap_or_default();
        // What became of an update does not wait for the time of the next report, but a gateway that does not take it is not pressed.
        let again = |(at, said): &(u64, _)| *said != updates || now.saturating_sub(*at) >= AGAIN_MS;
        let pressing = !updates.is_empty() && self.told.as_ref().is_none_or(again);
        if self.due.is_some_and(|due| due > now) && !pressing {
            return None;
        }
        self.told = Some((now, updates.clone()));
        let reply = self.about.send(client, store, name, updates).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the gateway did not hear how the hub is");
            ReportReply::default()
        });
        // Where a key is to be changed, the answer may get lost: it is asked for again soon.
        let next = if reply.change_key { AGAIN_MS } else { reply.next_ms.max(AGAIN_MS) };
        self.due = Some(now.saturating_add(next));
        Some(reply)
    }
}

impl About {
    /// Sends a report. What it said of updates was heard when there is an answer.
    async fn send(
        &self,
        client: &Client,
        store: &Store,
        name: &str,
        updates: Vec<UpdateOutcome>,
    ) -> Result<ReportReply, ClientError> {
        let report = report(store, name).await.map_err(|error| ClientError::Unreadable(error.to_string()))?;
        let report = Report {
            version: shortened(&self.version, MAX_VERSION),
            board: self.board.clone(),
            free_bytes: (self.free_bytes)().unwrap_or_default(),
            updates,
            ..report
        };
        let reply = client.json(REPORT, &report).await?;
        if let Some(outcomes) = self.outcomes.clone().filter(|_| !report.updates.is_empty()) {
            let heard = tokio::task::spawn_blocking(move || outcomes.heard(&report.updates));
            heard.await.map_err(|error| ClientError::Unreadable(error.to_string()))?;
        }
        Ok(reply)
    }
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
        queue: figures.queue,
        conflicts: figures.conflicts,
        refused: figures.refused,
        log: log.collect(),
        ..Report::default()
    })
}

/// The beginning of a text, at most so many bytes.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default().to_owned()
}
