//! The block map beside an image: which blocks hold something, so that a writer skips the rest (`bmaptool`, format 2.0).

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use anyhow::{Context, Result, ensure};
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

/// Compares an image with its map, as a writer of cards does: the map's own sum, each range's, and that nothing else holds anything.
///
/// # Errors
/// The first difference.
pub fn verify(image: &Path, map: &str) -> Result<()> {
    let field = |name: &str| {
        let (_, rest) = map.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(value, _)| value.trim().to_owned())
    };
    let number = |name: &str| -> Result<u64> { Ok(field(name).with_context(|| name.to_owned())?.parse()?) };
    let own = field("BmapFileChecksum").context("the map has no sum of its own")?;
    let without = map.replace(&own, &"0".repeat(own.len()));
    ensure!(hex(&Sha256::digest(without)) == own, "the map is not what its sum says");
    let mut file = File::open(image)?;
    ensure!(number("ImageSize")? == file.metadata()?.len(), "the image has another size");
    let (mut next, mut mapped) = (0, 0);
    let mut piece = Vec::new();
    let mut read = |file: &mut File, blocks: u64| -> Result<Vec<u8>> {
        piece.clear();
        file.take(blocks * BLOCK as u64).read_to_end(&mut piece)?;
        Ok(std::mem::take(&mut piece))
    };
    for line in map.lines().filter_map(|line| line.trim().strip_prefix("<Range chksum=\"")) {
        let (sum, rest) = line.split_once("\">").context("a range without a sum")?;
        let range = rest.trim_end_matches("</Range>").trim();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse()?, last.parse()?);
        ensure!(next <= first && first <= last, "range {range} is out of order");
        ensure!(
            read(&mut file, first - next)?.iter().all(|byte| *byte == 0),
            "there is something before {range}"
        );
        ensure!(hex(&Sha256::digest(read(&mut file, last + 1 - first)?)) == sum, "range {range} differs");
        mapped += last + 1 - first;
        next = last + 1;
    }
    let rest = number("BlocksCount")?.saturating_sub(next);
    ensure!(read(&mut file, rest)?.iter().all(|byte| *byte == 0), "there is something behind the last range");
    ensure!(number("MappedBlocksCount")? == mapped, "the map counts other blocks than it lists");
    Ok(())
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").ok();
        text
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn an_image_is_what_its_map_says_and_one_changed_byte_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("card.img");
        let file = File::create_new(&path).unwrap();
        file.set_len(40 * BLOCK as u64 + 7).unwrap();
        for at in [0, 5 * BLOCK as u64 + 1, 6 * BLOCK as u64, 40 * BLOCK as u64 + 6] {
            file.write_all_at(&[1], at).unwrap();
        }
        let map = of(&path).unwrap();
        assert_eq!(map.matches("<Range").count(), 3, "{map}");
        verify(&path, &map).unwrap();
        // In a range, between two, and in the map itself.
        for at in [5 * BLOCK as u64 + 2, 20 * BLOCK as u64] {
            file.write_all_at(&[2], at).unwrap();
            verify(&path, &map).unwrap_err();
            file.write_all_at(&[0], at).unwrap();
        }
        verify(&path, &map.replace("<BlockSize> 4096", "<BlockSize> 4097")).unwrap_err();
        verify(&path, &map).unwrap();
    }
}
