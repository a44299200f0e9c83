//! Boot control: two alternating copies of a checksummed block on raw sectors, changed by one durable write.
//!
//! [`BootState`] decides, [`block`] spells, [`Copies`] says which copy counts and where the next write goes; [`BootControl`]
//! reads and writes.

pub mod block;
mod copies;
mod state;

pub use copies::{Copies, Place};
pub use state::{Boot, BootState, Outcome, Refused, Trial};

use crate::device::{BlockDevice, DeviceError};
use block::{BLOCK_SIZE, Block};

/// Where the two copies lie, bytes from the start of the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The first copy.
    pub first: u64,
    /// The second copy; at least an erase block away from the first, so that one torn write cannot reach both.
    pub second: u64,
}

impl Places {
    /// Those of our images: sectors 4096 and 8192.
    pub const OF_IMAGE: Self = Self { first: 4096 * 512, second: 8192 * 512 };

    const fn of(self, place: Place) -> u64 {
        match place {
            Place::First => self.first,
            Place::Second => self.second,
        }
    }
}

/// Why boot control could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum BootControlError {
    /// The card.
    #[error("boot control: {0}")]
    Device(#[from] DeviceError),
    /// The step makes no sense now.
    #[error("boot control: {0}")]
    Refused(#[from] Refused),
    /// What was written does not read back.
    #[error("boot control was written and reads back as something else; the copy in force is untouched")]
    NotKept,
}

/// Boot control on a card.
#[derive(Debug)]
pub struct BootControl<D> {
    device: D,
    places: Places,
}

impl<D: BlockDevice> BootControl<D> {
    /// On `device`, the whole card.
    pub const fn new(device: D, places: Places) -> Self {
        Self { device, places }
    }

    /// Both copies as they are.
    ///
    /// # Errors
    /// [`BootControlError::Device`].
    pub fn copies(&self) -> Result<Copies, BootControlError> {
        let read = |place| -> Result<Block, DeviceError> {
            let (mut block, offset) = ([0; BLOCK_SIZE], self.places.of(place));
            self.device
                .read_exact_at(offset, &mut block)
                .map_err(|error| DeviceError::new("reading", offset, BLOCK_SIZE, error))?;
            Ok(block)
        };
        Ok(Copies::of(&read(Place::First)?, &read(Place::Second)?))
    }

    /// The state in force.
    ///
    /// # Errors
    /// [`BootControlError::Device`].
    pub fn state(&self) -> Result<BootState, BootControlError> {
        Ok(self.copies()?.in_force())
    }

    /// Puts `next` in force with one durable write into the copy that does not count, and reads it back.
    ///
    /// # Errors
    /// [`BootControlError::NotKept`] when the card keeps something else; what was in force before still is.
    pub fn put(&self, next: &BootState) -> Result<(), BootControlError> {
        let place = self.copies()?.spare();
        // Everything that this state speaks of must be on the card before it is.
        self.device.flush()?;
        self.device.write_at(self.places.of(place), &block::encode(next))?;
        self.device.flush()?;
        if self.state()? == *next { Ok(()) } else { Err(BootControlError::NotKept) }
    }

    /// What a boot loader does: the model that the proof boots with.
    ///
    /// # Errors
    /// [`BootControlError::Device`].
    pub fn boot(&self) -> Result<Boot, BootControlError> {
        let boot = self.state()?.boot();
        if let Some(next) = &boot.write {
            self.put(next)?;
        }
        Ok(boot)
    }
}
