//! The cloud side: records of many communities over PostgreSQL, for hubs that dial in.
//!
//! Stateless: any number of instances serve the same database. What becomes of a change is decided by `cairn-sync`, the same
//! code that the simulator runs; this crate loads what it needs, stores what it says, and speaks HTTP. Only the
//! `cairn-gateway` binary and tests depend on it.

#![forbid(unsafe_code)]

pub mod cluster;
pub mod db;
pub mod fleet;
pub mod http;
pub mod limits;
pub mod live;
pub mod metrics;
pub mod migrate;
pub mod serve;
pub mod store;
pub mod time;
