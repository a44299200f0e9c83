//! The device side of an update: boot control, writing a slot, the health verdict.
//!
//! The supervisor and the hub's uplink stand on this crate. It decides purely and acts on two things only: a
//! [`BlockDevice`] and small state files. It knows nothing of networks, of processes or of the database.

#![forbid(unsafe_code)]

pub mod boot_control;
mod device;
mod slot;

pub use boot_control::{BootControl, BootControlError, BootState, Outcome};
pub use device::{BlockDevice, DeviceError, FileDevice};
pub use slot::SlotId;
