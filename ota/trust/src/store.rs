//! Memory that a power cut cannot take away.
//!
//! Two copies in two files, each written whole under another name, synced, renamed and synced again; each with a generation
//! and a checksum. The newer one that is whole counts. When a write has come back, both hold the new memory; at any moment
//! before that, one of them holds the old or the new one.

use std::{fs, io, path::Path};

use crate::{
    Error, Memory,
    memory::MAX_MEMORY,
    storage::{Folder, Storage},
};

const MAGIC: &[u8; 8] = b"CAIRNTS1";
const COPIES: [&str; 2] = ["trust.a", "trust.b"];
const FRESH: &str = "trust.new";
/// Magic, generation, BLAKE3 of generation and content.
const PREFIX: usize = 8 + 8 + 32;

/// A hub's durable memory of a repository.
pub struct Store<S> {
    storage: S,
    generation: u64,
    memory: Memory,
}

impl<S: Storage> Store<S> {
    /// Opens what [`Store::create`] made, and mends a copy that is damaged.
    ///
    /// # Errors
    /// [`Error::Lost`] where no copy is whole; this never begins anew.
    pub fn open(storage: S) -> Result<Self, Error> {
        let mut found: Option<(u64, Memory)> = None;
        let mut whole = 0;
        let mut any = false;
        for name in COPIES {
            let bytes = storage.read(name, MAX_MEMORY + PREFIX as u64);
            let Some(bytes) = bytes.map_err(|source| Error::Storage { what: "read", source })? else {
                continue;
            };
            any = true;
            if let Some((generation, memory)) = decode(&bytes) {
                whole += usize::from(found.as_ref().is_none_or(|(best, _)| *best == generation));
                if found.as_ref().is_none_or(|(best, _)| generation > *best) {
                    found = Some((generation, memory));
                }
            }
        }
        let lost = if any { "both copies are damaged" } else { "there is none" };
        let (generation, memory) = found.ok_or(Error::Lost(lost))?;
        let mut store = Self { storage, generation, memory: memory.check()? };
        if whole < COPIES.len() {
            let memory = store.memory.clone();
            store.save(memory)?;
        }
        Ok(store)
    }

    /// Begins, at the first boot of a new hub.
    ///
    /// # Errors
    /// [`Error::Exists`] where there is a copy, whole or not: a memory is never replaced by an empty one.
    pub fn create(storage: S, memory: Memory) -> Result<Self, Error> {
        for name in COPIES {
            let bytes = storage.read(name, 1).map_err(|source| Error::Storage { what: "read", source })?;
            if bytes.is_some() {
                return Err(Error::Exists);
            }
        }
        let memory = memory.check()?;
        let mut store = Self { storage, generation: 0, memory: memory.clone() };
        store.save(memory)?;
        Ok(store)
    }

    /// What is remembered.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Replaces what is remembered. When this returns, it survives a power cut; where it fails, the old memory still does,
    /// or the new one already.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn save(&mut self, memory: Memory) -> Result<(), Error> {
        let failed = |source| Error::Storage { what: "write", source };
        let generation = self.generation.saturating_add(1);
        let bytes = encode(generation, &memory)?;
        for name in COPIES {
            self.storage.write(FRESH, &bytes).map_err(failed)?;
            self.storage.sync(FRESH).map_err(failed)?;
            self.storage.rename(FRESH, name).map_err(failed)?;
            self.storage.sync_folder().map_err(failed)?;
        }
        self.generation = generation;
        self.memory = memory;
        Ok(())
    }

    /// Gives the storage back.
    #[must_use]
    pub fn into_storage(self) -> S {
        self.storage
    }
}

impl Store<Folder> {
    /// Opens the store in `folder`, or begins it there where no hub has begun one: with the root metadata that the image brings
    /// along. The folder appears whole, so that one without a readable copy is a loss and never a beginning.
    ///
    /// # Errors
    /// As [`Store::open`] and [`Store::create`].
    pub fn open_or_begin(folder: &Path, root: &str, built: u64) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::Storage { what: "begin", source };
        if !folder.is_dir() {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
            let mut name = folder.file_name().unwrap_or_default().to_owned();
            name.push(".begin");
            let begun = parent.join(name);
            // Of a start that a power cut ended.
            if begun.exists() {
                fs::remove_dir_all(&begun).map_err(failed)?;
            }
            let storage = Folder::open(&begun).map_err(failed)?;
            drop(Self::create(storage, Memory::initial(root.to_owned(), built))?);
            fs::rename(&begun, folder).map_err(failed)?;
            fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        }
        Self::open(Folder::open(folder).map_err(failed)?)
    }
}

fn sum(generation: &[u8], content: &[u8]) -> blake3::Hash {
    blake3::Hasher::new().update(generation).update(content).finalize()
}

fn encode(generation: u64, memory: &Memory) -> Result<Vec<u8>, Error> {
    let content = serde_json::to_vec(memory).map_err(|error| Error::Malformed(error.to_string()))?;
    if content.len() as u64 > MAX_MEMORY {
        return Err(Error::TooLarge { file: "what is to be remembered".to_owned(), limit: MAX_MEMORY });
    }
    let generation = generation.to_le_bytes();
    Ok([MAGIC.as_slice(), &generation, sum(&generation, &content).as_bytes(), &content].concat())
}

fn decode(bytes: &[u8]) -> Option<(u64, Memory)> {
    let rest = bytes.strip_prefix(MAGIC.as_slice())?;
    let (generation, rest) = rest.split_first_chunk::<8>()?;
    let (expected, content) = rest.split_first_chunk::<32>()?;
    if sum(generation, content) != *expected {
        return None;
    }
    Some((u64::from_le_bytes(*generation), serde_json::from_slice(content).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_begun_once_and_a_lost_one_is_not_begun_anew() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("trust");
        fs::create_dir(outer.path().join("trust.begin")).unwrap();
        let mut store = Store::open_or_begin(&folder, "{}", 7).unwrap();
        let mut memory = store.memory().clone();
        memory.raise_floor(9);
        store.save(memory).unwrap();
        assert_eq!(Store::open_or_begin(&folder, "other", 1).unwrap().memory().floor(), 9);
        for name in COPIES {
            fs::remove_file(folder.join(name)).unwrap();
        }
        assert!(matches!(Store::open_or_begin(&folder, "{}", 7), Err(Error::Lost(_))));
    }
}
