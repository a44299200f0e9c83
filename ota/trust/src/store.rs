//! Memory that a power cut cannot take away.
//!
//! Two copies in two files, each written whole under another name, synced, renamed and synced again; each with a generation
//! and a checksum. The newer one that is whole counts. When a write has come back, both hold the new memory; at any moment
//! before that, one of them holds the old or the new one.

use crate::{Error, Memory, memory::MAX_MEMORY, storage::Storage};

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
