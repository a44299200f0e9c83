//! Two copies of the block: which one counts, and which one is written next.

use super::{block, state::BootState};

/// One of the two copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the lower address.
    First,
    /// At the higher address.
    Second,
}

/// What both copies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    first: Option<BootState>,
    second: Option<BootState>,
}

impl Copies {
    /// Reads two blocks.
    #[must_use]
    pub fn of(first: &block::Block, second: &block::Block) -> Self {
        Self { first: block::decode(first), second: block::decode(second) }
    }

    fn counting(&self) -> Option<(Place, BootState)> {
        match (self.first, self.second) {
            (None, None) => None,
            (Some(first), None) => Some((Place::First, first)),
            (None, Some(second)) => Some((Place::Second, second)),
            (Some(first), Some(second)) if second.generation > first.generation => {
                Some((Place::Second, second))
            }
            (Some(first), Some(_)) => Some((Place::First, first)),
        }
    }

    /// The valid copy with the higher generation; the first one of two equals; slot A when there is none.
    #[must_use]
    pub fn in_force(&self) -> BootState {
        self.counting().map_or(BootState::UNREADABLE, |(_, state)| state)
    }

    /// The copy to write next: the one that does not count.
    #[must_use]
    pub fn spare(&self) -> Place {
        match self.counting() {
            Some((Place::First, _)) => Place::Second,
            Some((Place::Second, _)) | None => Place::First,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SlotId;

    fn blocks(first: Option<u32>, second: Option<u32>) -> Copies {
        let make = |generation: Option<u32>, default| {
            generation.map_or([0xA5; block::BLOCK_SIZE], |generation| {
                block::encode(&BootState { generation, default, trial: None })
            })
        };
        Copies::of(&make(first, SlotId::A), &make(second, SlotId::B))
    }

    #[test]
    fn the_newer_valid_copy_counts_and_the_other_is_written() {
        for (first, second, default, spare) in [
            (Some(1), None, SlotId::A, Place::Second),
            (None, Some(1), SlotId::B, Place::First),
            (Some(2), Some(3), SlotId::B, Place::First),
            (Some(4), Some(3), SlotId::A, Place::Second),
            (Some(3), Some(3), SlotId::A, Place::Second),
            (None, None, SlotId::A, Place::First),
        ] {
            let copies = blocks(first, second);
            assert_eq!(copies.in_force().default, default, "{first:?} {second:?}");
            assert_eq!(copies.spare(), spare, "{first:?} {second:?}");
        }
        assert_eq!(blocks(None, None).in_force().generation, 0);
    }
}
