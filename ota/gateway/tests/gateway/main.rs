//! The gateway over a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod apart;
mod files;
mod records;
mod rounds;
mod service;
mod support;
