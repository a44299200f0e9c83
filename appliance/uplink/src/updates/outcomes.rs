//! What became of updates, kept until the gateway has heard it, so that a rollout whose hubs fail can be stopped.
//!
//! The supervisor's record says how the last attempt ended; it is looked at before another one can begin. What ends before that,
//! because what came is not what was signed or does not fit, is said by the loop. Everything is written down before it is told: a hub that
//! went back says so after any number of restarts, and what the gateway heard without the hub hearing its answer is told in the same words again.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use cairn_bundle::Version;
use cairn_slots::{
    durable::{self, Files, Folder},
    record::{Ended, Record},
};
use cairn_sync::http::{MAX_NOTE, UpdateOutcome, UpdateResult};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::sync::shortened;

/// The file, in the folder of updates.
const FILE: &str = "outcomes.json";
/// Most outcomes that wait; the oldest give way. A hub without a gateway keeps no more.
const MAX_WAITING: usize = 16;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    /// The ending of the supervisor's record that was taken over last, and its number.
    seen: Option<(u64, Ended)>,
    /// The version that was refused last: it is told once, however often it is fetched.
    refused: Option<Version>,
    /// What the gateway has not heard, oldest first.
    waiting: Vec<UpdateOutcome>,
}

/// What became of updates and was not heard yet.
#[derive(Debug)]
pub struct Outcomes {
    folder: Folder,
    kept: Mutex<Kept>,
    /// How many wait.
    telling: watch::Sender<usize>,
}

