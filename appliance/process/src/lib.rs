//! The boundary between two processes of the hub: how they talk, how one starts another, and what each may do.
//!
//! `supervisor`, `inference` (its channel), `library` (the extractor) and `cairn` depend on this crate; it
//! knows none of them and nothing of what they say to each other.

pub mod channel;
pub mod confine;
#[allow(unsafe_code)]
mod os;
pub mod spawn;
mod wire;

pub use channel::{Channel, ChannelError, Receiver, Sender};
pub use confine::{ConfineError, Confinement, ConfinementReport, Profile};
pub use wire::MAX_FRAME;

/// Gives memory that was freed back to the system, for a process that rests after hard work. Takes milliseconds.
pub fn return_freed_memory() {
    os::return_freed_memory();
}
