//! Models: the answers of other programs to the same questions, batching, and the role from its other side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod agreement;
mod batching;
mod embedding;
mod reference;
mod serving;
mod stock;
