//! Everything that leaves the device: synchronisation with the gateway, and answers from a model in the cloud for hubs
//! whose keeper allowed it.
//!
//! Only the binary depends on this crate. It dials out and never listens; what it may dial is said by its caller.

#![forbid(unsafe_code)]

pub mod cloud;
pub mod connectivity;
mod router;
pub mod sync;
mod tls;
pub mod updates;

pub use cloud::{CloudModel, Endpoint, EndpointError};
pub use connectivity::Connectivity;
pub use router::{Mode, Router, Routing};
