//! See `checks/boot_state.rs`.

#![no_main]

#[path = "../checks/mod.rs"]
#[allow(dead_code)]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| checks::boot_state::check(input));
