//! Clusters of a ZIM archive: some blobs of one, in one pass, one in memory at a time.

use std::io::{self, Read};

use super::{
    super::{
        Input, Limits, Reason,
        limits::{PART_BYTES, WINDOW_BYTES},
        output::Next,
    },
    directory::{Directory, Entry, u32_at, u64_at},
};

/// Pieces in which the archive is read.
const READ_BYTES: usize = 64 * 1024;
/// Most blobs of a cluster; writers put some hundreds into one.
const MOST_BLOBS: u64 = 1 << 20;
/// Base-2 logarithm of [`WINDOW_BYTES`].
const WINDOW_LOG: u32 = WINDOW_BYTES.ilog2();

/// Takes the content of an entry.
pub(super) type Take<'t> = dyn FnMut(&Entry, Vec<u8>) -> Result<Next, Reason> + 't;

/// Unpacked content, and whether its offsets are of 8 bytes.
type Unpacked<'i> = (Box<dyn Read + 'i>, bool);

/// Hands over the content of `entries`, which all lie in one cluster and are sorted by their place in it, until `take` says
/// stop. Damaged ones, and everything behind a damage, are passed over. What was unpacked is added to `unpacked` and bounded.
pub(super) fn blobs(
    directory: &Directory<'_>,
    entries: &[Entry],
    unpacked: &mut u64,
    limits: &Limits,
    take: &mut Take<'_>,
) -> Result<(), Reason> {
    let Some((mut reader, wide)) = open(directory, entries)? else { return Ok(()) };
    let Some(offsets) = offsets(&mut reader, wide) else { return Ok(()) };
    let mut at = offsets.first().copied().unwrap_or_default();
    for entry in entries {
        let blob = usize::try_from(entry.blob).unwrap_or(usize::MAX);
        let (Some(&start), Some(&end)) = (offsets.get(blob), offsets.get(blob.saturating_add(1))) else {
            continue;
        };
        let length = end.saturating_sub(start);
        // Blobs stand one behind the other; anything else is damage.
        if start < at || end < start || length > PART_BYTES {
            continue;
        }
        if *unpacked + (end - at) > limits.unpacked_bytes {
            *unpacked = limits.unpacked_bytes;
            return Ok(());
        }
        *unpacked += end - at;
        let skipped = io::copy(&mut (&mut reader).take(start - at), &mut io::sink());
        if skipped.ok() != Some(start - at) {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let read = (&mut reader).take(length).read_to_end(&mut bytes);
        at = end;
        if read.is_err() || bytes.len() as u64 != length {
            return Ok(());
        }
        if take(entry, bytes)? == Next::Stop {
            return Ok(());
        }
    }
    Ok(())
}

/// The unpacked content of the entries' cluster, and whether its offsets are of 8 bytes.
fn open<'i>(directory: &Directory<'i>, entries: &[Entry]) -> Result<Option<Unpacked<'i>>, Reason> {
    let Some(cluster) =
        entries.first().map(|entry| entry.cluster).filter(|cluster| *cluster < directory.clusters)
    else {
        return Ok(None);
    };
    let input = directory.input;
    let pointer = input.at(directory.cluster_pointers + u64::from(cluster) * 8, 8)?;
    let Some(offset) = pointer.and_then(|pointer| u64_at(&pointer, 0)) else { return Ok(None) };
    let Some(kind) = input.at(offset, 1)?.and_then(|bytes| bytes.first().copied()) else { return Ok(None) };
    let packed = io::BufReader::with_capacity(READ_BYTES, At { input, offset: offset.saturating_add(1) });
    let reader: Box<dyn Read + 'i> = match kind & 0x0f {
        0 | 1 => Box::new(packed),
        4 => {
            let kibibytes = u32::try_from(WINDOW_BYTES >> 10).unwrap_or(u32::MAX);
            Box::new(lzma_rust2::XzReader::new_mem_limit(packed, false, kibibytes))
        }
        5 => {
            let decoder = zstd::Decoder::with_buffer(packed).and_then(|mut decoder| {
                decoder.window_log_max(WINDOW_LOG)?;
                Ok(decoder.single_frame())
            });
            match decoder {
                Ok(decoder) => Box::new(decoder),
                Err(_) => return Ok(None),
            }
        }
        // Zip and bzip2 were never used by a released writer.
        _ => return Ok(None),
    };
    Ok(Some((reader, kind & 0x10 != 0)))
}

/// The list at the start of a cluster: where each blob begins and, at last, where the last ends. `None` when it is damaged.
fn offsets(reader: &mut impl Read, wide: bool) -> Option<Vec<u64>> {
    let size = if wide { 8 } else { 4 };
    let parse = |bytes: &[u8]| if wide { u64_at(bytes, 0) } else { u32_at(bytes, 0).map(u64::from) };
    let mut first = vec![0; size];
    reader.read_exact(&mut first).ok()?;
    // The first blob begins right behind the list, which so says its own length.
    let length = parse(&first)?;
    let count = length / size as u64;
    if count == 0 || count > MOST_BLOBS {
        return None;
    }
    let mut list = Vec::new();
    reader.take(length.checked_sub(size as u64)?).read_to_end(&mut list).ok()?;
    let rest = list.chunks_exact(size).filter_map(parse);
    let offsets: Vec<u64> = std::iter::once(length).chain(rest).collect();
    (offsets.len() as u64 == count).then_some(offsets)
}

/// Reads an input from a place on.
struct At<'i> {
    input: &'i Input,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = usize::try_from(self.input.len().saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let length = there.min(buffer.len());
        let bytes = self.input.at(self.offset, length).map_err(io::Error::other)?.unwrap_or_default();
        let length = bytes.len();
        if let Some(target) = buffer.get_mut(..length) {
            target.copy_from_slice(&bytes);
        }
        self.offset += length as u64;
        Ok(length)
    }
}
