//! The device side of an update: boot control, writing a slot, the health verdict.
//!
//! The supervisor and the hub's uplink stand on this crate. It decides purely and acts on two things only: a
//! [`BlockDevice`] and a folder of small state files. It knows nothing of networks, of processes or of the database.

#![forbid(unsafe_code)]

pub mod boot_control;
mod boot_flow;
mod check;
mod device;
pub mod durable;
pub mod health;
mod install;
pub mod record;
mod slot;
mod system;
pub mod tryboot;

pub use boot_control::{BootControl, BootControlError, BootState, Outcome};
pub use boot_flow::{BootFlow, BootFlowError, Capabilities};
pub use check::{CheckError, check_slot};
pub use device::{BlockDevice, DeviceError, FileDevice, Partitions, SlotPair};
pub use install::{FLUSH_EVERY, Install, InstallError, Survey, survey};
pub use slot::SlotId;
pub use system::{RECORD, System, SystemError};
