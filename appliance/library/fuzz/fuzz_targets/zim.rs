#![no_main]

use cairn_library::{
    extract::{Hint, Input, Limits, Reason, extract},
    split::split,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match extract(&Input::from_bytes(bytes), &Hint::from_name("a.zim"), &Limits::default()) {
        Ok(document) => drop(split(&document.blocks)),
        Err(error) => assert!(!matches!(error.reason, Reason::Crashed { .. }), "{error}"),
    }
});