impl Outcomes {
    /// What an earlier run left in `folder`; a file that cannot be understood is told and begun anew.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let folder = Folder(folder.to_owned());
        let read = folder.read(FILE).map_err(|error| error.to_string()).and_then(|bytes| match bytes {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            None => Ok(Kept::default()),
        });
        let kept = read.unwrap_or_else(|error| {
            tracing::warn!(error, "what became of earlier updates cannot be read");
            Kept::default()
        });
        let telling = watch::Sender::new(kept.waiting.len());
        Self { folder, kept: Mutex::new(kept), telling }
    }

    /// Follows how many wait.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<usize> {
        self.telling.subscribe()
    }

    /// What waits, oldest first.
    #[must_use]
    pub fn waiting(&self) -> Vec<UpdateOutcome> {
        self.locked().waiting.clone()
    }

    /// Looks how the last attempt ended, at `now` in milliseconds since 1970.
    pub fn take_over(&self, record: &Record, now: i64) {
        let Some(last) = &record.last else { return };
        let mut kept = self.locked();
        if kept.seen.as_ref().is_some_and(|(number, seen)| *number == record.ended && seen == last) {
            return;
        }
        let (version, result, note) = match last {
            Ended::Confirmed(release) => (release.version, UpdateResult::Healthy, String::new()),
            Ended::Failed(bad) => (bad.release.version, UpdateResult::RolledBack, bad.failure.to_string()),
        };
        let seen = Some((record.ended, last.clone()));
        self.add(&mut kept, |kept| kept.seen = seen, version, result, &note, now);
    }

    /// A version could not be written or was not tried, because of what it is.
    pub fn refused(&self, version: Version, why: &str, now: i64) {
        let mut kept = self.locked();
        if kept.refused != Some(version) {
            let refused = |kept: &mut Kept| kept.refused = Some(version);
            self.add(&mut kept, refused, version, UpdateResult::Failed, why, now);
        }
    }

    /// The gateway has heard `told`.
    pub fn heard(&self, told: &[UpdateOutcome]) {
        let mut kept = self.locked();
        let mut next = kept.clone();
        next.waiting.retain(|outcome| !told.contains(outcome));
        self.keep(&mut kept, next);
    }

    fn locked(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(
        &self,
        kept: &mut Kept,
        because: impl FnOnce(&mut Kept),
        version: Version,
        result: UpdateResult,
        note: &str,
        now: i64,
    ) {
        let mut next = kept.clone();
        because(&mut next);
        let (version, note) = (version.to_string(), shortened(note, MAX_NOTE));
        next.waiting.push(UpdateOutcome { at: now, version, result, note });
        next.waiting.drain(..next.waiting.len().saturating_sub(MAX_WAITING));
        self.keep(kept, next);
    }

    /// What could not be written down did not happen: it is looked at again.
    fn keep(&self, kept: &mut Kept, next: Kept) {
        if *kept == next {
            return;
        }
        let written = serde_json::to_vec(&next).map_err(std::io::Error::other).and_then(|bytes| {
            std::fs::create_dir_all(&self.folder.0)?;
            durable::replace(&self.folder, FILE, &bytes)
        });
        match written {
            Ok(()) => {
                *kept = next;
                self.telling.send_replace(kept.waiting.len());
            }
            Err(error) => tracing::warn!(%error, "what became of an update could not be written down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_bundle::Digest;
    use cairn_slots::{
        SlotId,
        boot_control::Outcome,
        health::{Failure, Probe},
        record::Release,
    };

    use super::*;

    fn tried(record: &Record, version: &str) -> Record {
        let release = Release { version: version.parse().unwrap(), manifest: Digest::of(version.as_bytes()) };
        record.with_attempt(release, SlotId::B)
    }

    fn came_back(record: &Record) -> Record {
        let failure = Failure { probe: Some(Probe::Page), reason: "it does not answer".to_owned() };
        record.failing(failure).at_start(Outcome::CameBack { from: SlotId::B }, SlotId::A).0
    }

    fn told(outcomes: &Outcomes) -> Vec<(String, UpdateResult)> {
        outcomes.waiting().into_iter().map(|outcome| (outcome.version, outcome.result)).collect()
    }

    #[test]
    fn an_ending_is_told_once_and_survives_a_restart_until_it_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let outcomes = Outcomes::open(folder.path());
        outcomes.take_over(&Record::default(), 1);
        assert_eq!(outcomes.waiting(), [], "nothing has ended");
        let failed = came_back(&tried(&Record::default(), "1.1.0"));
        outcomes.take_over(&failed, 2);
        outcomes.take_over(&failed, 3);
        let again = Outcomes::open(folder.path());
        again.take_over(&failed, 4);
        let waiting = again.waiting();
        assert_eq!(told(&again), [("1.1.0".to_owned(), UpdateResult::RolledBack)]);
        assert_eq!((waiting[0].at, waiting[0].note.as_str()), (2, "page: it does not answer"));

        // A keeper says: try again. The same end is another one.
        let twice = came_back(&tried(&failed.forgiven("1.1.0".parse().unwrap()), "1.1.0"));
        again.take_over(&twice, 5);
        again.heard(&waiting);
        assert_eq!(told(&again), [("1.1.0".to_owned(), UpdateResult::RolledBack)]);
        assert_eq!(again.waiting()[0].at, 5);

        let stays = tried(&twice, "1.2.0").confirmed();
        again.take_over(&stays, 6);
        again.heard(&again.waiting());
        let third = Outcomes::open(folder.path());
        third.take_over(&stays, 7);
        assert_eq!(third.waiting(), [], "it was heard");
    }

    #[test]
    fn a_refused_version_is_told_once_and_the_list_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let outcomes = Outcomes::open(folder.path());
        let version = |patch| Version { major: 1, minor: 0, patch };
        outcomes.refused(version(1), &"ä".repeat(MAX_NOTE), 1);
        outcomes.refused(version(1), "again", 2);
        assert_eq!(told(&outcomes), [("1.0.1".to_owned(), UpdateResult::Failed)]);
        assert!(outcomes.waiting()[0].note.len() <= MAX_NOTE);
        for patch in 2..40 {
            outcomes.refused(version(patch), "too large", 3);
        }
        assert_eq!(outcomes.waiting().len(), MAX_WAITING);
        assert_eq!(told(&Outcomes::open(folder.path())).last().unwrap().0, "1.0.39");
    }
}
