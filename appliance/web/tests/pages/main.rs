//! Pages, as browsers get them from a hub in a temporary folder.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod device;
mod forms;
mod hostile;
mod render;
mod support;
mod sync;
mod updates;
