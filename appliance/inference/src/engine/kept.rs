//! Caches of finished answers: a conversation that begins like one of them does not read that beginning again.

use std::{path::PathBuf, sync::Arc};

use super::shelf::Shelf;
use crate::{error::ModelError, loaded::Loaded, model::Cache};

/// Memory for them.
const MAX_BYTES: u64 = 128 << 20;
const MAX_CACHES: usize = 8;
/// A shared beginning shorter than this is not worth taking a kept cache for, tokens.
const LEAST_REUSE: usize = 16;
/// One shorter than this is not worth a file.
const LEAST_SAVED: usize = 64;
/// How often a beginning was used again before it is written to disk.
const USES_BEFORE_SAVED: u32 = 2;

struct Entry {
    loaded: Arc<Loaded>,
    cache: Cache,
    /// How many conversations began like it, and with how many tokens all of them.
    uses: u32,
    shared: usize,
    /// Tokens from its beginning that are instructions. Only they go to disk: what follows are passages and questions, which
    /// must not outlive their deletion there.
    instructions: usize,
    /// Tokens from its beginning that are on disk.
    saved: usize,
}

impl Entry {
    /// Tokens from its beginning that are worth a file.
    fn lasting(&self) -> usize {
        self.shared.min(self.instructions)
    }
}

/// The caches, the one used last at the end.
#[derive(Default)]
pub(super) struct Kept {
    entries: Vec<Entry>,
    shelf: Option<Shelf>,
}

impl Kept {
    /// Keeps beginnings in a folder, too, if there is one.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { entries: Vec::new(), shelf: folder.map(Shelf::new) }
    }

    /// A cache that begins with the longest beginning that a kept one shares with the prompt, and how many tokens that is.
    /// The kept one stays, so that several askers can go on from the same instructions at once.
    pub(super) fn take(
        &mut self,
        loaded: &Arc<Loaded>,
        prompt: &[u32],
        capacity: usize,
    ) -> Result<(Cache, usize), ModelError> {
        let mut best = None;
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if !Arc::ptr_eq(&entry.loaded, loaded) {
                continue;
            }
            let shared = entry.cache.tokens().iter().zip(prompt).take_while(|(a, b)| a == b).count();
            // The last token is always read: its logits are needed.
            let length = shared.min(prompt.len().saturating_sub(1));
            if length >= LEAST_REUSE {
                best = best.max(Some((length, at)));
                entry.shared = if entry.uses == 0 { length } else { entry.shared.min(length) };
                entry.uses += 1;
            }
        }
        let Some((length, at)) = best else {
            return Ok((Cache::new(&loaded.model.config, capacity)?, 0));
        };
        let entry = self.entries.remove(at);
        let cache = entry.cache.fork(length, capacity);
        self.entries.push(entry);
        Ok((cache?, length))
    }

    /// Keeps what an answer has read and written, within the limits.
    pub(super) fn keep(&mut self, loaded: Arc<Loaded>, cache: Cache, instructions: usize) {
        // What the new one begins with holds nothing that the new one does not.
        let mut entry = Entry { loaded, cache, uses: 0, shared: 0, instructions, saved: 0 };
        self.entries.retain(|old| {
            let same = Arc::ptr_eq(&old.loaded, &entry.loaded);
            let covered = same && entry.cache.tokens().starts_with(old.cache.tokens());
            if covered {
                entry.uses += old.uses;
                entry.shared = if entry.uses == old.uses { old.shared } else { entry.shared.min(old.shared) };
                entry.saved = entry.saved.max(old.saved);
            }
            !covered
        });
        self.entries.push(entry);
        let total = |entries: &[Entry]| entries.iter().map(|entry| entry.cache.bytes()).sum::<u64>();
        while self.entries.len() > MAX_CACHES || total(&self.entries) > MAX_BYTES {
            self.entries.remove(0);
        }
    }

    /// Takes from disk what is kept there for a model that was just loaded.
    pub(super) fn recall(&mut self, loaded: &Arc<Loaded>, context: usize) {
        let Some(shelf) = &self.shelf else { return };
        for cache in shelf.load(loaded, context, MAX_BYTES / 2) {
            let saved = cache.len();
            self.keep(Arc::clone(loaded), cache, saved);
            if let Some(entry) = self.entries.last_mut() {
                entry.saved = saved;
            }
        }
    }

    /// Writes one much used beginning to disk, if there is one that is not there yet; for when nobody waits.
    pub(super) fn save_one(&mut self) {
        let Some(shelf) = &self.shelf else { return };
        let wanted = |entry: &&mut Entry| {
            entry.uses >= USES_BEFORE_SAVED && entry.lasting() >= LEAST_SAVED && entry.lasting() > entry.saved
        };
        let Some(entry) = self.entries.iter_mut().find(wanted) else { return };
        // Tried once, whatever came of it: a full card must not be written to again and again.
        entry.saved = entry.lasting();
        match shelf.save(&entry.loaded, &entry.cache, entry.saved) {
            Ok(()) => tracing::debug!(tokens = entry.saved, "a beginning is kept on disk"),
            Err(error) => tracing::warn!(%error, "a beginning cannot be kept on disk"),
        }
    }

    /// Drops those of a model.
    pub(super) fn forget(&mut self, name: &str) {
        self.entries.retain(|entry| entry.loaded.name != name);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}
