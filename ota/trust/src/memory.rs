//! What a hub remembers of a repository.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// Most bytes of all remembered files together.
pub(crate) const MAX_MEMORY: u64 = 32 * 1024 * 1024;
/// Most remembered files: the top-level roles, and room for delegated ones.
const MAX_FILES: usize = 64;

/// What a hub remembers of a repository: the newest metadata that it believed, and the latest time that it knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Metadata by their names (`root.json` and so on), as `tough` keeps them.
    pub(crate) files: BTreeMap<String, String>,
    /// It is not earlier than this, in seconds since 1970.
    pub(crate) floor: u64,
}

impl Memory {
    /// Before anything was fetched: the root metadata that the image brings along, and the time at which it was built.
    #[must_use]
    pub fn initial(root: String, built: u64) -> Self {
        Self { files: BTreeMap::from([("root.json".to_owned(), root)]), floor: built }
    }

    /// The trusted root metadata, as JSON.
    #[must_use]
    pub fn root(&self) -> &str {
        self.file("root.json").unwrap_or_default()
    }

    /// The names of all remembered files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// A remembered file, as `timestamp.json`.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// It is not earlier than this, in seconds since 1970.
    #[must_use]
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// Takes note of a trusted time; a later one stays.
    pub fn raise_floor(&mut self, time: u64) {
        self.floor = self.floor.max(time);
    }

    pub(crate) fn check(self) -> Result<Self, Error> {
        if self.files.len() > MAX_FILES || !self.files.contains_key("root.json") {
            return Err(Error::Lost("it holds no root metadata"));
        }
        Ok(self)
    }
}
