//! The process tree of the hub: starts its roles, watches them, restarts them, and ends them in order.
//!
//! Only the binary depends on this crate. Decisions stand in [`policy`] as plain functions; [`Tree`] carries them out.
//! [`RoleLink`] is the other end, held by each role.

#![forbid(unsafe_code)]

mod device;
mod link;
mod message;
mod notify;
pub mod policy;
mod running;
pub mod status;
pub mod system;
mod tree;
mod watchdog;

pub use cairn_device::board;
pub use device::DeviceConfig;
pub use link::{Order, RoleLink, last_words};
pub use message::{DeviceOrder, Role};
pub use notify::Notify;
pub use policy::Policy;
pub use status::{RoleHealth, RoleStatus, TreeStatus};
pub use tree::{End, RoleSpec, Tree, TreeConfig, TreeError};
pub use watchdog::Watchdog;
