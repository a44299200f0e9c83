//! The Raspberry Pi firmware's own A/B: `autoboot.txt` names the partition that boots, and a restart with `0 tryboot` boots the
//! one of its `[tryboot]` section, once.
//!
//! As the firmware's documentation has it: the file is at most 512 bytes; `[all]`, `[none]` and `[tryboot]` are its only
//! filters; `tryboot_a_b=1` makes the partition the only difference; the flag of a try is cleared before anything of the tried
//! partition runs, so that every later start, for whatever reason, is from the default one.
//!
//! The file is kept at exactly one sector and overwritten in place, because replacing a file on FAT touches its directory
//! and its table too. There is no second copy: that is said by this flow's [`Capabilities`](crate::Capabilities).

use crate::{
    SlotId,
    device::{BlockDevice, DeviceError},
};

/// Bytes of the file.
pub const FILE_SIZE: usize = 512;

/// Partitions of the card by number, from which the firmware boots the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// Slot A's boot partition.
    pub a: u8,
    /// Slot B's boot partition.
    pub b: u8,
}

impl Numbers {
    const fn of(self, slot: SlotId) -> u8 {
        match slot {
            SlotId::A => self.a,
            SlotId::B => self.b,
        }
    }
}

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autoboot {
    /// The slot of `[all]`.
    pub default: SlotId,
}

/// Why the firmware's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrybootError {
    /// It cannot be read or written.
    #[error("autoboot.txt: {0}")]
    Device(#[from] DeviceError),
    /// It does not say what it must.
    #[error("autoboot.txt names no slot of this card")]
    Unreadable,
    /// What was written does not read back.
    #[error("autoboot.txt was written and reads back as something else")]
    NotKept,
    /// The slot runs, or is what the hub falls back to.
    #[error("slot {0} is the one to fall back to, and cannot be written to")]
    InUse(SlotId),
    /// The default slot cannot be tried.
    #[error("slot {0} is the default one, and cannot be tried")]
    IsDefault(SlotId),
}

/// The flow on one card.
#[derive(Debug)]
pub struct Tryboot<D> {
    file: D,
    numbers: Numbers,
}

impl Autoboot {
    /// The file as it is written, padded with empty lines to one sector.
    #[must_use]
    pub fn render(self, numbers: Numbers) -> [u8; FILE_SIZE] {
        let (default, other) = (numbers.of(self.default), numbers.of(self.default.other()));
        let text =
            format!("[all]\ntryboot_a_b=1\nboot_partition={default}\n[tryboot]\nboot_partition={other}\n");
        let mut file = [b'\n'; FILE_SIZE];
        file.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        file
    }

    /// The partition that the firmware takes; the last line that applies wins.
    #[must_use]
    pub fn partition(file: &[u8], tryboot: bool) -> Option<u8> {
        let text = std::str::from_utf8(file.get(..FILE_SIZE.min(file.len()))?).ok()?;
        let mut applies = true;
        let mut partition = None;
        for line in text.lines().map(str::trim) {
            match line {
                "[all]" => applies = true,
                "[none]" => applies = false,
                "[tryboot]" => applies = tryboot,
                _ if applies => {
                    if let Some(number) = line.strip_prefix("boot_partition=") {
                        partition = number.trim().parse().ok();
                    }
                }
                _ => {}
            }
        }
        partition
    }
}

impl<D: BlockDevice> Tryboot<D> {
    /// On the file `autoboot.txt`, which must be [`FILE_SIZE`] bytes.
    pub const fn new(file: D, numbers: Numbers) -> Self {
        Self { file, numbers }
    }

    fn read(&self) -> Result<[u8; FILE_SIZE], TrybootError> {
        let mut file = [0; FILE_SIZE];
        let failed = |error| DeviceError::new("reading", 0, FILE_SIZE, error);
        self.file.read_exact_at(0, &mut file).map_err(failed)?;
        Ok(file)
    }

    /// What the file says.
    ///
    /// # Errors
    /// [`TrybootError`].
    pub fn autoboot(&self) -> Result<Autoboot, TrybootError> {
        let number = Autoboot::partition(&self.read()?, false);
        let slot = SlotId::ALL.into_iter().find(|slot| Some(self.numbers.of(*slot)) == number);
        Ok(Autoboot { default: slot.ok_or(TrybootError::Unreadable)? })
    }

    /// Makes `slot` the default.
    ///
    /// # Errors
    /// [`TrybootError`].
    pub fn set_default(&self, slot: SlotId) -> Result<(), TrybootError> {
        let wanted = Autoboot { default: slot }.render(self.numbers);
        self.file.flush()?;
        self.file.write_at(0, &wanted)?;
        self.file.flush()?;
        if self.read()? == wanted { Ok(()) } else { Err(TrybootError::NotKept) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BootFlow, FileDevice, boot_control::Outcome};

    const NUMBERS: Numbers = Numbers { a: 2, b: 3 };

    /// The firmware as documented: the flag is cleared before what it chose runs.
    struct Firmware {
        flag: bool,
    }

    impl Firmware {
        fn boot(&mut self, file: &[u8]) -> SlotId {
            let tryboot = std::mem::take(&mut self.flag);
            match Autoboot::partition(file, tryboot) {
                Some(2) => SlotId::A,
                Some(3) => SlotId::B,
                other => panic!("{other:?}"),
            }
        }
    }

    fn card() -> (tempfile::NamedTempFile, Tryboot<FileDevice>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), Autoboot { default: SlotId::A }.render(NUMBERS)).unwrap();
        let flow = Tryboot::new(FileDevice::new(file.reopen().unwrap()).unwrap(), NUMBERS);
        let open = std::fs::OpenOptions::new().read(true).write(true).open(file.path()).unwrap();
        drop(flow);
        let flow = Tryboot::new(FileDevice::new(open).unwrap(), NUMBERS);
        (file, flow)
    }

    #[test]
    fn a_try_is_one_restart_and_confirming_makes_it_last() {
        let (file, flow) = card();
        let mut firmware = Firmware { flag: false };
        let read = || std::fs::read(file.path()).unwrap();
        assert_eq!(firmware.boot(&read()), SlotId::A);
        assert_eq!(flow.open_for_writing(SlotId::A).unwrap(), SlotId::B);
        flow.try_once(SlotId::B).unwrap();
        // reboot "0 tryboot"
        firmware.flag = true;
        assert_eq!(firmware.boot(&read()), SlotId::B);
        assert_eq!(flow.outcome(SlotId::B).unwrap(), Outcome::OnTrial);
        assert!(flow.open_for_writing(SlotId::B).is_err(), "the way back is not written over");
        // It hangs: the next start is the old one.
        assert_eq!(firmware.boot(&read()), SlotId::A);
        firmware.flag = true;
        assert_eq!(firmware.boot(&read()), SlotId::B);
        flow.confirm(SlotId::B).unwrap();
        assert_eq!(firmware.boot(&read()), SlotId::B);
        assert_eq!(flow.outcome(SlotId::B).unwrap(), Outcome::Settled);
        assert_eq!(read().len(), FILE_SIZE);
        assert!(flow.try_once(SlotId::B).is_err());
    }

    #[test]
    fn a_file_that_names_no_slot_is_said_to() {
        let (file, flow) = card();
        let mut bytes = std::fs::read(file.path()).unwrap();
        bytes.fill(b'x');
        std::fs::write(file.path(), bytes).unwrap();
        assert!(matches!(flow.autoboot(), Err(TrybootError::Unreadable)));
    }
}
