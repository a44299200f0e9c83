//! Whom a hub believes: The Update Framework (TUF, through `tough`) over a store that survives power cuts, and when a hub's
//! turn in a rollout has come. No network of its own: files come through [`Fetch`].
//!
//! `tough` keeps its files where a torn write makes it forget what it knew, reads the system's clock, and takes files of any
//! speed. Here its folder is a scratch copy, filled from and saved to a [`Store`] that never loses its memory; the time is
//! a parameter ([`Clock`]) and so is what to make of metadata that have expired ([`Channel`]); every file has a limit of
//! size and time ([`Limits`]). The rules are written down in `docs/UPDATES.md`.

#![forbid(unsafe_code)]

mod catalogue;
mod clock;
mod error;
mod fetch;
mod memory;
mod refresh;
pub mod rollout;
pub mod storage;
mod store;

pub use catalogue::{Catalogue, Check, Entry, Freshness, Listed, Pack, PackKind, System};
pub use clock::{Channel, Clock};
pub use error::{Error, Role};
pub use fetch::{Body, Directory, Fetch, FetchError, Limits};
pub use memory::Memory;
pub use refresh::{Trust, local_folder};
pub use store::Store;
