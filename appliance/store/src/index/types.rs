//! What callers give to the index and get from it.

use cairn_sync::{BlobId, RecordId};
use serde::{Deserialize, Serialize};

/// One passage in `index.db`. A rebuilt index gives new ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PassageId(pub i64);

/// Where in its document a passage stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Location {
    /// The page, from 1, where the document has pages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// The section's anchor or the path inside an archive, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
}

/// A passage to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// Its place in the document, from 0.
    pub ordinal: u32,
    /// The headings that it stands under, outermost first, joined by " › "; may be empty.
    pub heading: String,
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub location: Location,
}

/// A passage as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredPassage {
    /// Its identity.
    pub id: PassageId,
    /// The document.
    pub document: RecordId,
    /// The document's title.
    pub title: String,
    /// The headings that it stands under.
    pub heading: String,
    /// Its text.
    pub text: String,
    /// Its place in the document, from 0.
    pub ordinal: u32,
    /// Where it stands.
    pub location: Location,
}

/// A search hit: higher scores are better. Scores of different searches cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The passage.
    pub passage: PassageId,
    /// The document it is in.
    pub document: RecordId,
    /// BM25 or cosine similarity.
    pub score: f32,
}

/// A document whose file is not in the index as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingDocument {
    /// The document.
    pub document: RecordId,
    /// Its file.
    pub blob: BlobId,
    /// Its title.
    pub title: String,
    /// The file's name.
    pub file_name: String,
    /// The file's media type.
    pub media_type: String,
    /// The file's size in bytes.
    pub size: u64,
}

/// What became of one document in the index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum DocumentIndex {
    /// Not looked at yet.
    Pending,
    /// Searchable by words; `embedded` of its `passages` also by meaning.
    Indexed {
        /// How many passages it has.
        passages: u64,
        /// How many of them have an embedding.
        embedded: u64,
    },
    /// Its file could not be read.
    Failed {
        /// Why, in words for people.
        reason: String,
    },
}

/// How far the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct IndexProgress {
    /// Documents with a file.
    pub documents: u64,
    /// Of these, searchable by words.
    pub indexed: u64,
    /// Of these, impossible to read.
    pub failed: u64,
    /// Passages.
    pub passages: u64,
    /// Of these, searchable by meaning.
    pub embedded: u64,
}
