//! Whoever writes on a hub while everything breaks: one change after the other, each sent again under the same name until
//! the hub has said that it is saved.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use cairn_sync::ChangeId;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use reqwest::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::hubs::Door;

/// How long a change may wait for its hub to come back on a busy machine.
const SAVED_WITHIN: Duration = Duration::from_secs(180);
/// Between two changes of one person, in milliseconds.
const PAUSE: std::ops::Range<u64> = 40..400;

/// What a hub has said is saved.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    /// The change.
    pub(super) change: ChangeId,
    /// Which hub said so.
    pub(super) hub: usize,
    /// The record.
    pub(super) record: String,
    /// Its kind.
    pub(super) kind: &'static str,
    /// What was done.
    pub(super) deed: Deed,
}

/// What a change does.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    /// Makes a record.
    Make(Map<String, Value>),
    /// Changes fields.
    Change(Map<String, Value>),
    /// Deletes it.
    Delete,
}

/// What all people know of: the records to work on, and what was saved.
#[derive(Debug, Default)]
pub(super) struct Town {
    records: Mutex<Vec<(&'static str, String)>>,
    saved: Mutex<Vec<Saved>>,
}

/// What people have in common before they start.
#[derive(Debug, Clone)]
pub(super) struct Common {
    /// A project.
    pub(super) project: String,
    /// An open assessment in it.
    pub(super) assessment: String,
    /// A person whose skills everybody adds to.
    pub(super) person: String,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Town {
    /// Everything that was saved.
    #[must_use]
    pub(super) fn saved(&self) -> Vec<Saved> {
        lock(&self.saved).clone()
    }
}

/// One person at one hub.
pub(super) struct Writer {
    hub: usize,
    door: Door,
    town: Arc<Town>,
    common: Common,
    dice: SmallRng,
    word: u64,
}

impl Writer {
    /// Of hub number `hub`.
    #[must_use]
    pub(super) fn new(hub: usize, door: Door, town: Arc<Town>, common: Common, seed: u64) -> Self {
        let dice = SmallRng::seed_from_u64(seed.wrapping_add(hub as u64 + 1));
        Self { hub, door, town, common, dice, word: 0 }
    }

    /// Writes until told to stop.
    ///
    /// # Errors
    /// When a change is refused that should not be, or cannot be saved in time.
    pub(super) async fn write(mut self, stop: Arc<AtomicBool>) -> Result<()> {
        while !stop.load(Ordering::SeqCst) {
            self.act().await.with_context(|| format!("at hub {}", self.hub))?;
            tokio::time::sleep(Duration::from_millis(self.dice.random_range(PAUSE))).await;
        }
        Ok(())
    }

    /// A word that nobody else ever writes.
    fn word(&mut self) -> String {
        self.word += 1;
        format!("w{}x{}", self.hub, self.word)
    }

    async fn act(&mut self) -> Result<()> {
        let what = self.dice.random_range(0..100_u32);
        let known = self.choose();
        match (what, known) {
            (0..12, _) => self.make("notice", None).await,
            (12..16, _) => self.make("message", None).await,
            (16..24, _) => self.respond().await,
            (24..32, _) => self.learn().await,
            (32..35, Some((kind, id))) => self.delete(kind, id).await,
            (_, Some((kind, id))) => self.change(kind, id).await,
            (_, None) => self.make("notice", None).await,
        }
    }

    /// One of the records that somebody made, with a liking for the newest.
    fn choose(&mut self) -> Option<(&'static str, String)> {
        let records = lock(&self.town.records);
        let from = if self.dice.random_bool(0.7) { records.len().saturating_sub(6) } else { 0 };
        if records.is_empty() {
            return None;
        }
        records.get(self.dice.random_range(from..records.len())).cloned()
    }

    async fn make(&mut self, kind: &'static str, project: Option<String>) -> Result<()> {
        let word = self.word();
        let fields = match kind {
            "notice" => {
                json!({ "title": word, "level": "info", "body": format!("first\nsecond {word}\nthird\n") })
            }
            _ => json!({ "body": word }),
        };
        self.create(kind, project, fields).await
    }

    async fn respond(&mut self) -> Result<()> {
        let word = self.word();
        let fields = json!({ "assessment": self.common.assessment, "answers": { "q": word }, "place": word });
        let project = Some(self.common.project.clone());
        self.create("response", project, fields).await
    }

    async fn create(&mut self, kind: &'static str, project: Option<String>, fields: Value) -> Result<()> {
        let mut body = json!({ "fields": fields });
        if let (Some(project), Some(body)) = (project, body.as_object_mut()) {
            body.insert("project".to_owned(), project.into());
        }
        let (change, answer) =
            self.send(Method::POST, &format!("/api/v1/records/{kind}"), Some(body), None).await?;
        // A project that has not come to this hub yet takes no responses there.
        let Some(answer) = answer else { return Ok(()) };
        let record = answer.get("id").and_then(Value::as_str).context("a record without an id")?.to_owned();
        if kind != "response" {
            lock(&self.town.records).push((kind, record.clone()));
        }
        let Value::Object(fields) = fields else { bail!("fields are an object") };
        self.note(change, record, kind, Deed::Make(fields));
        Ok(())
    }

