//! Weight matrices in the packed layout.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use half::f16;

use crate::buffer::{ALIGNMENT, Buffer, Bytes, Shards, Use};
use crate::layout::{self, TILE_ROWS};
use crate::raw::Block;
use crate::{Arena, Format, KernelError, Pool, RawTensor};

/// Raw bytes that each thread of [`PackedMatrix::pack_from`] holds at a time: little enough to still be in the cache when they
/// are packed, and as much as a card reads well at once.
pub const PIECE_BYTES: usize = 512 << 10;

/// A weight matrix in the layout that the kernels stream: `rows` output features × `cols` input features.
///
/// The bytes are either owned or mapped from a cache file ([`PackedMatrix::from_mapped`]); there is never a second copy.
/// The size is that of the GGUF tensor rounded up to 16 rows, plus 3 % for Q4_K and 2 % for Q5_K.
pub struct PackedMatrix {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Bytes,
}

impl PackedMatrix {
    /// Bytes of a packed matrix of these dimensions.
    ///
    /// # Errors
    /// [`KernelError::Dimensions`] or [`KernelError::PartialBlock`] when there is no such matrix.
    pub fn packed_bytes(format: Format, rows: usize, cols: usize) -> Result<usize, KernelError> {
        if rows == 0 || rows > crate::MAX_ROWS {
            return Err(KernelError::Dimensions { rows, cols });
        }
        format.row_bytes(cols)?;
        rows.div_ceil(TILE_ROWS)
            .checked_mul(tile_bytes(format, cols))
            .ok_or(KernelError::Dimensions { rows, cols })
    }

    /// Packs a tensor, tile by tile, on the threads of `pool`. Reads each raw byte once and allocates the packed size.
    ///
    /// # Errors
    /// [`KernelError::OutOfMemory`].
    pub fn pack(pool: &Pool, raw: &RawTensor<'_>) -> Result<Self, KernelError> {
        let len = Self::packed_bytes(raw.format(), raw.rows(), raw.cols())?;
        let mut buffer = Buffer::zeroed(len, Use::Weights)?;
        let tile = tile_bytes(raw.format(), raw.cols());
        let shards = Shards::new(buffer.as_mut_slice());
        pool.run(raw.rows().div_ceil(TILE_ROWS), |index| {
            // SAFETY: each tile index is run once and each tile has its own bytes.
            let out = unsafe { shards.slice(index * tile, tile) };
            pack_tile(raw, index, out);
        });
        Ok(Self { format: raw.format(), rows: raw.rows(), cols: raw.cols(), bytes: Bytes::Owned(buffer) })
    }

