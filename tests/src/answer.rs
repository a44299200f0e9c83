//! An answer as the hub sends it: server-sent events, one after the other.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream::BoxStream};
use reqwest::Client;
use serde_json::{Value, json};

/// How long the next event may take on a busy machine.
const NEXT_WITHIN: Duration = Duration::from_secs(120);
/// Most bytes between two events.
const MAX_EVENT: usize = 1 << 20;

/// An answer under way. Dropping it leaves the hub, which cancels it.
pub struct Answer {
    body: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    pending: Vec<u8>,
}

impl Answer {
    /// Asks the hub at `address`.
    ///
    /// # Errors
    /// When the hub refuses the question.
    pub async fn ask(client: &Client, address: &str, question: &str) -> Result<Self> {
        let request = client.post(format!("{address}/api/v1/ask")).header("Origin", address);
        let answer = request.json(&json!({ "text": question })).send().await?.error_for_status()?;
        let body = answer.bytes_stream().map(|piece| piece.map(|bytes| bytes.to_vec())).boxed();
        Ok(Self { body, pending: Vec::new() })
    }

    /// The next event's data; its name stands in `event`. `None` when the stream has ended.
    ///
    /// # Errors
    /// When nothing comes in time, the connection breaks, or what comes is no event.
    pub async fn next(&mut self) -> Result<Option<Value>> {
        // Signs of life in between do not count as coming.
        let deadline = tokio::time::Instant::now() + NEXT_WITHIN;
        loop {
            if let Some(end) = self.pending.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.pending.drain(..end + 2).collect();
                if let Some(data) = data_of(&String::from_utf8(block)?) {
                    return Ok(Some(serde_json::from_str(&data)?));
                }
                continue;
            }
            if self.pending.len() > MAX_EVENT {
                bail!("an event has no end");
            }
            let piece = tokio::time::timeout_at(deadline, self.body.next()).await;
            match piece.context("nothing came in time")? {
                Some(piece) => self.pending.extend(piece?),
                None => return Ok(None),
            }
        }
    }

    /// Events up to the first of this name, that one included.
    ///
    /// # Errors
    /// As [`Answer::next`], and when the stream ends without such an event.
    pub async fn until(&mut self, name: &str) -> Result<Vec<Value>> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await? {
            let found = name_of(&event) == name;
            seen.push(event);
            if found {
                return Ok(seen);
            }
        }
        let names: Vec<&str> = seen.iter().map(name_of).collect();
        bail!("the answer ended without {name:?}: {names:?} {:?}", seen.last());
    }
}

/// An event's name.
#[must_use]
pub fn name_of(event: &Value) -> &str {
    event.get("event").and_then(Value::as_str).unwrap_or_default()
}

/// The data of one block; `None` for a comment.
fn data_of(block: &str) -> Option<String> {
    let lines: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("data:")).collect();
    (!lines.is_empty()).then(|| lines.join("\n").trim_start().to_owned())
}
