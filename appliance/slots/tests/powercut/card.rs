//! A card that loses power: sectors that were written but not flushed may be there afterwards or not, whole or torn, in any
//! order; files that were not synced may be empty or cut off, and new names may be gone.

use std::{cell::RefCell, collections::BTreeMap, io, rc::Rc};

use cairn_bundle::{PayloadKind, ReadAt};
use cairn_slots::{BlockDevice, DeviceError, SlotId, boot_control::Places, durable::Files};

use crate::{
    random::Random,
    releases::{Release, SIZES},
};

const SECTOR: usize = 512;
/// The area of the boot state, with its two copies.
const CONTROL: usize = 64 * SECTOR;
pub(crate) const PLACES: Places = Places { first: 0, second: 32 * SECTOR as u64 };

/// Handles share the card; [`Card::clone`] copies it.
pub(crate) struct Card(Rc<RefCell<State>>);

#[derive(Clone, Default)]
struct State {
    taken: u64,
    fuse: u64,
    /// What is on the card for certain.
    durable: Vec<u8>,
    /// What is read.
    now: Vec<u8>,
    /// Sectors written since, oldest first, with the part of the card that a flush of theirs covers.
    waiting: Vec<(Part, usize, [u8; SECTOR])>,
    files: FileState,
}

#[derive(Clone, Default)]
struct FileState {
    contents: Vec<(Option<Vec<u8>>, Vec<u8>)>,
    names: BTreeMap<String, usize>,
    /// Names that are certain, and every state of them since.
    certain: BTreeMap<String, usize>,
    since: Vec<BTreeMap<String, usize>>,
}

/// What is flushed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Control,
    Slot(SlotId, PayloadKind),
}

fn place(part: Part) -> (usize, usize) {
    match part {
        Part::Control => (0, CONTROL),
        Part::Slot(slot, kind) => {
            let (a, b) = (CONTROL, CONTROL + SIZES[0] + SIZES[1]);
            let start = if slot == SlotId::A { a } else { b };
            match kind {
                PayloadKind::Boot => (start, SIZES[0]),
                PayloadKind::Root => (start + SIZES[0], SIZES[1]),
            }
        }
    }
}

impl Clone for Card {
    fn clone(&self) -> Self {
        Self(Rc::new(RefCell::new(self.0.borrow().clone())))
    }
}

impl Card {
    /// As it is flashed: `release` in slot A, no boot state, nothing in slot B.
    pub(crate) fn new(release: &Release) -> Self {
        let mut bytes = vec![0; CONTROL + 2 * (SIZES[0] + SIZES[1])];
        for kind in PayloadKind::ALL {
            let content = &release.payloads[kind as usize];
            let (start, _) = place(Part::Slot(SlotId::A, kind));
            bytes[start..start + content.len()].copy_from_slice(content);
        }
        let state = State { fuse: u64::MAX, durable: bytes.clone(), now: bytes, ..State::default() };
        Self(Rc::new(RefCell::new(state)))
    }

    pub(crate) fn part(&self, part: Part, flushes: bool) -> CardPart {
        CardPart { card: Self(Rc::clone(&self.0)), part, flushes }
    }

    pub(crate) fn files(&self, syncs: bool) -> CardFiles {
        CardFiles { card: Self(Rc::clone(&self.0)), syncs }
    }

    /// Power for `operations` more operations; the one after that is cut in the middle.
    pub(crate) fn power_until(&self, operations: u64) {
        let mut state = self.0.borrow_mut();
        state.taken = 0;
        state.fuse = operations;
    }

    /// An orderly restart: everything is written.
    pub(crate) fn restart(&self) {
        let mut state = self.0.borrow_mut();
        state.durable = state.now.clone();
        state.waiting.clear();
        let files = &mut state.files;
        files.contents.iter_mut().for_each(|(durable, now)| *durable = Some(now.clone()));
        files.certain = files.names.clone();
        files.since.clear();
    }

    /// The power is gone: what waited to be written meets its fate.
    pub(crate) fn cut(&self, fate: u64, random: &mut Random) {
        let mut state = self.0.borrow_mut();
        let waiting = std::mem::take(&mut state.waiting);
        let count = waiting.len();
        for (number, (_, sector, content)) in waiting.into_iter().enumerate() {
            let torn = |random: &mut Random| 16 * random.below(SECTOR as u64 / 16) as usize;
            let kept = match fate {
                0 => 0,
                1 => SECTOR,
                // Only the last one is torn.
                2 if number + 1 == count => torn(random),
                2 => SECTOR,
                // In order, up to somewhere.
                3 => {
                    if number < count / 2 {
                        SECTOR
                    } else {
                        0
                    }
                }
                // Out of order.
                4 => {
                    if number >= count / 2 {
                        SECTOR
                    } else {
                        0
                    }
                }
                // Each for itself.
                _ => match random.below(4) {
                    0 => 0,
                    1 => torn(random),
                    _ => SECTOR,
                },
            };
            let at = sector * SECTOR;
            state.durable[at..at + kept].copy_from_slice(&content[..kept]);
            // A sector that was being written may also be rubbish.
            if fate == 7 && number + 1 == count {
                let rubbish = random.bytes(SECTOR);
                state.durable[at..at + SECTOR].copy_from_slice(&rubbish);
            }
        }
        state.now = state.durable.clone();
        let files = &mut state.files;
        let states = files.since.len() as u64 + 1;
        let chosen = match fate {
            0 => 0,
            1 | 2 => states - 1,
            _ => random.below(states),
        } as usize;
        let names = if chosen == 0 { files.certain.clone() } else { files.since[chosen - 1].clone() };
        for (durable, now) in &mut files.contents {
            *now = durable.take().unwrap_or_else(|| {
                let length = if fate == 1 { now.len() } else { random.below(now.len() as u64 + 1) as usize };
                now[..length].to_vec()
            });
            *durable = Some(now.clone());
        }
        (files.names, files.certain) = (names.clone(), names);
        files.since.clear();
    }

