//! What held and what the kernel lacks, for the log, the health check and the status page.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Profile;

/// One kind of restriction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// `PR_SET_NO_NEW_PRIVS`.
    NoNewPrivileges,
    /// `PR_SET_DUMPABLE` 0.
    MemoryPrivacy,
    /// `PR_SET_PDEATHSIG`.
    Parent,
    /// Another user id than the supervisor's.
    User,
    /// Capabilities of root.
    Capabilities,
    /// Landlock: files.
    Files,
    /// Landlock: TCP.
    Network,
    /// Landlock: signals and abstract sockets.
    Scope,
    /// seccomp.
    SystemCalls,
    /// Resource limits.
    Limits,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNewPrivileges => "new privileges",
            Self::MemoryPrivacy => "memory privacy",
            Self::Parent => "end with the parent",
            Self::User => "user",
            Self::Capabilities => "capabilities",
            Self::Files => "files",
            Self::Network => "network",
            Self::Scope => "signals and sockets",
            Self::SystemCalls => "system calls",
            Self::Limits => "limits",
        })
    }
}

/// One restriction and what is to be said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which restriction.
    pub measure: Measure,
    /// One sentence or less, for people.
    pub detail: String,
}

/// How far a process is confined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfinementReport {
    /// The profile that was asked for.
    pub profile: Profile,
    /// What holds.
    pub held: Vec<Finding>,
    /// What does not, and why.
    pub lacking: Vec<Finding>,
}

impl ConfinementReport {
    pub(crate) const fn new(profile: Profile) -> Self {
        Self { profile, held: Vec::new(), lacking: Vec::new() }
    }

    pub(crate) fn holds(&mut self, measure: Measure, detail: impl Into<String>) {
        self.held.push(Finding { measure, detail: detail.into() });
    }

    pub(crate) fn lacks(&mut self, measure: Measure, detail: impl Into<String>) {
        self.lacking.push(Finding { measure, detail: detail.into() });
    }

    /// Whether `measure` holds.
    #[must_use]
    pub fn has(&self, measure: Measure) -> bool {
        self.held.iter().any(|finding| finding.measure == measure)
    }
}
