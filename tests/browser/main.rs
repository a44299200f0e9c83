//! What a person does in a browser, in real headless Chromium against the hub as it ships.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod answers;
mod conflicts;
mod journey;
mod session;
