//! From files to passages.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(unreachable_pub, reason = "tests")]

mod child;
mod formats;
mod hostile;
mod real;
mod split;
mod support;
