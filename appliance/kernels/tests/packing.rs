//! Packing keeps every value, the packed bytes can be mapped, and malformed input is refused by a typed error.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, Mutex};

use cairn_kernels::synthetic::{Random, raw_tensor};
use cairn_kernels::{
    ALIGNMENT, Arena, Format, KernelError, MAX_COLS, MAX_ROWS, PackedMatrix, Pool, PoolOptions, RawTensor,
};
use common::*;
use proptest::prelude::*;

fn pool(threads: usize) -> Pool {
    Pool::new(PoolOptions { threads, pinned: false }).unwrap()
}

#[test]
fn packing_keeps_every_value() {
    for format in Format::ALL {
        for (rows, blocks) in [(1, 1), (16, 2), (23, 3), (64, 1)] {
            let cols = columns(format, blocks);
            let bytes = raw_tensor(format, rows, cols, 0.1, &mut Random::new(3));
            let raw = RawTensor::new(format, rows, cols, &bytes).unwrap();
            let packed = PackedMatrix::pack(&pool(3), &raw).unwrap();
            let mut row_values = vec![0.0; cols];
            for (row, wanted) in values(&raw).chunks(cols).enumerate() {
                packed.dequantize_row(row, &mut row_values).unwrap();
                assert_eq!(row_values, wanted, "{format} row {row} of {rows}×{cols}");
            }
            assert!(matches!(
                packed.dequantize_row(rows, &mut row_values),
                Err(KernelError::OutOfRange { .. })
            ));
            assert!(matches!(packed.dequantize_row(0, &mut row_values[1..]), Err(KernelError::Shape { .. })));
        }
    }
}

#[test]
fn packed_size_stays_close_to_the_file() {
    for format in Format::ALL {
        let (rows, cols) = (960, 2560);
        let raw = rows * format.row_bytes(cols).unwrap();
        let packed = PackedMatrix::packed_bytes(format, rows, cols).unwrap();
        let share = packed as f64 / raw as f64;
        assert!((1.0..1.03).contains(&share), "{format}: {share}");
    }
}

/// Bytes on the alignment that mapped files have.
#[repr(align(64))]
struct Aligned([u8; 1 << 16]);

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn what_was_written_can_be_mapped() {
    let compute = &computes(1)[0];
    for format in Format::ALL {
        let (rows, cols) = (21, columns(format, 2));
        let bytes = raw_tensor(format, rows, cols, 0.1, &mut Random::new(3));
        let raw = RawTensor::new(format, rows, cols, &bytes).unwrap();
        let packed = PackedMatrix::pack(compute.pool(), &raw).unwrap();
        let mut file = Vec::new();
        PackedMatrix::write_packed(&raw, &mut file).unwrap();
        assert_eq!(file, packed.bytes());
        let start = 3 * ALIGNMENT;
        let mut map = Box::new(Aligned([0xee; 1 << 16]));
        map.0[start..start + file.len()].copy_from_slice(&file);
        let map: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::from(map as Box<dyn AsRef<[u8]> + Send + Sync>);
        let mapped = PackedMatrix::from_mapped(format, rows, cols, Arc::clone(&map), start).unwrap();
        assert_eq!(mapped.bytes(), packed.bytes());
        let try_at =
            |rows, start| PackedMatrix::from_mapped(format, rows, cols, Arc::clone(&map), start).err();
        assert!(matches!(try_at(rows, start + 1), Some(KernelError::Alignment { .. })));
        assert!(matches!(try_at(rows, (1 << 16) - ALIGNMENT), Some(KernelError::ByteLength { .. })));
        assert!(matches!(try_at(rows, usize::MAX - 63), Some(KernelError::ByteLength { .. })));
        assert!(matches!(try_at(1 << 20, start), Some(KernelError::ByteLength { .. })));
    }
}

