//! Updates, as far as the network-facing process takes part: look, wait for its turn, fetch into the slot that it was given, and ask
//! for the restart at a good time.
//!
//! [`policy`] decides purely; [`fetch`] brings bytes, from HTTPS, a stick or an upload; [`install`] writes a system through them;
//! [`files`] does the same for models and content packs; [`service`] is the loop. Whom to believe is said by a [`Repository`], what needs
//! privileges is done by [`Privileged`]: the supervisor, which checks again what was written here.

pub mod fetch;
pub mod files;
pub mod install;
pub mod policy;
pub mod service;

use std::path::PathBuf;

use cairn_bundle::{Listing, Version};
use cairn_slots::{FileDevice, SlotPair, record::Record};
use futures::future::BoxFuture;

/// A published system that this hub may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What was signed of it.
    pub listing: Listing,
    /// Name of the bundle in the repository.
    pub target: String,
    /// What is new, in words for people.
    pub notes: String,
    /// When this hub's turn in the rollout is.
    pub turn: Turn,
}

/// Whether a rollout has come to this hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has.
    Come,
    /// Not yet.
    NotYet,
    /// The rollout is paused or stopped.
    Held,
}

/// What was signed, by whom this hub believes.
pub trait Repository: Send + Sync {
    /// Looks for something newer than `running`. `None` when there is nothing.
    fn check(&self, running: Version) -> BoxFuture<'_, Result<Option<Offer>, String>>;
}

/// What the supervisor does for updates.
pub trait Privileged: Send + Sync {
    /// Handles: to read the running slot, and to write the other one, which is on trial no longer.
    fn open(&self) -> BoxFuture<'_, Result<SlotPair<FileDevice, FileDevice>, String>>;

    /// Reads the written slot back, compares it with what was signed, and makes the next start try it. `evidence` is the
    /// folder with the signed metadata and the bundle's manifest.
    fn try_new(&self, evidence: PathBuf) -> BoxFuture<'_, Result<(), String>>;

    /// Restarts into what was made ready.
    fn restart(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Forgets that a version failed.
    fn try_again(&self, version: Version) -> BoxFuture<'_, Result<(), String>>;

    /// What is remembered of earlier updates.
    fn record(&self) -> Record;
}