    /// Packs a tensor, into memory of `arena`, that `read` brings piece by piece: it is called with a byte offset within the
    /// raw tensor and a buffer to fill, each byte once, in any order and from several threads of `pool` at a time: reading is
    /// work like packing. Beside the packed matrix each thread has one piece of [`PIECE_BYTES`] (or 16 rows, where those are
    /// more) in memory, so a file is never there twice.
    ///
    /// # Errors
    /// Those of `read`; what [`PackedMatrix::packed_bytes`] refuses, as `InvalidInput`; `OutOfMemory`.
    pub fn pack_from(
        pool: &Pool,
        arena: &Arena,
        format: Format,
        rows: usize,
        cols: usize,
        read: impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync,
    ) -> io::Result<Self> {
        let invalid = |error: KernelError| io::Error::new(io::ErrorKind::InvalidInput, error);
        let len = Self::packed_bytes(format, rows, cols).map_err(invalid)?;
        let row_bytes = format.row_bytes(cols).map_err(invalid)?;
        let mut buffer =
            arena.take(len).map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))?;
        let tile = tile_bytes(format, cols);
        let step = (PIECE_BYTES / row_bytes / TILE_ROWS).max(1) * TILE_ROWS;
        let shards = Shards::new(buffer.as_mut_slice());
        let (spare, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
        let work = |index: usize| -> io::Result<()> {
            let first = index * step;
            let count = step.min(rows - first);
            let mut piece: Vec<u8> = lock(&spare).pop().unwrap_or_default();
            piece.resize(count * row_bytes, 0);
            read((first * row_bytes) as u64, &mut piece)?;
            let raw = RawTensor::new(format, count, cols, &piece).map_err(invalid)?;
            for index in 0..count.div_ceil(TILE_ROWS) {
                // SAFETY: each piece is run once, has whole tiles of its own, and each tile has its own bytes.
                pack_tile(&raw, index, unsafe { shards.slice((first / TILE_ROWS + index) * tile, tile) });
            }
            lock(&spare).push(piece);
            Ok(())
        };
        pool.run(rows.div_ceil(step), |index| {
            if lock(&failed).is_some() {
                return;
            }
            if let Err(error) = work(index) {
                lock(&failed).get_or_insert(error);
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(Self { format, rows, cols, bytes: Bytes::Owned(buffer) }),
        }
    }

    /// Writes the packed bytes of a tensor to `out`, one tile at a time: how a cache file is made without holding
    /// the matrix in memory. What was written can be mapped with [`PackedMatrix::from_mapped`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_packed(raw: &RawTensor<'_>, out: &mut dyn io::Write) -> io::Result<()> {
        let mut tile = vec![0; tile_bytes(raw.format(), raw.cols())];
        for index in 0..raw.rows().div_ceil(TILE_ROWS) {
            tile.fill(0);
            pack_tile(raw, index, &mut tile);
            out.write_all(&tile)?;
        }
        Ok(())
    }

    /// A matrix over bytes that [`PackedMatrix::write_packed`] or [`PackedMatrix::bytes`] produced under the same
    /// [`crate::LAYOUT_VERSION`]: `keep` (a memory map, say) from byte `start` on. Wrong contents give wrong numbers and
    /// nothing worse; guard cache files with a checksum.
    ///
    /// # Errors
    /// [`KernelError::ByteLength`] when `keep` is too short, [`KernelError::Alignment`], or those of
    /// [`PackedMatrix::packed_bytes`].
    pub fn from_mapped(
        format: Format,
        rows: usize,
        cols: usize,
        keep: Arc<dyn AsRef<[u8]> + Send + Sync>,
        start: usize,
    ) -> Result<Self, KernelError> {
        let len = Self::packed_bytes(format, rows, cols)?;
        let whole: &[u8] = keep.as_ref().as_ref();
        let there = whole.len().saturating_sub(start);
        let short = KernelError::ByteLength { what: "a packed matrix", expected: len, found: there };
        let part = start.checked_add(len).and_then(|end| whole.get(start..end)).ok_or(short)?;
        if part.as_ptr().align_offset(ALIGNMENT) != 0 {
            return Err(KernelError::Alignment { needed: ALIGNMENT });
        }
        Ok(Self { format, rows, cols, bytes: Bytes::Shared { keep, start, len } })
    }

    /// Format of the weights.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Number of rows (output features).
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns (input features).
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The packed bytes, as a cache file stores them.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// Number of tiles of 16 rows.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE_ROWS)
    }

    /// Number of units (GGML blocks) along a row.
    pub(crate) fn units(&self) -> usize {
        self.cols / self.format.block_values()
    }

    /// The bytes of tile `index`; empty past the last tile.
    pub(crate) fn tile(&self, index: usize) -> &[u8] {
        let size = tile_bytes(self.format, self.cols);
        self.bytes().get(index * size..(index + 1) * size).unwrap_or_default()
    }

    /// Writes the values of row `row` to `out` (length [`PackedMatrix::cols`]): an embedding look-up in a matrix that
    /// is also the output projection.
    ///
    /// # Errors
    /// [`KernelError::OutOfRange`] past the last row, [`KernelError::Shape`] for a wrong `out`.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) -> Result<(), KernelError> {
        crate::error::same("values in a dequantized row", self.cols, out.len())?;
        if row >= self.rows {
            return Err(KernelError::OutOfRange { what: "row", index: row, len: self.rows });
        }
        let lane = row % TILE_ROWS;
        let units = self.tile(row / TILE_ROWS).chunks_exact(layout::unit_bytes(self.format));
        let mut block = Block::ZERO;
        for (unit, out) in units.zip(out.chunks_mut(self.format.block_values())) {
            match self.format {
                Format::F32 | Format::F16 => {
                    out.fill(dense_value(self.format, unit, lane));
                }
                _ => {
                    layout::read_unit(self.format, unit, lane, &mut block);
                    block.values(self.format, out);
                }
            }
        }
        Ok(())
    }
}

/// What a thread that panicked left in these mutexes is still whole: an empty or a filled list, or an error.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tile_bytes(format: Format, cols: usize) -> usize {
    cols / format.block_values() * layout::unit_bytes(format)
}

/// Packs the rows of one tile into `out`, which is zero.
fn pack_tile(raw: &RawTensor<'_>, index: usize, out: &mut [u8]) {
    let format = raw.format();
    let rows: [&[u8]; TILE_ROWS] =
        std::array::from_fn(|lane| raw.row(index * TILE_ROWS + lane).unwrap_or_default());
    let size = format.block_bytes();
    let mut blocks = [Block::ZERO; TILE_ROWS];
    for (i, unit) in out.chunks_exact_mut(layout::unit_bytes(format)).enumerate() {
        if !format.is_quantized() {
            for (slot, row) in unit.chunks_exact_mut(size).zip(&rows) {
                if let Some(value) = row.get(i * size..(i + 1) * size) {
                    slot.copy_from_slice(value);
                }
            }
            continue;
        }
        for (block, row) in blocks.iter_mut().zip(&rows) {
            if let Some(bytes) = row.get(i * size..(i + 1) * size) {
                Block::read(format, bytes, block);
            }
        }
        layout::write_unit(format, &blocks, unit);
    }
}

fn dense_value(format: Format, unit: &[u8], lane: usize) -> f32 {
    let at = |i: usize| unit.get(i).copied().unwrap_or(0);
    match format {
        Format::F16 => f16::from_le_bytes([at(2 * lane), at(2 * lane + 1)]).to_f32(),
        _ => f32::from_le_bytes([at(4 * lane), at(4 * lane + 1), at(4 * lane + 2), at(4 * lane + 3)]),
    }
}
