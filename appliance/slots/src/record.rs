//! What a hub remembers of its updates: which version is being tried, which ones failed and why. Plain functions.

use cairn_bundle::{Digest, Version};
use serde::{Deserialize, Serialize};

use crate::{SlotId, boot_control::Outcome, health::Failure};

/// Versions that failed and are remembered; older ones are forgotten, and are older than what runs by then.
pub const MAX_BAD: usize = 16;
/// Longest reason that is kept, bytes.
pub const MAX_REASON: usize = 2000;

/// A system by what was signed of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// The hash of its manifest.
    pub manifest: Digest,
}

/// A version that is about to be tried, or is being tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which.
    pub release: Release,
    /// Where it lies.
    pub slot: SlotId,
    /// Set before the restart into it, on boards whose firmware does not tell a try that failed from one that never began.
    #[serde(default)]
    pub armed: bool,
    /// Written by the system on trial when it finds itself unfit, before it gives the hub back.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// A version that is not to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bad {
    /// Which.
    pub release: Release,
    /// Why.
    pub failure: Failure,
}

/// How the last attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It stays.
    Confirmed(Release),
    /// The old system came back.
    Failed(Bad),
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What is being tried.
    #[serde(default)]
    pub attempt: Option<Attempt>,
    /// What failed, newest last.
    #[serde(default)]
    pub bad: Vec<Bad>,
    /// How the last attempt ended.
    #[serde(default)]
    pub last: Option<Ended>,
    /// How many attempts have ended: tells an ending from an earlier one that was the same.
    #[serde(default)]
    pub ended: u64,
    /// What runs, since an update was confirmed here; not known of a card that was never updated.
    #[serde(default)]
    pub running: Option<Release>,
}

/// Why a version is not tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTried {
    /// It failed before.
    #[error("version {} failed on this hub and is not tried again: {}", .0.release.version, .0.failure)]
    KnownBad(Box<Bad>),
    /// It is not newer than what runs.
    #[error("version {offered} is not newer than {running}, which runs")]
    NotNewer {
        /// What was offered.
        offered: Version,
        /// What runs.
        running: Version,
    },
}

/// What a system that has just started is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Its work.
    Nothing,
    /// Prove itself.
    ProveItself,
    /// Take the failed slot from trial.
    GiveUp,
}

impl Record {
    /// Whether `release` may be tried by a hub that runs `running`.
    ///
    /// # Errors
    /// [`NotTried`].
    pub fn may_try(&self, release: &Release, running: Version) -> Result<(), NotTried> {
        if release.version <= running {
            return Err(NotTried::NotNewer { offered: release.version, running });
        }
        let bad = self.bad.iter().find(|bad| bad.release.version == release.version);
        bad.map_or(Ok(()), |bad| Err(NotTried::KnownBad(Box::new(bad.clone()))))
    }

    /// Before the flip: what will be tried.
    #[must_use]
    pub fn with_attempt(&self, release: Release, slot: SlotId) -> Self {
        Self { attempt: Some(Attempt { release, slot, armed: false, failure: None }), ..self.clone() }
    }

    /// Before a slot is written to: what stood in it is no longer to be tried.
    #[must_use]
    pub fn without_attempt(&self) -> Self {
        Self { attempt: None, ..self.clone() }
    }

    /// The system on trial has found itself unfit.
    #[must_use]
    pub fn failing(&self, failure: Failure) -> Self {
        let attempt =
            self.attempt.clone().map(|attempt| Attempt { failure: Some(bounded(failure)), ..attempt });
        Self { attempt, ..self.clone() }
    }

    /// A keeper says: try that version again.
    #[must_use]
    pub fn forgiven(&self, version: Version) -> Self {
        let bad = self.bad.iter().filter(|bad| bad.release.version != version).cloned().collect();
        Self { bad, ..self.clone() }
    }

    /// The system on trial stays.
    #[must_use]
    pub fn confirmed(&self) -> Self {
        let Some(attempt) = &self.attempt else { return self.clone() };
        let newer = |bad: &Bad| bad.release.version > attempt.release.version;
        Self {
            attempt: None,
            bad: self.bad.iter().filter(|bad| newer(bad)).cloned().collect(),
            last: Some(Ended::Confirmed(attempt.release)),
            ended: self.ended.saturating_add(1),
            running: Some(attempt.release),
        }
    }

