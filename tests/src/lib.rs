//! What the end-to-end tests and benchmarks share: a real hub in a folder of its own, and clients for it.
//!
//! Nothing in the product depends on this crate. `cargo xtask test` prepares what it needs and says where
//! by environment variables; [`environment`] names them.

#![forbid(unsafe_code)]

pub mod answer;
pub mod chaos;
pub mod environment;
pub mod http;
pub mod hub;
pub mod keeper;
pub mod model;
pub mod model_server;
pub mod simulation;
pub mod times;
pub mod wait;
