//! The ZIP container of a book, read within bounds.

use std::{
    collections::HashMap,
    io::{Cursor, Read},
};

use zip::{ZipArchive, result::ZipError};

use super::super::{
    Format, Limit, Limits, Reason, encoding,
    limits::{PART_BYTES, RATIO_FREE_BYTES},
};

pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    names: HashMap<String, usize>,
    limits: &'a Limits,
    packed: u64,
    unpacked: u64,
}

/// Why a part is not there.
pub(super) enum Missing {
    /// It is damaged or does not exist; the rest may be well.
    Part,
    /// Nothing of this file is to be read.
    Refused(Reason),
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8], limits: &'a Limits) -> Result<Self, Reason> {
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| Reason::damaged(Format::Epub, error.to_string()))?;
        if zip.len() as u64 > limits.entries {
            return Err(Limit::Entries(limits.entries).into());
        }
        let names = (0..zip.len())
            .filter_map(|index| Some((zip.name_for_index(index)?.ok()?.into_owned(), index)))
            .collect();
        Ok(Self { zip, names, limits, packed: bytes.len() as u64, unpacked: 0 })
    }

    pub(super) fn first_with_extension(&self, extension: &str) -> Option<String> {
        let has = |name: &&String| {
            name.rsplit_once('.').is_some_and(|(_, found)| found.eq_ignore_ascii_case(extension))
        };
        self.names.keys().filter(has).min().cloned()
    }

    pub(super) fn text(&mut self, path: &str) -> Result<String, Missing> {
        self.bytes(path).map(|bytes| encoding::decode(&bytes, None).text)
    }

    pub(super) fn bytes(&mut self, path: &str) -> Result<Vec<u8>, Missing> {
        let index = *self.names.get(path).ok_or(Missing::Part)?;
        let entry = match self.zip.by_index(index) {
            Ok(entry) => entry,
            Err(ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED)) => {
                return Err(Missing::Refused(Reason::Encrypted));
            }
            Err(_) => return Err(Missing::Part),
        };
        // What the entry says of its size is not believed; what comes out is counted.
        let room = self.limits.unpacked_bytes.saturating_sub(self.unpacked).min(PART_BYTES);
        let mut bytes = Vec::new();
        let read = entry.take(room.saturating_add(1)).read_to_end(&mut bytes);
        let length = bytes.len() as u64;
        self.unpacked = self.unpacked.saturating_add(length);
        if self.unpacked > RATIO_FREE_BYTES && self.unpacked / self.limits.unpack_ratio.max(1) > self.packed {
            return Err(Missing::Refused(Limit::UnpackRatio(self.limits.unpack_ratio).into()));
        }
        if length > room {
            return Err(Missing::Refused(Limit::UnpackedBytes(room).into()));
        }
        read.map_err(|_| Missing::Part)?;
        Ok(bytes)
    }
}
