//! One round and what belongs to it: the time, the request, its answer, and where the hub is far behind the stream that fills it.

use std::time::{Duration, Instant};

use cairn_store::{LogEntry, SyncError, Taken, TakenIn};
use cairn_sync::{
    session::{Failure, Input},
    wire::MAX_RECORDS,
};

use super::{
    Client, Enrolment, Ways,
    driver::{Loop, Trouble},
    fill, random,
    status::State,
    time,
};

/// How often the gateway is asked for the time.
const TIME_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// Rounds in a row that go on at once because a scope did not add up. After that it waits for its time: a scope that
/// never adds up must not be read over and over.
const HEALING_ROUNDS: u32 = 2;

impl Loop {
    /// One round and what belongs to it. An error is the store's; everything else is for the session.
    pub(super) async fn round(
        &mut self,
        client: &Client,
        enrolment: &Enrolment,
        ways: Ways,
    ) -> Result<Input, Trouble> {
        self.tell(State::Busy);
        let began = Instant::now();
        self.keep_time(client, enrolment).await;
        let request = self.store.sync_request(random()?, MAX_RECORDS).await?;
        let up = request.changes.len();
        let outcome = match client.round(&request).await {
            Ok(reply) => match self.store.sync_take_in(reply).await {
                Ok(TakenIn::Done(taken)) => Ok(taken),
                // Nothing is under way that it could answer: as if nothing had come.
                Ok(TakenIn::Stale) => {
                    Err((Failure::Nonsense, "the answer belongs to another request".to_owned()))
                }
                Err(SyncError::Nonsense(nonsense)) => Err((Failure::Nonsense, nonsense.to_string())),
                Err(SyncError::Store(error)) => return Err(error.into()),
            },
            Err(error) => Err((error.failure(), error.to_string())),
        };
        let mut note = String::new();
        let outcome = match outcome {
            // What was brought comes back as records: a long queue alone is no reason.
            Ok(taken) if taken.behind && taken.records >= fill::FAR_BEHIND => {
                Ok(self.fill(client, taken, &mut note).await?)
            }
            other => other,
        };
        let mut entry = LogEntry {
            at_ms: i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX),
            up: u32::try_from(up).unwrap_or(u32::MAX),
            note,
            took_ms: u32::try_from(began.elapsed().as_millis()).unwrap_or(u32::MAX),
            ..LogEntry::default()
        };
        let input = match outcome {
            Ok(taken) => {
                entry.down = u32::try_from(taken.records).unwrap_or(u32::MAX);
                entry.worked = true;
                if !taken.healed.is_empty() {
                    let scopes: Vec<String> = taken.healed.iter().map(ToString::to_string).collect();
                    entry.note = format!("did not add up and is read again: {}", scopes.join(", "));
                    tracing::warn!(note = entry.note, "checksums differ");
                    self.healing += 1;
                } else if !taken.more {
                    self.healing = 0;
                }
                if taken.refused > 0 {
                    entry.note = format!("{} changes were refused and lie aside", taken.refused);
                }
                let now = self.clock.now_ms();
                self.told.send_modify(|status| {
                    status.last_success_ms = Some(now);
                    status.trouble = None;
                });
                if taken.answered > 0 || taken.records > 0 {
                    self.exchange.changed();
                }
                if !taken.more {
                    let now = self.now();
                    if let Some(reply) = self.reports.send(client, &self.store, &self.name, now).await {
                        self.change_key |= reply.change_key;
                        self.exchange.asked_for(reply.wanted);
                    }
                    self.exchange.start(client, &self.store, ways);
                }
                let again = !taken.healed.is_empty() && self.healing <= HEALING_ROUNDS;
                Input::Done { more: taken.more || again }
            }
            Err((failure, why)) => {
                self.told.send_modify(|status| status.trouble = Some(why.clone()));
                entry.note = why;
                Input::Failed(failure)
            }
        };
        // An idle hub's log would be full of rounds in which nothing happened, and its card would wear.
        if up > 0 || entry.down > 0 || !entry.worked || !entry.note.is_empty() {
            self.store.sync_log_add(entry).await?;
        }
        Ok(input)
    }

    /// Goes on after a first reply that was one of many.
    async fn fill(&self, client: &Client, mut taken: Taken, note: &mut String) -> Result<Taken, Trouble> {
        let filled = fill::fill(client, &self.store).await?;
        *note = format!("{} records came in one stream", filled.records);
        if filled.streams > 1 {
            note.push_str(&format!(", which went on {} times", filled.streams - 1));
        }
        taken.records += filled.records;
        taken.more = filled.more;
        taken.healed.extend(filled.healed);
        Ok(taken)
    }

    /// Asks for the time now and then. Without an answer everything goes on with what is known.
    async fn keep_time(&mut self, client: &Client, enrolment: &Enrolment) {
        if self.asked_time.is_some_and(|at| at.elapsed() < TIME_EVERY) {
            return;
        }
        match time::ask(client, &self.store, &self.clock, &enrolment.time_key).await {
            Ok(unix_ms) => {
                self.asked_time = Some(Instant::now());
                if let Some(system) = &self.system {
                    system.learnt(unix_ms);
                }
            }
            Err(error) => tracing::debug!(%error, "the gateway did not say what time it is"),
        }
    }
}
