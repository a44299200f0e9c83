//! What a person should do something about: from the board's state to a few plain sentences.

use serde::{Deserialize, Serialize};

use crate::{board::Board, card::Spare};

/// From here on the firmware of the boards slows the processor down, degrees Celsius.
const HOT_C: f32 = 80.0;
/// Less free than this share of the disk is little, and so is less than this many bytes; both must hold.
const LITTLE_DISK_SHARE: u64 = 10;
const LITTLE_DISK: u64 = 512 << 20;
/// Less memory than this share is little.
const LITTLE_MEMORY_SHARE: u64 = 20;
/// A card that has used this much of its life should be replaced soon, percent.
const WORN_PERCENT: u8 = 90;

/// One thing that a person should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concern {
    /// The supply's voltage is too low.
    UnderVoltage,
    /// The processor is so hot that it is slowed down.
    Hot,
    /// Little space is left on the card.
    DiskNearlyFull,
    /// Little memory is left.
    MemoryNearlyFull,
    /// The card is near its end.
    CardWorn,
    /// The file system on the card has met errors.
    CardErrors,
}

impl Concern {
    /// The concerns that follow from `board`'s state.
    #[must_use]
    pub fn of(board: &Board) -> Vec<Self> {
        let share = |free: u64, total: Option<u64>, parts: u64| {
            total.is_some_and(|total| total > 0 && free < total / parts)
        };
        let worn = board.card.worn_percent.is_some_and(|worn| worn > WORN_PERCENT)
            || matches!(board.card.spare, Some(Spare::Warning | Spare::Urgent));
        let all = [
            (Self::UnderVoltage, board.under_voltage == Some(true)),
            (Self::Hot, board.temperature_c.is_some_and(|degrees| degrees >= HOT_C)),
            (
                Self::DiskNearlyFull,
                board.disk_free.is_some_and(|free| {
                    free < LITTLE_DISK && share(free, board.disk_total, LITTLE_DISK_SHARE)
                }),
            ),
            (
                Self::MemoryNearlyFull,
                board
                    .memory_available
                    .is_some_and(|free| share(free, board.memory_total, LITTLE_MEMORY_SHARE)),
            ),
            (Self::CardWorn, worn),
            (Self::CardErrors, board.card.errors.is_some_and(|errors| errors > 0)),
        ];
        all.into_iter().filter_map(|(concern, holds)| holds.then_some(concern)).collect()
    }

    /// A short name, for figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnderVoltage => "under_voltage",
            Self::Hot => "hot",
            Self::DiskNearlyFull => "disk_nearly_full",
            Self::MemoryNearlyFull => "memory_nearly_full",
            Self::CardWorn => "card_worn",
            Self::CardErrors => "card_errors",
        }
    }

    /// What is wrong and what helps, in English.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::UnderVoltage => "The power supply is too weak: use a better one, or a shorter cable.",
            Self::Hot => "The processor is too hot and slowed down: give the board air, or a heat sink.",
            Self::DiskNearlyFull => "The card is nearly full: remove large documents or unused models.",
            Self::MemoryNearlyFull => "Little memory is left: unload a model, or use a smaller one.",
            Self::CardWorn => "The card is near its end: make a backup and replace it soon.",
            Self::CardErrors => "The card gave errors: make a backup now and replace it.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Card;

    const GIB: u64 = 1 << 30;

    fn well() -> Board {
        Board {
            memory_total: Some(GIB),
            memory_available: Some(GIB / 2),
            disk_total: Some(32 * GIB),
            disk_free: Some(20 * GIB),
            temperature_c: Some(55.0),
            under_voltage: Some(false),
            card: Card {
                worn_percent: Some(10),
                spare: Some(Spare::Normal),
                errors: Some(0),
                ..Card::default()
            },
            ..Board::default()
        }
    }

    fn with(change: impl FnOnce(&mut Board)) -> Vec<Concern> {
        let mut board = well();
        change(&mut board);
        Concern::of(&board)
    }

    #[test]
    fn a_board_that_is_well_or_tells_nothing_concerns_nobody() {
        assert_eq!(Concern::of(&well()), []);
        assert_eq!(Concern::of(&Board::default()), []);
    }

    #[test]
    fn each_trouble_is_told_alone() {
        assert_eq!(with(|b| b.under_voltage = Some(true)), [Concern::UnderVoltage]);
        assert_eq!(with(|b| b.temperature_c = Some(80.0)), [Concern::Hot]);
        assert_eq!(with(|b| b.disk_free = Some(100 << 20)), [Concern::DiskNearlyFull]);
        assert_eq!(with(|b| b.memory_available = Some(GIB / 100)), [Concern::MemoryNearlyFull]);
        assert_eq!(with(|b| b.card.worn_percent = Some(100)), [Concern::CardWorn]);
        assert_eq!(with(|b| b.card.spare = Some(Spare::Urgent)), [Concern::CardWorn]);
        assert_eq!(with(|b| b.card.errors = Some(1)), [Concern::CardErrors]);
    }

    #[test]
    fn half_a_gigabyte_on_a_small_card_is_no_trouble() {
        assert_eq!(with(|b| (b.disk_total, b.disk_free) = (Some(GIB), Some(400 << 20))), []);
    }
}
