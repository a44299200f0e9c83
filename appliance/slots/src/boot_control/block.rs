//! The boot-control block as it lies on the card: 512 bytes, little-endian, the same for Linux and for the boot script.
//!
//! ```text
//!   0..8    magic "CAIRNAB1"
//!   8..12   generation
//!  12..16   default slot: 0 = A, 1 = B
//!  16..20   slot on trial: 0 = A, 1 = B, 0xFFFFFFFF = none
//!  20..24   tries left: 0 or 1
//!  24..508  zero
//! 508..512  CRC-32 (IEEE) of bytes 0..508
//! ```
//!
//! A copy counts when its magic and its CRC are right; then every value of every field means something, so that the boot
//! script needs no further check: a default slot other than 1 is A, a trial slot other than 0 and 1 (or equal to the default)
//! is none, tries left other than 1 are 0.

use super::state::{BootState, Trial};
use crate::SlotId;

/// Bytes of a block: one sector, which cards write whole or not at all more often than anything larger.
pub const BLOCK_SIZE: usize = 512;
/// First bytes of every block.
pub const MAGIC: [u8; 8] = *b"CAIRNAB1";
/// The value of the trial field when no slot is on trial.
pub const NO_TRIAL: u32 = u32::MAX;

/// A block in memory.
pub type Block = [u8; BLOCK_SIZE];

/// CRC-32 (IEEE 802.3, reflected, as `crc32` of U-Boot and zlib).
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    // One block per boot and per flip: a table would be larger than what it saves.
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

const fn number(slot: SlotId) -> u32 {
    match slot {
        SlotId::A => 0,
        SlotId::B => 1,
    }
}

/// The block that says `state`.
#[must_use]
pub fn encode(state: &BootState) -> Block {
    let mut block = [0; BLOCK_SIZE];
    let (trial, tries) = match state.trial {
        None => (NO_TRIAL, 0),
        Some(Trial { slot, tried }) => (number(slot), u32::from(!tried)),
    };
    let fields = [state.generation, number(state.default), trial, tries];
    let head = MAGIC.into_iter().chain(fields.into_iter().flat_map(u32::to_le_bytes));
    block.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    let (body, crc) = block.split_at_mut(BLOCK_SIZE - 4);
    crc.copy_from_slice(&crc32(body).to_le_bytes());
    block
}

/// What a block says; `None` when it is none of ours or damaged.
#[must_use]
pub fn decode(block: &Block) -> Option<BootState> {
    let (body, crc) = block.split_last_chunk::<4>()?;
    let (magic, fields) = body.split_first_chunk::<8>()?;
    if *magic != MAGIC || u32::from_le_bytes(*crc) != crc32(body) {
        return None;
    }
    let field = |index: usize| {
        fields.get(index * 4..).and_then(<[u8]>::first_chunk::<4>).map(|bytes| u32::from_le_bytes(*bytes))
    };
    let default = if field(1)? == 1 { SlotId::B } else { SlotId::A };
    let trial = match field(2)? {
        0 => Some(SlotId::A),
        1 => Some(SlotId::B),
        _ => None,
    };
    let tried = field(3)? != 1;
    Some(BootState {
        generation: field(0)?,
        default,
        trial: trial.filter(|slot| *slot != default).map(|slot| Trial { slot, tried }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spelled out byte by byte: the boot script reads the same bytes.
    #[test]
    fn the_bytes_are_the_published_ones() {
        let trial = Some(Trial { slot: SlotId::B, tried: false });
        let block = encode(&BootState { generation: 0x0102_0304, default: SlotId::A, trial });
        assert_eq!(&block[..24], b"CAIRNAB1\x04\x03\x02\x01\0\0\0\0\x01\0\0\0\x01\0\0\0");
        assert!(block[24..508].iter().all(|byte| *byte == 0));
        assert_eq!(block[508..], crc32(&block[..508]).to_le_bytes());
        let none = encode(&BootState { generation: 1, default: SlotId::B, trial: None });
        assert_eq!(&none[8..24], b"\x01\0\0\0\x01\0\0\0\xFF\xFF\xFF\xFF\0\0\0\0");
    }

    #[test]
    fn the_checksum_is_the_one_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn every_state_survives_and_every_flipped_bit_is_noticed() {
        let trials = [None, Some(false), Some(true)];
        for (default, tried) in SlotId::ALL.into_iter().flat_map(|slot| trials.map(|tried| (slot, tried))) {
            let trial = tried.map(|tried| Trial { slot: default.other(), tried });
            let state = BootState { generation: 77, default, trial };
            let block = encode(&state);
            assert_eq!(decode(&block), Some(state));
        }
        let block = encode(&BootState { generation: 77, default: SlotId::A, trial: None });
        for bit in 0..BLOCK_SIZE * 8 {
            let mut bad = block;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bad), None, "bit {bit}");
        }
    }

    #[test]
    fn values_that_nobody_writes_have_a_meaning_too() {
        let odd = |default: u32, trial: u32, tries: u32| {
            let mut block = encode(&BootState { generation: 5, default: SlotId::A, trial: None });
            for (at, value) in [(12, default), (16, trial), (20, tries)] {
                block[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            let crc = crc32(&block[..508]);
            block[508..].copy_from_slice(&crc.to_le_bytes());
            decode(&block).unwrap()
        };
        assert_eq!(odd(9, NO_TRIAL, 0).default, SlotId::A);
        assert_eq!(odd(0, 7, 1).trial, None);
        assert_eq!(odd(1, 1, 1).trial, None, "the default is never on trial");
        assert_eq!(odd(0, 1, 9).trial, Some(Trial { slot: SlotId::B, tried: true }));
    }
}
