//! What a process may do, given up by itself before it touches anything from a stranger.
//!
//! A role calls [`Confinement::apply`] first thing in `main`, while it has one thread: Landlock and seccomp bind the
//! calling thread and what that starts. What the kernel cannot do is reported, not fatal; what it refuses although
//! it should be able to is an error, because going on would mean running with rights that everyone believes gone.

mod files;
mod limits;
mod report;
mod syscalls;
mod user;

use std::path::{Path, PathBuf};

use nix::{sys::prctl, sys::signal::Signal, unistd::getppid};
use serde::{Deserialize, Serialize};

pub use limits::Limits;
pub use report::{ConfinementReport, Finding, Measure};
pub use user::UserIds;

use crate::os;

/// Which set of system calls, capabilities and system files a process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// Talks to the network, owns the database, starts the extractor.
    Hub,
    /// Reads model files and computes. No network, no new processes.
    Infer,
    /// Reads one descriptor and writes one pipe. No files, no network, no new processes.
    Extract,
}

/// What may be done below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read files and list folders.
    Read,
    /// Also create, change and remove them.
    Write,
    /// Read and execute a file.
    Execute,
}

/// Why a process could not be confined. It must not go on then.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// Landlock and seccomp would bind only one of several threads.
    #[error("{0} threads run already; a process must be confined before it starts the second")]
    Threads(usize),
    /// The parent died before this process could ask to die with it.
    #[error("the process that started this one is gone")]
    Orphaned,
    /// One step failed.
    #[error("{step} failed: {reason}")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// What the operating system or a library said.
        reason: String,
    },
}

impl ConfineError {
    fn failed(step: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self::Failed { step, reason: reason.to_string() }
    }
}

/// Everything that a process gives up. Build it, then [`Confinement::apply`] it.
#[derive(Debug)]
pub struct Confinement {
    profile: Profile,
    paths: Vec<(PathBuf, Access)>,
    user: Option<UserIds>,
    limits: Limits,
}

impl Confinement {
    /// The profile's own rules; paths, user and limits are added by the methods below.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self { profile, paths: Vec::new(), user: None, limits: Limits::default() }
    }

    /// Lets the process read what lies at and below `path`. A path that does not exist is passed over.
    #[must_use]
    pub fn read(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, Access::Read)
    }

    /// Lets the process read and write what lies at and below `path`. A path that does not exist is passed over.
    #[must_use]
    pub fn write(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, Access::Write)
    }

    /// Lets the process execute the file `path`.
    #[must_use]
    pub fn execute(self, path: impl AsRef<Path>) -> Self {
        self.allow(path, Access::Execute)
    }

    fn allow(mut self, path: impl AsRef<Path>, access: Access) -> Self {
        self.paths.push((path.as_ref().to_owned(), access));
        self
    }

    /// Changes to this user when started as root; without effect otherwise.
    #[must_use]
    pub fn user(mut self, user: Option<UserIds>) -> Self {
        self.user = user;
        self
    }

    /// Largest amount of memory that the process may have of its own (heap, stacks, private mappings; not mapped
    /// files), in bytes. Past it, an allocation fails and the process aborts.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.limits.memory = Some(bytes);
        self
    }

    /// Processor time after which the kernel ends the process, in seconds.
    #[must_use]
    pub fn cpu_seconds(mut self, seconds: u64) -> Self {
        self.limits.cpu_seconds = Some(seconds);
        self
    }

    /// How far the process steps back behind others, 0 to 19.
    #[must_use]
    pub fn niceness(mut self, niceness: u8) -> Self {
        self.limits.niceness = niceness.min(19);
        self
    }

    /// How readily the kernel ends this process when memory runs out, 0 to 1000.
    #[must_use]
    pub fn oom_score(mut self, score: u16) -> Self {
        self.limits.oom_score = score.min(1000);
        self
    }

    /// Gives everything else up, for good.
    ///
    /// # Errors
    /// [`ConfineError`] when a step failed that this kernel should be able to do. The process must exit then.
    pub fn apply(self) -> Result<ConfinementReport, ConfineError> {
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            return Err(ConfineError::Threads(threads));
        }
        let mut report = ConfinementReport::new(self.profile);

        // Whatever still needs the rights that are given up further down.
        self.limits.apply(self.profile, &mut report)?;
        let ruleset = files::build(self.profile, &self.paths, files::stays_root(self.user))?;
        user::drop_rights(self.profile, self.user, &mut report)?;

        // From here on nothing can be won back.
        prctl::set_no_new_privs().map_err(|e| ConfineError::failed("giving up new privileges")(&e))?;
        report.holds(Measure::NoNewPrivileges, "no program that it starts can gain rights");
        prctl::set_dumpable(false).map_err(|e| ConfineError::failed("hiding the process's memory")(&e))?;
        report.holds(Measure::MemoryPrivacy, "no core dump, no debugger of the same user");
        die_with_parent(&mut report)?;
        files::restrict(ruleset, &mut report)?;
        syscalls::restrict(self.profile, &mut report)?;
        Ok(report)
    }
}

/// Asks the kernel to end this process when the thread that started it ends.
fn die_with_parent(report: &mut ConfinementReport) -> Result<(), ConfineError> {
    let parent = getppid();
    prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|e| ConfineError::failed("tying the process to its parent")(&e))?;
    // It may have died meanwhile. Had it died before, the end of the channel to it tells.
    if getppid() != parent {
        return Err(ConfineError::Orphaned);
    }
    report.holds(Measure::Parent, "ends with the process that started it");
    Ok(())
}

/// Capabilities that a process which stays root keeps, so that it can still use folders of another owner.
const fn kept_capabilities(profile: Profile) -> u64 {
    // Numbers of linux/capability.h.
    const DAC_OVERRIDE: u64 = 1 << 1;
    const DAC_READ_SEARCH: u64 = 1 << 2;
    const FOWNER: u64 = 1 << 3;
    match profile {
        Profile::Hub => DAC_OVERRIDE | FOWNER,
        Profile::Infer => DAC_READ_SEARCH,
        Profile::Extract => 0,
    }
}

fn keep_capabilities(profile: Profile) -> Result<(), ConfineError> {
    os::keep_capabilities(kept_capabilities(profile))
        .map_err(|e| ConfineError::failed("giving up capabilities")(&e))
}
