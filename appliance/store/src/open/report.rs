//! What opening found and did, in sentences for people.

use serde::Serialize;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Note,
    /// Something was damaged and was made whole.
    Repaired,
    /// Something was lost.
    Lost,
}

/// One thing that opening found or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What happened.
    pub text: String,
    /// What to do.
    pub advice: String,
}

/// What opening found and did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct OpenReport {
    /// Everything worth telling; empty when all was well.
    pub findings: Vec<Finding>,
    /// The schema that was found.
    pub schema_before: u32,
    /// The schema now.
    pub schema: u32,
}

impl OpenReport {
    /// The most serious finding's severity; `None` when all was well.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).max()
    }

    pub(crate) fn note(&mut self, text: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Note, text, advice);
    }

    pub(crate) fn repaired(&mut self, text: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Repaired, text, advice);
    }

    pub(crate) fn lost(&mut self, text: impl Into<String>, advice: impl Into<String>) {
        self.add(Severity::Lost, text, advice);
    }

    fn add(&mut self, severity: Severity, text: impl Into<String>, advice: impl Into<String>) {
        let finding = Finding { severity, text: text.into(), advice: advice.into() };
        tracing::warn!(text = finding.text, "opening the store");
        self.findings.push(finding);
    }
}
