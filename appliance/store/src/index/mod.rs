//! `index.db`: full text and embeddings of the library.

mod types;

pub use types::{
    DocumentIndex, IndexProgress, Location, Passage, PassageId, PendingDocument, Scored, StoredPassage,
};
