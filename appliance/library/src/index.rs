//! The indexer: files to passages, passages to embeddings, in the background, behind people's questions.
//!
//! What is left to do is never remembered but asked of the store: a document is pending as long as its file is
//! not in the index as it stands, a passage as long as it has no embedding. So there is no queue that a power
//! cut could lose, and each step ends in one transaction that can be repeated.

mod courtesy;
mod embedding;
mod outcome;
mod pace;
mod reading;
mod rounds;

pub(crate) use courtesy::Courtesy;
pub use outcome::{IndexError, IndexLimits, IndexOutcome, IndexState, Progress, Trouble};
pub(crate) use reading::{Indexer, READING_VERSION, stored};
pub(crate) use rounds::run;
