//! The update bundle: chunks, index, deltas and verification, without network.

#![forbid(unsafe_code)]