proptest! {
    #[test]
    fn malformed_dimensions_and_lengths_are_typed_errors(
        which in 0usize..8,
        rows in prop_oneof![0usize..40, Just(MAX_ROWS), Just(MAX_ROWS + 1), Just(usize::MAX), Just(usize::MAX / 18)],
        cols in prop_oneof![0usize..600, Just(MAX_COLS), Just(MAX_COLS + 256), Just(usize::MAX), Just(usize::MAX / 2)],
        len in prop_oneof![0usize..5000, Just(0usize)],
        exact: bool,
    ) {
        let format = Format::ALL[which];
        let row_bytes = cols.checked_div(format.block_values()).map(|b| b.saturating_mul(format.block_bytes()));
        let right = row_bytes.and_then(|b| b.checked_mul(rows)).filter(|len| *len <= 1 << 20);
        let bytes = vec![0x5a; if exact { right.unwrap_or(len) } else { len }];
        let possible = (1..=MAX_ROWS).contains(&rows) && (1..=MAX_COLS).contains(&cols);
        let whole = cols % format.block_values() == 0;
        match RawTensor::new(format, rows, cols, &bytes) {
            Ok(raw) => {
                prop_assert!(possible && whole && Some(bytes.len()) == right);
                // Random bytes are valid weights, whatever they are: packing and reading them must not fail.
                let packed = PackedMatrix::pack(&pool(1), &raw).unwrap();
                let (mut a, mut b) = (vec![0.0; cols], vec![0.0; cols]);
                raw.dequantize_row(rows - 1, &mut a).unwrap();
                packed.dequantize_row(rows - 1, &mut b).unwrap();
                prop_assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
            Err(KernelError::Dimensions { .. }) => prop_assert!(!possible),
            Err(KernelError::PartialBlock { .. }) => prop_assert!(possible && !whole),
            Err(KernelError::ByteLength { .. }) => prop_assert!(possible && whole && Some(bytes.len()) != right),
            Err(other) => prop_assert!(false, "unexpected {other}"),
        }
        let packed = PackedMatrix::packed_bytes(format, rows, cols);
        prop_assert_eq!(packed.is_ok(), possible && whole);
    }
}

#[test]
fn formats_have_the_numbers_and_sizes_of_ggml() {
    let known = [
        (0, 1, 4),
        (1, 1, 2),
        (2, 32, 18),
        (6, 32, 22),
        (8, 32, 34),
        (12, 256, 144),
        (13, 256, 176),
        (14, 256, 210),
    ];
    for ((code, values, bytes), format) in known.into_iter().zip(Format::ALL) {
        assert_eq!(Format::from_ggml(code), Some(format));
        assert_eq!((format.block_values(), format.block_bytes()), (values, bytes));
    }
    assert_eq!(Format::from_ggml(3), None);
    assert_eq!(Format::from_ggml(u32::MAX), None);
}

#[test]
fn a_tensor_that_comes_in_pieces_is_packed_like_a_whole_one() {
    let arena = Arena::for_matrices([(Format::Q8_0, 16, 32)]);
    for format in Format::ALL {
        // Several pieces, the last one with a tile that is not full.
        let cols = 4096;
        let rows = 2 * cairn_kernels::PIECE_BYTES / format.row_bytes(cols).unwrap() + 5;
        let bytes = raw_tensor(format, rows, cols, 0.1, &mut Random::new(4));
        let whole =
            PackedMatrix::pack(&pool(2), &RawTensor::new(format, rows, cols, &bytes).unwrap()).unwrap();
        let brought = Mutex::new(Vec::new());
        let packed = PackedMatrix::pack_from(&pool(2), &arena, format, rows, cols, |offset, piece| {
            let start = usize::try_from(offset).unwrap();
            piece.copy_from_slice(&bytes[start..start + piece.len()]);
            brought.lock().unwrap().push((start, piece.len()));
            Ok(())
        })
        .unwrap();
        let mut brought = brought.into_inner().unwrap();
        brought.sort_unstable();
        let end = brought.iter().fold(0, |next, (start, length)| {
            assert_eq!(*start, next, "{format}: each byte once");
            start + length
        });
        assert_eq!(end, bytes.len());
        assert!(brought.len() > 1, "{format}");
        assert!(packed.bytes() == whole.bytes(), "{format}");
    }
    let broken = PackedMatrix::pack_from(&pool(1), &arena, Format::Q8_0, 16, 32, |_, _| {
        Err(std::io::Error::other("gone"))
    });
    assert_eq!(broken.err().unwrap().to_string(), "gone");
}
