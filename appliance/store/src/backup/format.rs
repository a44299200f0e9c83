//! Reading and writing the frames of a backup, each bounded.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::{BackupError, BackupSummary};
use crate::error::{Result, StoreError};

pub(super) const MAGIC: &[u8; 15] = b"cairn backup 1\n";
/// Longest name of an entry, in bytes.
const MAX_NAME: usize = 128;
/// Largest manifest, in bytes.
pub(super) const MAX_MANIFEST: u64 = 64 * 1024;
/// Bytes copied at once.
const BUFFER: usize = 128 * 1024;

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the program that made it.
    pub made_by: String,
    /// When, by the hub's clock, in milliseconds since 1970.
    pub made_at_ms: i64,
    /// The hub's name.
    pub hub_name: String,
    /// Schema of the records.
    pub schema: u32,
    /// Lowest schema that can serve them.
    pub min_reader: u32,
    /// Living records.
    pub records: u64,
    /// Files.
    pub files: u64,
    /// Bytes of the records and the files.
    pub bytes: u64,
}

impl Manifest {
    pub(super) fn summary(&self) -> BackupSummary {
        BackupSummary {
            records: self.records,
            files: self.files,
            bytes: self.bytes,
            made_at_ms: self.made_at_ms,
            hub_name: self.hub_name.clone(),
        }
    }
}

/// Writes frames.
pub(super) struct FrameWriter<W> {
    to: W,
    entries: u64,
    all: blake3::Hasher,
}

impl<W: Write> FrameWriter<W> {
    pub(super) fn start(mut to: W) -> Result<Self> {
        to.write_all(MAGIC).map_err(writing)?;
        Ok(Self { to, entries: 0, all: blake3::Hasher::new() })
    }

    /// Writes one entry of exactly `size` bytes; `copied` hears how many bytes went by.
    pub(super) fn entry(
        &mut self,
        name: &str,
        size: u64,
        content: impl Read,
        mut copied: impl FnMut(u64) -> Result<()>,
    ) -> Result<blake3::Hash> {
        let name_len =
            u16::try_from(name.len()).map_err(|_| StoreError::invalid("a name too long for a backup"))?;
        self.to.write_all(&[1]).map_err(writing)?;
        self.to.write_all(&name_len.to_le_bytes()).map_err(writing)?;
        self.to.write_all(name.as_bytes()).map_err(writing)?;
        self.to.write_all(&size.to_le_bytes()).map_err(writing)?;
        let mut hasher = blake3::Hasher::new();
        let mut left = size;
        let mut content = content.take(size);
        let mut buffer = vec![0; BUFFER];
        while left > 0 {
            let count = content.read(&mut buffer).map_err(|error| reading_from(name, error))?;
            let piece = buffer.get(..count).filter(|piece| !piece.is_empty());
            let piece = piece.ok_or_else(|| reading_from(name, io::ErrorKind::UnexpectedEof.into()))?;
            hasher.update(piece);
            self.to.write_all(piece).map_err(writing)?;
            left -= piece.len() as u64;
            copied(piece.len() as u64)?;
        }
        let hash = hasher.finalize();
        self.to.write_all(hash.as_bytes()).map_err(writing)?;
        self.all.update(hash.as_bytes());
        self.entries += 1;
        Ok(hash)
    }

    pub(super) fn finish(mut self) -> Result<W> {
        self.to.write_all(&[0]).map_err(writing)?;
        self.to.write_all(&self.entries.to_le_bytes()).map_err(writing)?;
        self.to.write_all(self.all.finalize().as_bytes()).map_err(writing)?;
        self.to.flush().map_err(writing)?;
        Ok(self.to)
    }
}

fn writing(error: io::Error) -> StoreError {
    StoreError::io("writing", std::path::Path::new("the backup"), error)
}

fn reading_from(name: &str, error: io::Error) -> StoreError {
    StoreError::io("reading", std::path::Path::new(name), error)
}

/// Reads frames.
pub(super) struct FrameReader<R> {
    from: R,
    entries: u64,
    all: blake3::Hasher,
}

/// The start of an entry.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) size: u64,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn start(mut from: R) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        from.read_exact(&mut magic).map_err(reading)?;
        match &magic {
            MAGIC => Ok(Self { from, entries: 0, all: blake3::Hasher::new() }),
            other if other.starts_with(b"cairn backup ") => Err(BackupError::TooNew),
            _ => Err(BackupError::NotABackup),
        }
    }

    /// The next entry; `None` at the end, once the end agrees with what was read and nothing follows it.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, BackupError> {
        match self.number::<1>()? {
            [1] => {
                let name_len = usize::from(u16::from_le_bytes(self.number()?));
                if name_len > MAX_NAME {
                    return Err(BackupError::Damaged("a name is too long".to_owned()));
                }
                let mut name = vec![0; name_len];
                self.from.read_exact(&mut name).map_err(reading)?;
                let name = String::from_utf8(name)
                    .map_err(|_| BackupError::Damaged("a name is not text".to_owned()))?;
                let size = u64::from_le_bytes(self.number()?);
                Ok(Some(Entry { name, size }))
            }
            [0] => {
                let entries = u64::from_le_bytes(self.number()?);
                let all: [u8; 32] = self.number()?;
                if entries != self.entries || all != *self.all.finalize().as_bytes() {
                    return Err(BackupError::Damaged("the end does not fit the rest".to_owned()));
                }
                match self.from.read(&mut [0]).map_err(reading)? {
                    0 => Ok(None),
                    _ => Err(BackupError::Damaged("something follows the end".to_owned())),
                }
            }
            _ => Err(BackupError::Damaged("an entry of no known kind".to_owned())),
        }
    }

    /// Copies the content of the entry just begun and checks its hash.
    pub(super) fn content(
        &mut self,
        entry: &Entry,
        mut to: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        let mut left = entry.size;
        let mut buffer = vec![0; BUFFER];
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
            let Some(room) = buffer.get_mut(..wanted) else { break };
            let count = self.from.read(room).map_err(reading)?;
            let piece = room.get(..count).filter(|piece| !piece.is_empty()).ok_or(BackupError::Truncated)?;
            hasher.update(piece);
            to(piece)?;
            left -= piece.len() as u64;
        }
        let hash = hasher.finalize();
        let stated: [u8; 32] = self.number()?;
        if stated != *hash.as_bytes() {
            return Err(BackupError::Damaged(format!("{} is not what was written", entry.name)).into());
        }
        self.all.update(hash.as_bytes());
        self.entries += 1;
        Ok(hash)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(reading)?;
        Ok(bytes)
    }
}

/// age says "unexpected end" for a cut file and "invalid data" for a changed one.
fn reading(error: io::Error) -> BackupError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Truncated,
        _ => BackupError::Damaged(error.to_string()),
    }
}
