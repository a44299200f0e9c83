//! The maintainers' tool: keys, signing, publishing, rollouts.

#![forbid(unsafe_code)]

fn main() {}
