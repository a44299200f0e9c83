//! The block map beside an image: which blocks hold something, so that a writer skips the rest (`bmaptool`, format 2.0).

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Bytes of a block of the map.
const BLOCK: usize = 4096;

/// The map of a raw image, as XML. A block of zeros counts as empty.
///
/// # Errors
/// When the image cannot be read.
pub fn of(image: &Path) -> Result<String> {
    let file = File::open(image).with_context(|| format!("{} cannot be read", image.display()))?;
    let size = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut ranges: Vec<(u64, u64, Sha256)> = Vec::new();
    let (mut block, mut number) = ([0; BLOCK], 0);
    let mut rest = size;
    while rest > 0 {
        let length = usize::try_from(rest.min(BLOCK as u64))?;
        let bytes = block.get_mut(..length).unwrap_or_default();
        reader.read_exact(bytes)?;
        if bytes.iter().any(|byte| *byte != 0) {
            match ranges.last_mut() {
                Some((_, last, hash)) if *last + 1 == number => {
                    *last = number;
                    hash.update(&*bytes);
                }
                _ => ranges.push((number, number, Sha256::new_with_prefix(&*bytes))),
            }
        }
        rest -= length as u64;
        number += 1;
    }
    Ok(write(size, number, ranges))
}

fn write(size: u64, blocks: u64, ranges: Vec<(u64, u64, Sha256)>) -> String {
    let mapped: u64 = ranges.iter().map(|(first, last, _)| last - first + 1).sum();
    let mut lines = String::new();
    for (first, last, hash) in ranges {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        // Writing to a string cannot fail.
        writeln!(lines, "        <Range chksum=\"{}\"> {range} </Range>", hex(&hash.finalize())).ok();
    }
    let with_checksum = |checksum: &str| {
        format!(
            "<?xml version=\"1.0\" ?>\n<bmap version=\"2.0\">\n    <ImageSize> {size} </ImageSize>\n    <BlockSize> {BLOCK} </BlockSize>\n    \
             <BlocksCount> {blocks} </BlocksCount>\n    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n    \
             <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {checksum} </BmapFileChecksum>\n    <BlockMap>\n{lines}    \
             </BlockMap>\n</bmap>\n"
        )
    };
    // The map's own checksum is taken with zeros in its place.
    let own = hex(&Sha256::digest(with_checksum(&"0".repeat(64))));
    with_checksum(&own)
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}
