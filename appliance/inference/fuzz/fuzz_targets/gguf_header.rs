//! Any bytes: the header reader ends, and what it accepts lies in the file.
#![no_main]

use cairn_inference::gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(header) = gguf::read_header(data, data.len() as u64) {
        for info in header.tensors.values() {
            assert!(info.start + info.bytes <= data.len() as u64);
            assert!(info.elements() > 0);
        }
    }
});
