//! `index.db`: full text and embeddings of the library. Everything in it follows from the records and the files, so that
//! it is never backed up and is made anew when it is damaged or of another schema.
//!
//! A document's passages are replaced as a whole: the new ones are written in slices as a *run* that no search sees
//! (slices, because the writing thread must be free for a person in between), then one transaction makes the new run the
//! searched one and the old one waste, then the waste goes in slices. A power cut leaves at worst an unseen run, which
//! goes at the next start.

mod candidates;
mod fill;
pub(crate) mod open;
mod search;
mod tidy;
mod types;
pub(crate) mod vectors;
mod words;

pub use fill::{MAX_PASSAGE, MAX_PASSAGES};
pub use search::MAX_HITS;
pub use types::{
    DocumentIndex, IndexProgress, Location, Passage, PassageId, PendingDocument, Scored, StoredPassage,
};
pub use vectors::DIMENSIONS;
