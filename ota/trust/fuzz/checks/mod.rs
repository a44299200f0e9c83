//! What the fuzz targets check, apart from the fuzzer: the tests replay the corpus with the same code.

pub mod trust;

#[path = "../../../../tests/fuzzing/parts.rs"]
mod parts;

pub use parts::parts;
