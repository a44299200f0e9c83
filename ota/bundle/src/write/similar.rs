//! Which parts of the old payloads look like a piece of the new one.
//!
//! Both are sampled where a rolling hash over 64 bytes has a certain form, so that the same content is sampled at the
//! same places wherever it lies. A part of the old payload gets a vote for each sample that it shares with the piece.

use std::collections::HashMap;

use crate::{Error, PayloadKind, Place, ReadAt, limits};

/// Size of the parts that are voted for, in bytes.
const PART: u64 = 32 * 1024;
/// Most samples of the old payloads, which bounds the memory to about 100 MB.
const MAX_SAMPLES: u64 = 2 * 1024 * 1024;
/// Bytes read at once.
const BLOCK: usize = 1024 * 1024;

/// Samples of the old payloads.
pub(crate) struct Similar {
    gear: Vec<u64>,
    mask: u64,
    /// Where a sample was last seen.
    seen: HashMap<u64, (PayloadKind, u64)>,
    lengths: [u64; 2],
}

impl Similar {
    pub(crate) fn new(total: u64) -> Self {
        let every = (total / MAX_SAMPLES).max(48).next_power_of_two();
        // The low bits of the rolling hash depend on the last bytes only, the high ones on all 64.
        let mask = (every - 1) << (64 - every.trailing_zeros());
        let mut state = 0x0123_4567_89AB_CDEF_u64;
        let gear = (0..256).map(|_| split_mix(&mut state)).collect();
        Self { gear, mask, seen: HashMap::new(), lengths: [0; 2] }
    }

    /// Takes in an old payload.
    pub(crate) fn add(&mut self, kind: PayloadKind, source: &dyn ReadAt, length: u64) -> Result<(), Error> {
        let [boot, root] = &mut self.lengths;
        *(if kind == PayloadKind::Boot { boot } else { root }) = length;
        let (mut at, mut hash) = (0_u64, 0_u64);
        let mut buffer = vec![0; BLOCK];
        while at < length {
            let count = usize::try_from(length - at).unwrap_or(BLOCK).min(BLOCK);
            buffer.truncate(count);
            let read = source.read_exact_at(at, &mut buffer);
            read.map_err(|source| Error::Read { what: "the old version", source })?;
            for (place, &byte) in (at..).zip(&buffer) {
                hash = roll(&self.gear, hash, byte);
                if hash & self.mask == 0 {
                    self.seen.insert(hash, (kind, place));
                }
            }
            at += count as u64;
        }
        Ok(())
    }

    /// The parts of the old payloads that share most with `piece`, at most `budget` bytes.
    pub(crate) fn to(&self, piece: &[u8], budget: u64) -> Vec<Place> {
        let mut votes: HashMap<(PayloadKind, u64), u32> = HashMap::new();
        let mut hash = 0_u64;
        for &byte in piece {
            hash = roll(&self.gear, hash, byte);
            if hash & self.mask == 0
                && let Some((kind, place)) = self.seen.get(&hash)
            {
                *votes.entry((*kind, place / PART)).or_default() += 1;
            }
        }
        let mut ranked: Vec<_> = votes.into_iter().collect();
        ranked.sort_unstable_by_key(|(part, votes)| (std::cmp::Reverse(*votes), *part));
        let mut chosen = std::collections::BTreeSet::new();
        for ((kind, part), _) in ranked {
            // What lies beside a part that is alike is often alike too, only changed all over.
            for near in [part, part + 1, part.saturating_sub(1)] {
                if (chosen.len() as u64 + 1) * PART <= budget {
                    chosen.insert((kind, near));
                }
            }
        }
        let mut places: Vec<Place> = Vec::new();
        for (kind, part) in chosen {
            let [boot, root] = self.lengths;
            let end = ((part + 1) * PART).min(if kind == PayloadKind::Boot { boot } else { root });
            let Ok(length) = u32::try_from(end.saturating_sub(part * PART)) else { continue };
            let full = places.len() >= limits::MAX_REFERENCES as usize;
            match places.last_mut() {
                Some(last) if last.kind == kind && last.offset + u64::from(last.length) == part * PART => {
                    last.length += length;
                }
                _ if length > 0 && !full => {
                    places.push(Place { kind, offset: part * PART, length });
                }
                _ => {}
            }
        }
        places
    }
}

fn roll(gear: &[u64], hash: u64, byte: u8) -> u64 {
    (hash << 1).wrapping_add(gear.get(usize::from(byte)).copied().unwrap_or_default())
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