    /// Adds a skill to those of the person that everybody knows.
    async fn learn(&mut self) -> Result<()> {
        let path = format!("/api/v1/records/person/{}", self.common.person);
        let Ok(person) = self.door.get(&path).await else { return Ok(()) };
        // Only on top of what was seen: what another hub's change adds meanwhile must not be taken out again.
        let seen = person.get("version").and_then(Value::as_u64);
        let skills = person.get("fields").and_then(|fields| fields.get("skills")).and_then(Value::as_array);
        let mut skills = skills.cloned().unwrap_or_default();
        // A set has a limit; a long test ends adding before it is reached.
        if skills.len() > 150 {
            return Ok(());
        }
        skills.push(self.word().into());
        let fields = Map::from_iter([("skills".to_owned(), Value::Array(skills))]);
        self.patch("person", self.common.person.clone(), fields, seen).await
    }

    async fn change(&mut self, kind: &'static str, id: String) -> Result<()> {
        let Ok(record) = self.door.get(&format!("/api/v1/records/{kind}/{id}")).await else { return Ok(()) };
        let word = self.word();
        let body = record.get("fields").and_then(|fields| fields.get("body")).and_then(Value::as_str);
        let body = body.unwrap_or_default();
        let fields = match (kind, self.dice.random_range(0..4_u32)) {
            ("notice", 0) => json!({ "title": word }),
            ("notice", 1) => {
                // A moment that nobody else ever sets.
                let moment = 2_000_000_000_000 + self.word * 100 + self.hub as u64;
                json!({ "level": "urgent", "expires_at": moment })
            }
            // A line at the front or at the end, so that two of them merge.
            ("notice", 2) => json!({ "body": format!("{word}\n{}", keep(body)) }),
            ("notice", _) => json!({ "body": format!("{}{word}\n", keep(body)) }),
            _ => json!({ "body": word }),
        };
        let Value::Object(fields) = fields else { bail!("fields are an object") };
        self.patch(kind, id, fields, None).await
    }

    async fn patch(
        &mut self,
        kind: &'static str,
        id: String,
        fields: Map<String, Value>,
        seen: Option<u64>,
    ) -> Result<()> {
        let path = format!("/api/v1/records/{kind}/{id}");
        let body = Some(json!({ "fields": fields }));
        let (change, answer) = self.send(Method::PATCH, &path, body, seen).await?;
        if answer.is_some() {
            self.note(change, id, kind, Deed::Change(fields));
        }
        Ok(())
    }

    async fn delete(&mut self, kind: &'static str, id: String) -> Result<()> {
        let path = format!("/api/v1/records/{kind}/{id}");
        if self.door.get(&path).await.is_err() {
            return Ok(());
        }
        let (change, answer) = self.send(Method::DELETE, &path, None, None).await?;
        if answer.is_some() {
            self.note(change, id, kind, Deed::Delete);
        }
        Ok(())
    }

    fn note(&self, change: ChangeId, record: String, kind: &'static str, deed: Deed) {
        lock(&self.town.saved).push(Saved { change, hub: self.hub, record, kind, deed });
    }

    /// Sends a change until it is saved or there is nothing to change any more (`None`).
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        seen: Option<u64>,
    ) -> Result<(ChangeId, Option<Value>)> {
        let change = ChangeId::new();
        let deadline = Instant::now() + SAVED_WITHIN;
        loop {
            if let Some(mut request) = self.door.request(method.clone(), path) {
                request = request.header("Idempotency-Key", change.to_string());
                if let Some(body) = &body {
                    request = request.json(body);
                }
                if let Some(seen) = seen {
                    request = request.header("If-Match", format!("\"{seen}\""));
                }
                if let Ok(answer) = request.send().await {
                    match answer.status() {
                        StatusCode::NO_CONTENT => return Ok((change, Some(Value::Null))),
                        status if status.is_success() => {
                            // An answer that breaks off says nothing: the change is sent again.
                            if let Ok(record) = answer.json().await {
                                return Ok((change, Some(record)));
                            }
                        }
                        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok((change, None)),
                        // Somebody was faster.
                        StatusCode::CONFLICT if seen.is_some() => return Ok((change, None)),
                        StatusCode::TOO_MANY_REQUESTS => {}
                        status if status.is_server_error() => {}
                        status => {
                            bail!("{method} {path}: {status} {}", answer.text().await.unwrap_or_default())
                        }
                    }
                }
            }
            if Instant::now() > deadline {
                bail!("{method} {path} is not saved after {} s", SAVED_WITHIN.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The last lines of a text that has grown long.
fn keep(body: &str) -> String {
    let lines: Vec<&str> = body.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
    tail.iter().map(|line| format!("{line}\n")).collect()
}
