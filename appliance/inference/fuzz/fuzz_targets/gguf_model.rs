//! A valid small model with bytes of its header changed: loading, tokenizing, rendering and computing end without a panic.
#![no_main]

use std::{io::Write, sync::OnceLock};

use cairn_inference::{ChatMessage, ChatRole, probe::Probe, synthetic};
use libfuzzer_sys::fuzz_target;

static MODEL: OnceLock<Vec<u8>> = OnceLock::new();

fn model() -> &'static [u8] {
    MODEL.get_or_init(|| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        synthetic::write_copying(file.path()).expect("a model");
        std::fs::read(file.path()).expect("its bytes")
    })
}

fuzz_target!(|changes: Vec<(u16, u8)>| {
    let mut bytes = model().to_vec();
    for (position, value) in changes {
        if let Some(byte) = bytes.get_mut(usize::from(position)) {
            *byte = value;
        }
    }
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&bytes).expect("room for it");
    if let Ok(mut probe) = Probe::open(file.path(), 64) {
        let rendered = probe.render(&[ChatMessage::new(ChatRole::User, "Where is water?")]);
        if let Ok(tokens) = rendered.and_then(|text| probe.tokenize(&text, true, true)) {
            let mut session = probe.session();
            let _ = probe.read(&mut session, &tokens[..tokens.len().min(8)]);
        }
    }
});
