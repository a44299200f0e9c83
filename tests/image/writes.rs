//! What a power cut leaves of a card. Killing QEMU alone loses nothing: what the guest wrote and never flushed is in this computer's memory
//! and stays. So QEMU's `blklogwrites` notes every write and every flush, in the format of Linux' `dm-log-writes`
//! (Documentation/admin-guide/device-mapper/log-writes.rst), and the card is made anew from what it was at switching on: what was flushed, and of
//! the rest whatever chance keeps, tears or drops, as a card without power does.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, rngs::StdRng};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const SECTOR: u64 = 512;
/// No single write of a guest is longer, bytes.
const LONGEST: u64 = 64 << 20;
/// Flags of an entry.
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;

/// A write as it stands in the log.
struct Write {
    /// On the card.
    at: u64,
    length: u64,
    /// In the log.
    data: u64,
}

/// What became of the writes that were not flushed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) flushed: usize,
    pub(crate) kept: usize,
    pub(crate) torn: usize,
    pub(crate) dropped: usize,
}

/// Makes `card`, which is as it was at switching on, what the cut leaves of it.
pub(crate) fn cut(card: &Path, log: &Path, chance: &mut StdRng) -> Result<Lost> {
    let log = File::open(log)?;
    let card = OpenOptions::new().read(true).write(true).open(card)?;
    let (writes, flushed) = read(&log)?;
    let mut lost = Lost { flushed, ..Lost::default() };
    for (number, write) in writes.iter().enumerate() {
        let mut sectors = write.length / SECTOR;
        if number >= flushed {
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
        copy(&log, write.data, &card, write.at, sectors * SECTOR)?;
    }
    Ok(lost)
}

/// The writes in their order, and how many of them stand before the last flush.
fn read(log: &File) -> Result<(Vec<Write>, usize)> {
    let end = log.metadata()?.len();
    let number = |at: u64| -> Result<u64> {
        let mut bytes = [0; 8];
        log.read_exact_at(&mut bytes, at)?;
        Ok(u64::from_le_bytes(bytes))
    };
    let (mut writes, mut flushed, mut entries) = (Vec::new(), 0, 0);
    if end < SECTOR {
        return Ok((writes, flushed));
    }
    ensure!(number(0)? == MAGIC || number(0)? == 0, "this is no log of writes");
    // As many as there were at the last flush are whole.
    let whole = number(16)?;
    let mut at = SECTOR;
    while at + SECTOR <= end {
        let (sector, sectors, flags) = (number(at)?, number(at + 8)?, number(at + 16)?);
        if sectors == 0 && flags == 0 {
            break;
        }
        let length = sectors.checked_mul(SECTOR).filter(|length| flags & DISCARD != 0 || *length <= LONGEST);
        let length = length.with_context(|| format!("entry {entries} is of {sectors} sectors"))?;
        at += SECTOR;
        if flags & DISCARD == 0 && length > 0 {
            if at + length > end && entries >= whole {
                // The last one, not finished.
                break;
            }
            writes.push(Write { at: sector * SECTOR, length, data: at });
            at += length;
        }
        entries += 1;
        if flags & FLUSH != 0 {
            flushed = writes.len();
        }
    }
    ensure!(entries >= whole, "only {entries} of {whole} entries can be read");
    Ok((writes, flushed))
}

fn copy(log: &File, data: u64, card: &File, at: u64, length: u64) -> Result<()> {
    let mut buffer = vec![0; usize::try_from(length)?];
    let mut have = 0;
    while have < buffer.len() {
        let rest = buffer.get_mut(have..).unwrap_or_default();
        match log.read_at(rest, data + have as u64)? {
            // Zeroes at the end of a log are not stored.
            0 => break,
            more => have += more,
        }
    }
    Ok(card.write_all_at(&buffer, at)?)
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
        let mut log: Vec<u8> = [MAGIC, 1, 2, SECTOR].iter().flat_map(|word| word.to_le_bytes()).collect();
        log.resize(512, 0);
        entry(&mut log, 0, &[1; 1024], 0);
        entry(&mut log, 0, &[], FLUSH);
        for sector in 2..40 {
            entry(&mut log, sector * 4, &[7; 1024], 0);
        }
        // The one that QEMU was killed in.
        let cut_short = log.len() + 700;
        entry(&mut log, 300, &[9; 1024], 0);
        log.truncate(cut_short);
        std::fs::write(&path, &log).unwrap();
        let mut all = [0; 3];
        for seed in 0..20 {
            std::fs::write(&card, vec![0; 400 * 512]).unwrap();
            let lost = cut(&card, &path, &mut StdRng::seed_from_u64(seed)).unwrap();
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
        // A log that says of more than it holds is not taken for a short one.
        log[16] = 99;
        std::fs::write(&path, &log).unwrap();
        assert!(cut(&card, &path, &mut StdRng::seed_from_u64(0)).is_err());
    }
}
