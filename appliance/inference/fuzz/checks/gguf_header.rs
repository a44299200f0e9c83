//! Any bytes: the header reader ends, and what it accepts lies in the file.

use cairn_inference::gguf;

pub fn check(input: &[u8]) {
    if let Ok(header) = gguf::read_header(input, input.len() as u64) {
        for info in header.tensors.values() {
            assert!(info.start + info.bytes <= input.len() as u64);
            assert!(info.elements() > 0);
        }
    }
}