    /// What a system that has just started learns from boot control, and what to do. What is returned as a record must be on the
    /// card before anything is done.
    #[must_use]
    pub fn at_start(&self, outcome: Outcome, running: SlotId) -> (Self, Then) {
        match (outcome, &self.attempt) {
            (Outcome::OnTrial, _) => (self.clone(), Then::ProveItself),
            (Outcome::CameBack { from }, Some(attempt)) if attempt.slot == from => {
                (self.failed(attempt), Then::GiveUp)
            }
            // Somebody else wrote the boot state, or the record was lost: nothing is known that could be called bad.
            (Outcome::CameBack { .. }, _) => (self.clone(), Then::GiveUp),
            // Confirmed on the card, and the power went before it was written down here.
            (Outcome::Settled, Some(attempt)) if attempt.slot == running => (self.confirmed(), Then::Nothing),
            (Outcome::Settled, Some(attempt)) if attempt.armed => (self.failed(attempt), Then::Nothing),
            // The power went before the flip: the slot is found complete, and is checked and tried anew.
            (Outcome::Settled, Some(_)) => (self.without_attempt(), Then::Nothing),
            (Outcome::Settled | Outcome::Waiting, _) => (self.clone(), Then::Nothing),
        }
    }

    fn failed(&self, attempt: &Attempt) -> Self {
        let failure = attempt.failure.clone().unwrap_or_else(|| Failure {
            probe: None,
            reason: "it did not start, or stopped before it could say why; the old system came back"
                .to_owned(),
        });
        let bad = Bad { release: attempt.release, failure };
        let mut all = self.forgiven(bad.release.version).bad;
        all.push(bad.clone());
        all.drain(..all.len().saturating_sub(MAX_BAD));
        let ended = self.ended.saturating_add(1);
        Self { attempt: None, bad: all, last: Some(Ended::Failed(bad)), ended, running: self.running }
    }
}

fn bounded(mut failure: Failure) -> Failure {
    let mut end = failure.reason.len().min(MAX_REASON);
    while !failure.reason.is_char_boundary(end) {
        end -= 1;
    }
    failure.reason.truncate(end);
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SlotId = SlotId::A;
    const B: SlotId = SlotId::B;

    fn release(text: &str) -> Release {
        Release { version: text.parse().unwrap(), manifest: Digest::of(text.as_bytes()) }
    }

    fn trying() -> Record {
        Record::default().with_attempt(release("1.1.0"), B)
    }

    #[test]
    fn what_a_start_means() {
        let came_back = Outcome::CameBack { from: B };
        let (failed, then) = trying().at_start(came_back, A);
        assert_eq!((failed.bad.len(), failed.attempt.is_none(), then), (1, true, Then::GiveUp));
        assert!(failed.bad[0].failure.reason.contains("did not start"));
        // Noticed again after a cut before boot control was cleared: nothing new.
        assert_eq!(failed.at_start(came_back, A), (failed.clone(), Then::GiveUp));

        assert_eq!(trying().at_start(Outcome::OnTrial, B), (trying(), Then::ProveItself));
        assert_eq!(trying().at_start(Outcome::Waiting, A), (trying(), Then::Nothing));
        let (confirmed, then) = trying().at_start(Outcome::Settled, B);
        assert_eq!((confirmed.running, then), (Some(release("1.1.0")), Then::Nothing));
        let (cut, then) = trying().at_start(Outcome::Settled, A);
        assert_eq!((cut, then), (Record::default(), Then::Nothing), "the flip never happened: not bad");
    }

    #[test]
    fn a_bad_version_is_tried_again_only_when_somebody_says_so() {
        let reason = Failure { probe: Some(crate::health::Probe::Page), reason: "x".repeat(5000) };
        let (record, _) = trying().failing(reason).at_start(Outcome::CameBack { from: B }, A);
        let running = "1.0.0".parse().unwrap();
        let Err(NotTried::KnownBad(bad)) = record.may_try(&release("1.1.0"), running) else { panic!() };
        assert_eq!(bad.failure.reason.len(), MAX_REASON);
        assert_eq!(record.may_try(&release("1.1.1"), running), Ok(()));
        assert_eq!(record.forgiven("1.1.0".parse().unwrap()).may_try(&release("1.1.0"), running), Ok(()));
    }

    #[test]
    fn nothing_older_is_ever_tried() {
        for text in ["1.0.0", "0.9.9"] {
            let refused = Record::default().may_try(&release(text), "1.0.0".parse().unwrap());
            assert!(matches!(refused, Err(NotTried::NotNewer { .. })), "{text}");
        }
    }

    #[test]
    fn the_list_of_bad_versions_is_bounded() {
        let mut record = Record::default();
        for patch in 0..40 {
            record = record.with_attempt(release(&format!("1.0.{patch}")), B);
            record = record.at_start(Outcome::CameBack { from: B }, A).0;
        }
        assert_eq!(record.bad.len(), MAX_BAD);
        assert_eq!(record.bad.last().unwrap().release.version, "1.0.39".parse().unwrap());
    }

    /// On boards whose firmware forgets a try, one that was begun and is not running has failed.
    #[test]
    fn an_armed_attempt_that_is_not_running_has_failed() {
        let mut record = trying();
        record.attempt.as_mut().unwrap().armed = true;
        let (record, then) = record.at_start(Outcome::Settled, A);
        assert_eq!((record.bad.len(), then), (1, Then::Nothing));
    }
}
