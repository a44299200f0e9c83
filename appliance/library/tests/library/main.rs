//! A library: its index, search, answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod ask;
mod indexing;
mod search;
mod support;
