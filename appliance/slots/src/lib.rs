//! The device side of an update: boot control, writing a slot, the health verdict.

#![forbid(unsafe_code)]
