//! What the fuzz targets check, apart from the fuzzer: the tests replay the corpus with the same code.

pub mod delta;
pub mod head;

#[path = "../../../../tests/fuzzing/parts.rs"]
mod parts;

pub use parts::parts;
