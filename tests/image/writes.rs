//! What a power cut leaves of a card. Killing QEMU alone loses nothing: what the guest wrote and never flushed is in this computer's memory
//! and stays. So QEMU's `blklogwrites` notes every write and every flush, in the format of Linux' `dm-log-writes`
//! (Documentation/admin-guide/device-mapper/log-writes.rst), and a card is made from what it was at switching on and the log up to any of
//! its entries: what was flushed by then, and of the rest whatever chance keeps, tears or drops, as a card without power does.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, rngs::StdRng};

const MAGIC: u64 = 0x006a_7366_7773_6872;
pub(crate) const SECTOR: u64 = 512;
/// No single write of a guest is longer, bytes.
const LONGEST: u64 = 64 << 20;
/// Flags of an entry.
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// What a machine wrote and flushed, in its order.
pub(crate) struct Log {
    file: File,
    entries: Vec<Entry>,
}

/// An entry of the log.
struct Entry {
    /// Where it begins in the log, bytes.
    begins: u64,
    /// What it wrote; nothing where it was a flush or a discard.
    write: Option<Write>,
    flush: bool,
}

struct Write {
    /// On the card.
    at: u64,
    length: u64,
    /// In the log.
    data: u64,
}

/// What became of the writes before a cut.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) flushed: usize,
    pub(crate) kept: usize,
    pub(crate) torn: usize,
    pub(crate) dropped: usize,
}

impl Lost {
    /// Writes that had not been flushed.
    pub(crate) const fn unflushed(self) -> usize {
        self.kept + self.torn + self.dropped
    }
}

