//! What the fuzz targets check, apart from the fuzzer: the tests replay the corpus with the same code.

pub mod gguf_header;
