//! Replays what fuzzing found worth keeping (`fuzz/corpus`), with the checks of the fuzz targets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

#[path = "../fuzz/checks/mod.rs"]
mod checks;

#[path = "../../../tests/fuzzing/replay.rs"]
mod replay;

use replay::replay;

#[test]
fn the_corpus_of_delta_holds() {
    replay(env!("CARGO_MANIFEST_DIR"), "delta", checks::delta::check);
}

#[test]
fn the_corpus_of_head_holds() {
    replay(env!("CARGO_MANIFEST_DIR"), "head", checks::head::check);
}