impl Log {
    /// Reads a log that may end in the middle of an entry, where QEMU was killed.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = File::open(path)?;
        let end = file.metadata()?.len();
        let number = |at: u64| -> Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at)?;
            Ok(u64::from_le_bytes(bytes))
        };
        let mut entries = Vec::new();
        if end < SECTOR {
            return Ok(Self { file, entries });
        }
        ensure!(number(0)? == MAGIC || number(0)? == 0, "this is no log of writes");
        // As many as there were when it was last told are whole.
        let whole = usize::try_from(number(16)?)?;
        let mut at = SECTOR;
        while at + SECTOR <= end {
            let (begins, sector, sectors, flags) = (at, number(at)?, number(at + 8)?, number(at + 16)?);
            if sectors == 0 && flags == 0 {
                break;
            }
            let length =
                sectors.checked_mul(SECTOR).filter(|length| flags & DISCARD != 0 || *length <= LONGEST);
            let length =
                length.with_context(|| format!("entry {} is of {sectors} sectors", entries.len()))?;
            at += SECTOR;
            let mut write = None;
            if flags & DISCARD == 0 && length > 0 {
                if at + length > end && entries.len() >= whole {
                    // The last one, not finished.
                    break;
                }
                write = Some(Write { at: sector * SECTOR, length, data: at });
                at += length;
            }
            entries.push(Entry { begins, write, flush: flags & FLUSH != 0 });
        }
        ensure!(entries.len() >= whole, "only {} of {whole} entries can be read", entries.len());
        Ok(Self { file, entries })
    }

    /// Entries of the whole log.
    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries had begun when the log was so long, bytes.
    pub(crate) fn begun(&self, length: u64) -> usize {
        self.entries.partition_point(|entry| entry.begins < length)
    }

    /// How many writes are not flushed after each number of entries, from none to all of them.
    pub(crate) fn unflushed(&self) -> Vec<usize> {
        let mut open = 0;
        let after = self.entries.iter().map(|entry| {
            open = if entry.flush { 0 } else { open + usize::from(entry.write.is_some()) };
            open
        });
        std::iter::once(0).chain(after.collect::<Vec<_>>()).collect()
    }

    /// What was written to a sector of the card (a byte offset), each time, and after how many entries that was done.
    pub(crate) fn sector(&self, at: u64) -> Result<Vec<(usize, [u8; SECTOR as usize])>> {
        let mut written = Vec::new();
        for (number, entry) in self.entries.iter().enumerate() {
            let hit = entry.write.as_ref().filter(|write| (write.at..write.at + write.length).contains(&at));
            if let Some(write) = hit {
                let mut bytes = [0; SECTOR as usize];
                self.data(write.data + (at - write.at), &mut bytes)?;
                written.push((number + 1, bytes));
            }
        }
        Ok(written)
    }

    /// Makes `card`, which is as it was at switching on, what a cut after so many entries leaves of it.
    pub(crate) fn cut(&self, card: &Path, after: usize, chance: &mut StdRng) -> Result<Lost> {
        let card = OpenOptions::new().read(true).write(true).open(card)?;
        let entries = self.entries.get(..after).context("the log is shorter")?;
        let flushed = entries.iter().rposition(|entry| entry.flush).map_or(0, |last| last + 1);
        let mut lost = Lost::default();
        for (number, entry) in entries.iter().enumerate() {
            let Some(write) = &entry.write else { continue };
            let mut sectors = write.length / SECTOR;
            if number < flushed {
                lost.flushed += 1;
            } else {
                match chance.random_range(0..3) {
                    0 => {
                        lost.dropped += 1;
                        continue;
                    }
                    1 if sectors > 1 => {
                        lost.torn += 1;
                        sectors = chance.random_range(1..sectors);
                    }
                    _ => lost.kept += 1,
                }
            }
            let mut buffer = vec![0; usize::try_from(sectors * SECTOR)?];
            self.data(write.data, &mut buffer)?;
            card.write_all_at(&buffer, write.at)?;
        }
        Ok(lost)
    }

    fn data(&self, at: u64, buffer: &mut [u8]) -> Result<()> {
        let mut have = 0;
        while have < buffer.len() {
            let rest = buffer.get_mut(have..).unwrap_or_default();
            match self.file.read_at(rest, at + have as u64)? {
                // Zeroes at the end of a log are not stored.
                0 => break,
                more => have += more,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn entry(log: &mut Vec<u8>, sector: u64, data: &[u8], flags: u64) {
        let sectors = data.len() as u64 / SECTOR;
        let head: Vec<u8> = [sector, sectors, flags, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        log.extend(head);
        log.resize(log.len().next_multiple_of(512), 0);
        log.extend(data);
    }

    #[test]
    fn what_was_flushed_stays_and_of_the_rest_some_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let (card, path) = (folder.path().join("card"), folder.path().join("log"));
        let mut bytes: Vec<u8> = [MAGIC, 1, 2, SECTOR].iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(512, 0);
        entry(&mut bytes, 0, &[1; 1024], 0);
        entry(&mut bytes, 0, &[], FLUSH);
        for sector in 2..40 {
            entry(&mut bytes, sector * 4, &[7; 1024], 0);
        }
        // The one that QEMU was killed in.
        let cut_short = bytes.len() + 700;
        entry(&mut bytes, 300, &[9; 1024], 0);
        bytes.truncate(cut_short);
        std::fs::write(&path, &bytes).unwrap();
        let log = Log::read(&path).unwrap();
        assert_eq!(log.len(), 40, "the one that was cut short is no entry");
        assert_eq!(log.unflushed()[..5], [0, 1, 0, 1, 2]);
        let mut all = [0; 3];
        for seed in 0..20 {
            std::fs::write(&card, vec![0; 400 * 512]).unwrap();
            let lost = log.cut(&card, log.len(), &mut StdRng::seed_from_u64(seed)).unwrap();
            let left = std::fs::read(&card).unwrap();
            assert!(left[..1024].iter().all(|byte| *byte == 1), "what was flushed is gone");
            assert!(!left.contains(&9), "a write that never ended is there");
            let sectors = left.chunks(512).skip(2).filter(|sector| sector.contains(&7)).count();
            assert_eq!((lost.flushed, lost.kept + lost.torn + lost.dropped), (1, 38));
            assert_eq!(sectors, 2 * lost.kept + lost.torn);
            for (sum, part) in all.iter_mut().zip([lost.kept, lost.torn, lost.dropped]) {
                *sum += part;
            }
        }
        assert!(all.iter().all(|sum| *sum > 100), "{all:?}");
        // A cut further ahead: what was written later never was.
        for (after, written) in [(0, 0), (1, 2), (2, 2)] {
            std::fs::write(&card, vec![0; 400 * 512]).unwrap();
            // The only write that is not flushed may be lost as a whole or in part.
            let lost = log.cut(&card, after, &mut StdRng::seed_from_u64(3)).unwrap();
            let sectors =
                std::fs::read(&card).unwrap().chunks(512).filter(|sector| sector.contains(&1)).count();
            assert!(sectors == written || lost.torn + lost.dropped > 0, "{sectors} after {after}: {lost:?}");
            assert_eq!(lost.flushed, usize::from(after == 2));
        }
        assert!(log.cut(&card, 41, &mut StdRng::seed_from_u64(0)).is_err());
        // What a sector held, and when an entry had begun.
        assert_eq!(log.sector(512).unwrap(), [(1, [1; 512])]);
        let third = 512 + 512 + 1024 + 512;
        assert_eq!((log.begun(third), log.begun(third + 1), log.begun(u64::MAX)), (2, 3, 40));
        // A log that says of more than it holds is not taken for a short one.
        bytes[16] = 99;
        std::fs::write(&path, &bytes).unwrap();
        assert!(Log::read(&path).is_err());
    }
}
