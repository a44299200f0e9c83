//! Hubs and their gateway in virtual time: the real engine, a model of everything around it, and every
//! misfortune that one seed can think of.
//!
//! A run has two halves. In the first, people write on hubs while connections break, messages come twice,
//! late, out of order or cut off, processes die before and after every commit, cards are copied, old backups
//! come back, clocks jump and permissions change. In the second, everything is well again; then every hub must
//! hold what the gateway holds, and every write that was ever acknowledged must be there or be readable.

mod check;
mod gateway;
mod hub;
mod person;
mod records;
mod world;

use std::fmt;

pub use world::run;

/// A mistake built into the model on purpose, to show that the simulation notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// The gateway forgets which changes it has answered.
    ForgetAnswered,
    /// The gateway sends what is newer than one past the cursor.
    SkipOne,
    /// The gateway forgets deletions before every hub has seen them.
    ForgetDeletionsEarly,
    /// The gateway answers before it has written.
    AnswerBeforeCommit,
    /// The gateway does not look at tickets.
    AdmitCopies,
    /// The hub empties its whole queue when a reply comes.
    EmptyQueue,
    /// The hub claims to have seen the newest version whatever its person saw.
    PretendToHaveSeen,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::ForgetAnswered,
        Self::SkipOne,
        Self::ForgetDeletionsEarly,
        Self::AnswerBeforeCommit,
        Self::AdmitCopies,
        Self::EmptyQueue,
        Self::PretendToHaveSeen,
    ];
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Hubs at the end.
    pub hubs: usize,
    /// Writes that were acknowledged to a person.
    pub acknowledged: usize,
    /// Rounds that the gateway served.
    pub rounds: usize,
    /// Conflicts that were put to a person.
    pub conflicts: usize,
    /// Faults that struck, of all kinds.
    pub faults: usize,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The seed: the run repeats from it alone.
    pub seed: u64,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: {}", self.seed, self.what)
    }
}

impl std::error::Error for Finding {}
