//! The held stream: it says that there is something newer, and nothing else. Whoever loses it loses only time.

use std::time::Duration;

use cairn_sync::http::{EVENTS, Event, MAX_LINE, SILENCE_MS};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::Client;

/// Follows the stream until it ends; each event goes to `tell`. Returns when the connection is gone or silent for too
/// long, or nobody listens any more.
pub(super) async fn follow(client: &Client, tell: &mpsc::Sender<Event>) {
    let response = match client.stream(EVENTS, None).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(%error, "no held stream");
            return;
        }
    };
    let mut pieces = response.bytes_stream();
    let mut line = Vec::new();
    loop {
        let piece = match tokio::time::timeout(Duration::from_millis(SILENCE_MS), pieces.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_)) | None) | Err(_) => return,
        };
        for byte in piece {
            if byte != b'\n' {
                line.push(byte);
                if line.len() > MAX_LINE {
                    tracing::warn!("a line of the held stream is too long");
                    return;
                }
                continue;
            }
            // A kind of event that is newer than this software is passed over.
            if let Ok(event) = serde_json::from_slice::<Event>(&line) {
                let last = event == Event::Drain;
                if tell.send(event).await.is_err() || last {
                    return;
                }
            }
            line.clear();
        }
    }
}
