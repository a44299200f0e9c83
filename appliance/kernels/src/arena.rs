//! One mapping for all weights of a model.
//!
//! Most matrices of a small model are smaller than a large page, so that each in a mapping of its own would be streamed over
//! small pages, and a page-table walk per 4 KiB is what decoding then waits for. Side by side they share large pages.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::buffer::{ALIGNMENT, Buffer, Use};
use crate::{Format, KernelError, PackedMatrix};

/// Room that [`PackedMatrix::pack_from`] takes the memory of its matrices from. It is given back when the arena and every
/// matrix in it are gone.
pub struct Arena {
    region: Arc<Buffer>,
    taken: AtomicUsize,
}

impl Arena {
    /// Room for matrices of these formats, rows and columns; those that cannot be packed are left out. Memory is used as
    /// matrices are packed, not before. Where the system refuses the whole at once, and for matrices that were not named here,
    /// each matrix gets memory of its own.
    pub fn for_matrices(matrices: impl IntoIterator<Item = (Format, usize, usize)>) -> Self {
        let bytes = matrices.into_iter().fold(0, |sum: usize, (format, rows, cols)| {
            let bytes = PackedMatrix::packed_bytes(format, rows, cols).unwrap_or(0);
            sum.saturating_add(padded(bytes).unwrap_or(0))
        });
        let region = Buffer::zeroed(bytes, Use::Weights).unwrap_or_else(|_| Buffer::empty());
        Self { region: Arc::new(region), taken: AtomicUsize::new(0) }
    }

    /// A zeroed buffer of `len` bytes.
    pub(crate) fn take(&self, len: usize) -> Result<Buffer, KernelError> {
        let next = |taken: usize| padded(len)?.checked_add(taken).filter(|end| *end <= self.region.len());
        match self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            // SAFETY: `taken` only grows, so no two parts overlap, and the part ends inside the region.
            Ok(start) if len > 0 => Ok(unsafe { Buffer::part(&self.region, start, len) }),
            _ => Buffer::zeroed(len, Use::Weights),
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.taken.load(Ordering::Relaxed);
        f.debug_struct("Arena").field("bytes", &self.region.len()).field("taken", &taken).finish()
    }
}

fn padded(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_zeroed_aligned_and_outlive_the_arena() {
        let arena = Arena::for_matrices([(Format::Q4_0, 16, 64), (Format::Q8_0, 5, 32), (Format::F32, 0, 1)]);
        let room = arena.region.len();
        let mut parts = vec![arena.take(100).unwrap(), arena.take(1).unwrap(), arena.take(0).unwrap()];
        assert_eq!(arena.taken.load(Ordering::Relaxed), 192);
        // More than what is left has a home of its own, and takes nothing.
        parts.push(arena.take(room).unwrap());
        assert_eq!(arena.taken.load(Ordering::Relaxed), 192);
        parts.push(arena.take(room - 192).unwrap());
        drop(arena);
        for (fill, part) in (1u8..).zip(&mut parts) {
            assert!(part.as_slice().iter().all(|byte| *byte == 0));
            assert!(part.len() == 0 || part.as_slice().as_ptr().align_offset(ALIGNMENT) == 0);
            part.as_mut_slice().fill(fill);
        }
        for (fill, part) in (1u8..).zip(&parts) {
            assert!(part.as_slice().iter().all(|byte| *byte == fill));
        }
    }
}
