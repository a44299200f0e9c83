use std::io::Cursor;

use proptest::prelude::*;

use super::{
    write::{Tensor, Value as Put, Writer},
    *,
};

/// A small valid file: two tensors, one value of every type.
fn sample() -> Vec<u8> {
    let metadata = [
        ("general.architecture".to_owned(), Put::Text("llama".into())),
        ("llama.block_count".to_owned(), Put::U32(2)),
        ("llama.rope.freq_base".to_owned(), Put::F32(10_000.0)),
        ("tokenizer.ggml.add_bos_token".to_owned(), Put::Bool(true)),
        ("tokenizer.ggml.tokens".to_owned(), Put::Texts(vec!["a".into(), "ü".into(), String::new()])),
        ("tokenizer.ggml.scores".to_owned(), Put::Floats(vec![0.5, -1.0])),
        ("tokenizer.ggml.token_type".to_owned(), Put::Ints(vec![1, 3, -1])),
    ];
    let tensors = [
        Tensor { name: "a".into(), dims: vec![3, 2], kind: 0, bytes: 24 },
        Tensor { name: "b".into(), dims: vec![32], kind: 8, bytes: 34 },
    ];
    let mut writer = Writer::new(Vec::new(), &metadata, &tensors).unwrap();
    writer.data(&[1; 24]).unwrap();
    writer.end_tensor().unwrap();
    writer.data(&[2; 34]).unwrap();
    writer.end_tensor().unwrap();
    writer.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Gguf, GgufError> {
    read_header(Cursor::new(bytes), bytes.len() as u64)
}

/// A header of counts followed by whatever `rest` is.
fn header(tensors: u64, values: u64, rest: &[&[u8]]) -> Vec<u8> {
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(values.to_le_bytes());
    rest.iter().for_each(|part| bytes.extend(*part));
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn tensor_entry(name: &str, dims: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

#[test]
fn what_is_written_is_read_back() {
    let bytes = sample();
    let gguf = read(&bytes).unwrap();
    assert_eq!(gguf.text("general.architecture"), Some("llama"));
    assert_eq!(gguf.int("llama.block_count"), Some(2));
    assert_eq!(gguf.float("llama.rope.freq_base"), Some(10_000.0));
    assert_eq!(gguf.bool("tokenizer.ggml.add_bos_token"), Some(true));
    assert_eq!(gguf.texts("tokenizer.ggml.tokens").unwrap().get(1), Some("ü"));
    assert_eq!(gguf.floats("tokenizer.ggml.scores"), Some([0.5, -1.0].as_slice()));
    assert_eq!(gguf.ints("tokenizer.ggml.token_type"), Some([1, 3, -1].as_slice()));
    let a = &gguf.tensors["a"];
    assert_eq!((a.columns(), a.rows(), a.bytes), (3, 2, 24));
    assert_eq!(bytes[a.start as usize..][..24], [1; 24]);
    let b = &gguf.tensors["b"];
    assert_eq!(bytes[b.start as usize..][..34], [2; 34]);
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = sample();
    let last = read(&bytes).unwrap().tensors["b"].start as usize + 34;
    for length in 0..last {
        assert!(read(&bytes[..length]).is_err(), "the first {length} bytes were accepted");
    }
}

#[test]
fn other_files_and_versions_are_refused() {
    assert!(matches!(read(b"PK\x03\x04 a zip archive"), Err(GgufError::Magic)));
    assert!(matches!(read(b"GGUF\x01\0\0\0................"), Err(GgufError::Version(1))));
    assert!(matches!(read(b"GGUF\0\0\0\x03................"), Err(GgufError::Version(0x0300_0000))));
}

#[test]
fn absurd_counts_are_refused_before_anything_is_allocated() {
    let counts = [header(u64::MAX, 0, &[]), header(0, u64::MAX, &[]), header(MAX_TENSORS + 1, 0, &[])];
    for bytes in counts {
        assert!(matches!(read(&bytes), Err(GgufError::Limit { .. })));
    }
    let key = header(0, 1, &[&u64::MAX.to_le_bytes()]);
    assert!(matches!(read(&key), Err(GgufError::Limit { .. })));
    let array = [&9_u32.to_le_bytes()[..], &8_u32.to_le_bytes(), &u64::MAX.to_le_bytes()].concat();
    assert!(matches!(read(&header(0, 1, &[&text("k"), &array])), Err(GgufError::Limit { .. })));
}

#[test]
fn an_array_that_promises_more_than_the_file_holds_is_truncated() {
    let array = [&9_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), &1000_u64.to_le_bytes(), &[0; 40]].concat();
    assert!(matches!(read(&header(0, 1, &[&text("k"), &array])), Err(GgufError::Truncated(_))));
}

#[test]
fn arrays_in_arrays_and_unknown_types_are_refused() {
    let nested = [&9_u32.to_le_bytes()[..], &9_u32.to_le_bytes(), &1_u64.to_le_bytes()].concat();
    let bytes = [header(0, 1, &[&text("k"), &nested]), vec![0; 64]].concat();
    assert!(matches!(read(&bytes), Err(GgufError::ValueType { kind: 9, .. })));
    let unknown = [header(0, 1, &[&text("k"), &77_u32.to_le_bytes()]), vec![0; 64]].concat();
    assert!(matches!(read(&unknown), Err(GgufError::ValueType { kind: 77, .. })));
}

#[test]
fn impossible_tensors_are_refused() {
    let with = |entries: &[Vec<u8>]| {
        let parts: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        [header(entries.len() as u64, 0, &parts), vec![0; 512]].concat()
    };
    let shape = |dims: &[u64], kind| read(&with(&[tensor_entry("t", dims, kind, 0)]));
    assert!(matches!(shape(&[], 0), Err(GgufError::Shape { .. })));
    assert!(matches!(shape(&[0, 4], 0), Err(GgufError::Shape { .. })));
    assert!(matches!(shape(&[u64::MAX, 2], 0), Err(GgufError::Shape { .. })));
    assert!(matches!(shape(&[33], 8), Err(GgufError::Shape { .. })));
    assert!(matches!(shape(&[1, 1, 1, 1, 1], 0), Err(GgufError::Limit { .. })));
    assert!(matches!(shape(&[32], 99), Err(GgufError::TensorType { kind: 99, .. })));
    assert!(matches!(shape(&[1 << 20], 0), Err(GgufError::OutOfFile { .. })));
    let off = read(&with(&[tensor_entry("t", &[4], 0, 4)]));
    assert!(matches!(off, Err(GgufError::Unaligned { .. })));
    let beyond = read(&with(&[tensor_entry("t", &[4], 0, u64::MAX - 31)]));
    assert!(matches!(beyond, Err(GgufError::OutOfFile { .. })));
    let overlap = read(&with(&[tensor_entry("a", &[16], 0, 0), tensor_entry("b", &[16], 0, 32)]));
    assert!(matches!(overlap, Err(GgufError::Overlap { .. })));
    let twice = read(&with(&[tensor_entry("a", &[1], 0, 0), tensor_entry("a", &[1], 0, 32)]));
    assert!(matches!(twice, Err(GgufError::Duplicate(_))));
}

#[test]
fn text_that_is_no_utf8_is_refused() {
    let bytes = [header(0, 1, &[&1_u64.to_le_bytes(), &[0xff]]), vec![0; 64]].concat();
    assert!(matches!(read(&bytes), Err(GgufError::Text(_))));
}

proptest! {
    /// Whatever is changed in a valid file, reading it ends, and what is accepted keeps every promise.
    #[test]
    fn mutations_are_refused_or_harmless(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = sample();
        for (index, value) in changes {
            let position = index.index(bytes.len());
            bytes[position] = value;
        }
        if let Ok(gguf) = read(&bytes) {
            for info in gguf.tensors.values() {
                prop_assert!(info.start + info.bytes <= bytes.len() as u64);
                prop_assert_eq!(info.elements() / info.kind.block_elements() * info.kind.block_bytes(), info.bytes);
            }
        }
    }

    /// Arbitrary bytes after the magic number never panic.
    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..512)) {
        let bytes = [b"GGUF\x03\0\0\0".as_slice(), &noise].concat();
        drop(read(&bytes));
    }
}