    pub(crate) fn content(&self, slot: SlotId, kind: PayloadKind, length: usize) -> Vec<u8> {
        let (start, _) = place(Part::Slot(slot, kind));
        self.0.borrow().now[start..start + length].to_vec()
    }

    /// Changes a byte of what is read, as a writer that means harm would.
    pub(crate) fn spoil(&self, slot: SlotId, kind: PayloadKind, at: usize) {
        let (start, _) = place(Part::Slot(slot, kind));
        self.0.borrow_mut().now[start + at] ^= 0x40;
    }
}

impl State {
    /// One operation. An error for the one that is cut, and for all after it.
    fn take(&mut self) -> Result<bool, io::Error> {
        let number = self.taken;
        self.taken += 1;
        match number.cmp(&self.fuse) {
            std::cmp::Ordering::Less => Ok(true),
            std::cmp::Ordering::Equal => Ok(false),
            std::cmp::Ordering::Greater => Err(gone()),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power went")
}

/// A part of the card, as a device of its own.
pub(crate) struct CardPart {
    card: Card,
    part: Part,
    flushes: bool,
}

impl ReadAt for CardPart {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let (start, size) = place(self.part);
        let offset = usize::try_from(offset).unwrap();
        if offset + buffer.len() > size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let state = self.card.0.borrow();
        if state.taken > state.fuse {
            return Err(gone());
        }
        buffer.copy_from_slice(&state.now[start + offset..start + offset + buffer.len()]);
        Ok(())
    }
}

impl BlockDevice for CardPart {
    fn size(&self) -> u64 {
        place(self.part).1 as u64
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        let (start, size) = place(self.part);
        let offset = usize::try_from(offset).unwrap();
        assert!(offset + bytes.len() <= size, "a write beyond the partition");
        let failed = |error| DeviceError::new("writing", offset as u64, bytes.len(), error);
        let mut state = self.card.0.borrow_mut();
        let whole = state.take().map_err(failed)?;
        let at = start + offset;
        state.now[at..at + bytes.len()].copy_from_slice(bytes);
        for sector in at / SECTOR..(at + bytes.len()).div_ceil(SECTOR) {
            let content = state.now[sector * SECTOR..][..SECTOR].try_into().unwrap();
            state.waiting.push((self.part, sector, content));
        }
        if whole { Ok(()) } else { Err(failed(gone())) }
    }

    fn flush(&self) -> Result<(), DeviceError> {
        let failed = |error| DeviceError::new("flushing", 0, 0, error);
        let mut state = self.card.0.borrow_mut();
        if !state.take().map_err(failed)? {
            return Err(failed(gone()));
        }
        if self.flushes {
            let all = std::mem::take(&mut state.waiting);
            for (part, sector, content) in all {
                if part == self.part {
                    state.durable[sector * SECTOR..][..SECTOR].copy_from_slice(&content);
                } else {
                    state.waiting.push((part, sector, content));
                }
            }
        }
        Ok(())
    }
}

/// The folder of state files.
pub(crate) struct CardFiles {
    card: Card,
    syncs: bool,
}

impl CardFiles {
    /// Does one step; the step that is cut may have happened or not.
    fn step(&self, step: impl FnOnce(&mut FileState)) -> io::Result<()> {
        let mut state = self.card.0.borrow_mut();
        let whole = state.take()?;
        step(&mut state.files);
        if whole { Ok(()) } else { Err(gone()) }
    }
}

impl Files for CardFiles {
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let state = self.card.0.borrow();
        if state.taken > state.fuse {
            return Err(gone());
        }
        Ok(state.files.names.get(name).map(|number| state.files.contents[*number].1.clone()))
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.step(|files| {
            files.contents.push((None, content.to_vec()));
            files.names.insert(name.to_owned(), files.contents.len() - 1);
            files.since.push(files.names.clone());
        })
    }

    fn sync(&self, name: &str) -> io::Result<()> {
        let mut state = self.card.0.borrow_mut();
        if !state.take()? {
            return Err(gone());
        }
        let number = state.files.names[name];
        if self.syncs {
            let (durable, now) = &mut state.files.contents[number];
            *durable = Some(now.clone());
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.step(|files| {
            let number = files.names.remove(from).unwrap();
            files.names.insert(to.to_owned(), number);
            files.since.push(files.names.clone());
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.card.0.borrow_mut();
        if !state.take()? {
            return Err(gone());
        }
        if self.syncs {
            state.files.certain = state.files.names.clone();
            state.files.since.clear();
        }
        Ok(())
    }
}
