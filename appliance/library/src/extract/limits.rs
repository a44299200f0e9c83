//! Every bound on what one file may cost.

use std::time::Duration;

use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;

/// Largest file that is read into memory as a whole. ZIM archives are read piece by piece and not bound by it.
pub(crate) const INPUT_BYTES: u64 = 128 * MIB;
/// Most bytes that may come out of all decompression in one EPUB or ZIM. One part is in memory at a time.
pub(crate) const UNPACKED_BYTES: u64 = 1024 * MIB;
/// Most bytes of one part: chapter, article, table of contents.
pub(crate) const PART_BYTES: u64 = 32 * MIB;
/// Most memory that a decompressor may take for its window.
pub(crate) const WINDOW_BYTES: u64 = 128 * MIB;
/// Most bytes that may come out for one byte of archive, once [`RATIO_FREE_BYTES`] are exceeded. Deflate's own ceiling is 1032.
pub(crate) const UNPACK_RATIO: u64 = 200;
/// Below this, a high ratio is harmless: small books of repetitive markup reach it.
pub(crate) const RATIO_FREE_BYTES: u64 = 4 * MIB;
/// Most entries of an EPUB container.
pub(crate) const ENTRIES: u64 = 20_000;
/// Most directory entries of a ZIM archive that are looked at (all of English Wikipedia has about 20 million, which
/// is beyond what a hub can index).
pub(crate) const ARTICLES: u64 = 2_000_000;
/// Deepest nesting of markup that is followed; what is deeper is read as if it stood at this depth.
pub(crate) const NESTING_DEPTH: usize = 256;
/// Most pages of a PDF.
pub(crate) const PAGES: u32 = 20_000;
/// Most blocks of one document.
pub(crate) const BLOCKS: u64 = 1_000_000;
/// Most text of one document: about ten million words, which is what the search index is sized for.
pub(crate) const TEXT_BYTES: u64 = 64 * MIB;
/// Longest text of one block; longer ones are continued in a further block of the same kind.
pub(crate) const BLOCK_BYTES: usize = 64 * 1024;
/// Time after which reading stops and what was read counts.
pub(crate) const SOFT_TIME: Duration = Duration::from_secs(90);
/// Processor time after which the child is ended.
pub(crate) const CPU_TIME: Duration = Duration::from_secs(120);
/// Time by the clock after which the child is killed. More than the processor time, because boards are busy.
pub(crate) const WALL_TIME: Duration = Duration::from_secs(300);
/// Address space of the child.
pub(crate) const MEMORY_BYTES: u64 = 768 * MIB;

/// What one file may cost. [`Limits::default`] is what the hub uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest file that is read as a whole, in bytes.
    pub input_bytes: u64,
    /// Most bytes out of decompression.
    pub unpacked_bytes: u64,
    /// Most bytes out of decompression for one byte in.
    pub unpack_ratio: u64,
    /// Most entries of an EPUB container.
    pub entries: u64,
    /// Most directory entries of a ZIM archive.
    pub articles: u64,
    /// Most pages of a PDF.
    pub pages: u32,
    /// Most blocks.
    pub blocks: u64,
    /// Most text, in bytes.
    pub text_bytes: u64,
    /// Time after which reading stops and what was read counts.
    pub soft_time: Duration,
    /// Processor time of the child.
    pub cpu_time: Duration,
    /// Time by the clock of the child.
    pub wall_time: Duration,
    /// Address space of the child, in bytes.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            input_bytes: INPUT_BYTES,
            unpacked_bytes: UNPACKED_BYTES,
            unpack_ratio: UNPACK_RATIO,
            entries: ENTRIES,
            articles: ARTICLES,
            pages: PAGES,
            blocks: BLOCKS,
            text_bytes: TEXT_BYTES,
            soft_time: SOFT_TIME,
            cpu_time: CPU_TIME,
            wall_time: WALL_TIME,
            memory_bytes: MEMORY_BYTES,
        }
    }
}
