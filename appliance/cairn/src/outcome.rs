//! How a command fails: what happened, what was kept, what to do next, and an exit code for scripts.

use std::{fmt, process::ExitCode};

/// Exit codes, for scripts. 2 is clap's, for a command line that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Something failed.
    Failed = 1,
    /// No hub is running where one is needed.
    NotRunning = 3,
    /// A hub is running where none may.
    Running = 4,
    /// The hub or the file refused what was asked: a wrong passphrase, an unreadable file.
    Refused = 5,
    /// The hub runs but is not well.
    Unwell = 6,
    /// The system is to be started anew, from the slot that boot control says.
    Restart = 7,
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: Code,
    happened: String,
    kept: Option<String>,
    next: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, happened: impl Into<String>) -> Self {
        Self { code, happened: happened.into(), kept: None, next: None }
    }

    /// Something failed while `doing`.
    pub(crate) fn doing(doing: impl fmt::Display) -> impl FnOnce(&dyn fmt::Display) -> Self {
        move |error| Self::new(Code::Failed, format!("{doing}: {error}"))
    }

    /// What did not change or was not lost.
    pub(crate) fn kept(mut self, kept: impl Into<String>) -> Self {
        self.kept = Some(kept.into());
        self
    }

    /// What a person can do.
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// What happened, in one sentence.
    pub(crate) fn happened(&self) -> &str {
        &self.happened
    }

    #[cfg(test)]
    pub(crate) const fn code(&self) -> Code {
        self.code
    }

    /// Says it on standard error.
    pub(crate) fn report(self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::from(self.code as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cairn: {}", self.happened)?;
        for line in self.kept.iter().chain(&self.next) {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// For `map_err`: turns any error into a [`Failure`] that says what was being done.
pub(crate) fn while_doing<E: fmt::Display>(doing: impl fmt::Display) -> impl FnOnce(E) -> Failure {
    move |error| Failure::doing(doing)(&error)
}
