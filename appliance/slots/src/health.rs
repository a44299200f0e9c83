//! The health verdict: may the system on trial stay?
//!
//! Named probes with deadlines, and a pure decision over what they said. The first that fails, or that has said nothing by its
//! deadline, decides; its name and words are the reason that people read.

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Something that must work before a new system may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// The kernel runs the slot that boot control says is on trial.
    Slot,
    /// The supervisor has started the hub's parts.
    Supervisor,
    /// The database is open and migrated, and takes a write.
    Database,
    /// The page answers on an address of the local network.
    Page,
    /// The model process answers.
    Inference,
    /// What could be reached before the update can be reached now. Skipped where nothing could.
    Uplink,
}

impl Probe {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 6] =
        [Self::Slot, Self::Supervisor, Self::Database, Self::Page, Self::Inference, Self::Uplink];

    /// How long after the start of the supervisor it may take. Migrations of large databases on slow cards take minutes;
    /// the network of the outside world may come up late.
    #[must_use]
    pub const fn deadline(self) -> Duration {
        Duration::from_secs(match self {
            Self::Slot => 10,
            Self::Supervisor => 120,
            Self::Database => 600,
            Self::Page => 660,
            Self::Inference => 720,
            Self::Uplink => 900,
        })
    }

    /// Its name in records and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Supervisor => "supervisor",
            Self::Database => "database",
            Self::Page => "page",
            Self::Inference => "inference",
            Self::Uplink => "uplink",
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a probe said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// It works.
    Passed,
    /// It does not, and will not by waiting.
    Failed(String),
    /// It does not apply here.
    Skipped(String),
}

/// Why a system on trial does not stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The probe that decided; `None` when the system never came so far as to ask one.
    pub probe: Option<Probe>,
    /// In words.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.probe {
            Some(probe) => write!(f, "{probe}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Not known before this, at the latest.
    WaitUntil(Duration),
    /// It stays.
    Healthy,
    /// It does not.
    Failed(Failure),
}

/// What is known of a trial. Findings that are final are not taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkup {
    findings: BTreeMap<Probe, Finding>,
}

impl Checkup {
    /// Notes what a probe said. A probe that has failed has failed; one that passed may still fail.
    pub fn note(&mut self, probe: Probe, finding: Finding) {
        if !matches!(self.findings.get(&probe), Some(Finding::Failed(_))) {
            self.findings.insert(probe, finding);
        }
    }

    /// What was said so far.
    #[must_use]
    pub const fn findings(&self) -> &BTreeMap<Probe, Finding> {
        &self.findings
    }

    /// The decision `age` after the supervisor's start.
    #[must_use]
    pub fn verdict(&self, age: Duration) -> Verdict {
        let mut wait: Option<Duration> = None;
        for probe in Probe::ALL {
            match self.findings.get(&probe) {
                Some(Finding::Passed | Finding::Skipped(_)) => {}
                Some(Finding::Failed(reason)) => {
                    return Verdict::Failed(Failure { probe: Some(probe), reason: reason.clone() });
                }
                None if age >= probe.deadline() => {
                    let reason = format!("no answer within {} seconds", probe.deadline().as_secs());
                    return Verdict::Failed(Failure { probe: Some(probe), reason });
                }
                None => wait = Some(wait.map_or(probe.deadline(), |wait| wait.min(probe.deadline()))),
            }
        }
        wait.map_or(Verdict::Healthy, Verdict::WaitUntil)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_but(missing: Option<Probe>) -> Checkup {
        let mut checkup = Checkup::default();
        for probe in Probe::ALL.into_iter().filter(|probe| Some(*probe) != missing) {
            checkup.note(probe, Finding::Passed);
        }
        checkup
    }

    #[test]
    fn only_a_whole_checkup_is_healthy() {
        let late = Duration::from_secs(7200);
        assert_eq!(all_but(None).verdict(late), Verdict::Healthy);
        for probe in Probe::ALL {
            let checkup = all_but(Some(probe));
            assert_eq!(checkup.verdict(Duration::ZERO), Verdict::WaitUntil(probe.deadline()));
            let Verdict::Failed(failure) = checkup.verdict(probe.deadline()) else { panic!("{probe}") };
            assert_eq!(failure.probe, Some(probe));
            assert!(failure.reason.contains("no answer"));
        }
    }

    #[test]
    fn a_failure_is_told_by_name_at_once_and_stays() {
        let mut checkup = all_but(None);
        checkup.note(Probe::Database, Finding::Failed("the migration was refused".into()));
        checkup.note(Probe::Database, Finding::Passed);
        let Verdict::Failed(failure) = checkup.verdict(Duration::ZERO) else { panic!() };
        assert_eq!(failure.to_string(), "database: the migration was refused");
        let mut checkup = all_but(Some(Probe::Uplink));
        checkup.note(Probe::Uplink, Finding::Skipped("no gateway is set".into()));
        assert_eq!(checkup.verdict(Duration::ZERO), Verdict::Healthy);
    }

    #[test]
    fn of_several_the_first_in_order_is_the_reason() {
        let mut checkup = Checkup::default();
        checkup.note(Probe::Uplink, Finding::Failed("b".into()));
        checkup.note(Probe::Slot, Finding::Failed("a".into()));
        let Verdict::Failed(failure) = checkup.verdict(Duration::ZERO) else { panic!() };
        assert_eq!(failure.probe, Some(Probe::Slot));
    }
}
