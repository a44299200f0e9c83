//! What a device accepts. Whatever is larger is refused before memory is taken for it.

/// Largest manifest, with the eight bytes of magic and four of length before it, in bytes.
pub const MAX_MANIFEST: u64 = 64 * 1024;
/// Largest payload, in bytes.
pub const MAX_PAYLOAD: u64 = 2 * 1024 * 1024 * 1024;
/// Most chunks of a bundle that differ.
pub const MAX_CHUNKS: u32 = 150_000;
/// Most chunks of a payload, with those that occur again.
pub const MAX_OCCURRENCES: u32 = 300_000;
/// Largest chunk, in bytes, before compression.
pub const MAX_CHUNK: u32 = 256 * 1024;
/// Smallest chunk that a bundle may aim at, in bytes.
pub const MIN_CHUNK: u32 = 1024;
/// Largest index, in bytes: both payloads at their largest.
pub const MAX_INDEX: u64 = 4 + 40 * MAX_CHUNKS as u64 + 2 * (4 + 4 * MAX_OCCURRENCES as u64);
/// Largest header of a delta, in bytes.
pub const MAX_DELTA_HEAD: u64 = 2 * 1024 * 1024;
/// Most patches in a delta.
pub const MAX_PATCHES: u32 = 16_384;
/// Most ranges of the old payloads that one patch refers to.
pub const MAX_REFERENCES: u32 = 512;
/// Most bytes of the old payloads that one patch refers to; held in memory while it is applied.
pub const MAX_REFERENCE_BYTES: u64 = 16 * 1024 * 1024;
/// Most bytes that one patch gives; held in memory while it is applied.
pub const MAX_PATCH_OUTPUT: u64 = 4 * 1024 * 1024;
/// Most bytes of one patch as stored; held in memory until it is complete.
pub const MAX_PATCH_STORED: u64 = MAX_PATCH_OUTPUT + 64 * 1024;
/// Most deltas listed for one bundle.
pub const MAX_DELTAS: usize = 64;
/// Two ranges with a smaller gap between them are fetched as one, in bytes: a request costs about as much.
pub const COALESCE_GAP: u64 = 2 * 1024;
