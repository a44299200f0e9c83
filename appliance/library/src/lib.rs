//! From a file to a cited answer: extract, split, index, search, answer.
//!
//! Stands on `store` (where passages live), `inference` (which embeds and writes) and `process` (which confines
//! the extractor). `web` and the binary may depend on it; it knows nothing of HTTP.

#![forbid(unsafe_code)]

pub mod ask;
pub mod evaluate;
pub mod extract;
mod index;
mod library;
pub mod parameters;
pub mod search;
pub mod split;
mod text;

pub use ask::{AskEvent, Question, Refusal, Verdict};
pub use index::{IndexError, IndexLimits, IndexOutcome, IndexState, Progress, Trouble};
pub use library::{Library, LibraryConfig};
pub use search::{Degraded, Hit, Mode, SearchQuery, SearchResults, Span};
