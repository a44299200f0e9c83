//! Memory for weights, activations and caches: zeroed, aligned for the widest load, in large pages where it pays.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::KernelError;

/// Alignment of every buffer in bytes: one cache line, one AVX-512 register.
pub const ALIGNMENT: usize = 64;
/// Weights from this size on are mapped by themselves, so that large pages can be had.
const MAP_FROM: usize = 1 << 20;
/// Growing buffers from this size on are mapped by themselves, so that their untouched pages cost nothing: the cache of one layer of
/// a small model is half a megabyte, that of all layers as much as its whole vocabulary.
const MAP_GROWING_FROM: usize = 1 << 16;
/// Size of a large page on the boards and computers that we run on.
const LARGE_PAGE: usize = 2 << 20;

/// What a buffer is for; decides whether large pages are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Written once to its end and streamed from then on: large pages save page-table walks.
    Weights,
    /// Filled little by little, perhaps never to its end: small pages keep the untouched part free.
    Growing,
}

/// An owned byte buffer, zeroed, aligned to [`ALIGNMENT`].
pub(crate) struct Buffer {
    start: NonNull<u8>,
    len: usize,
    home: Home,
}

enum Home {
    Empty,
    Heap(Layout),
    Mapped {
        base: NonNull<libc::c_void>,
        len: usize,
    },
    /// A part of a larger buffer, which lives as long as its parts.
    Part {
        _whole: Arc<Buffer>,
    },
}

// SAFETY: a buffer owns its memory alone and gives it out by the borrow rules of `&self` and `&mut self`.
unsafe impl Send for Buffer {}
// SAFETY: as above; `&Buffer` only reads.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer without bytes.
    pub(crate) fn empty() -> Self {
        Self { start: NonNull::dangling(), len: 0, home: Home::Empty }
    }

    /// A zeroed buffer of `len` bytes.
    pub(crate) fn zeroed(len: usize, usage: Use) -> Result<Self, KernelError> {
        let no_memory = KernelError::OutOfMemory { bytes: len };
        if len == 0 {
            return Ok(Self::empty());
        }
        let map_from = if usage == Use::Growing { MAP_GROWING_FROM } else { MAP_FROM };
        if len < map_from {
            let layout = Layout::from_size_align(len, ALIGNMENT).map_err(|_| no_memory.clone())?;
            // SAFETY: the layout has a size above zero.
            let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(no_memory)?;
            return Ok(Self { start, len, home: Home::Heap(layout) });
        }
        Self::mapped(len, usage).ok_or(no_memory)
    }

    fn mapped(len: usize, usage: Use) -> Option<Self> {
        let slack = if usage == Use::Weights { LARGE_PAGE } else { 0 };
        let whole = len.checked_add(slack)?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                whole,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return None;
        }
        let base = NonNull::new(base)?;
        let shift = if slack == 0 { 0 } else { base.as_ptr().cast::<u8>().align_offset(LARGE_PAGE) };
        // SAFETY: the shift is below the slack, so the result and `len` bytes after it lie inside the mapping.
        let start = unsafe { base.cast::<u8>().add(shift) };
        let whole_pages = len / LARGE_PAGE * LARGE_PAGE;
        if slack != 0 && whole_pages != 0 {
            // Only the part that fills whole large pages: the rest would be memory that nobody uses. A kernel without
            // large pages refuses, which costs speed and nothing else.
            // SAFETY: the range lies inside the mapping made above; the advice does not change contents.
            unsafe { libc::madvise(start.as_ptr().cast(), whole_pages, libc::MADV_HUGEPAGE) };
        }
        Some(Self { start, len, home: Home::Mapped { base, len: whole } })
    }

    /// `len` bytes of a larger buffer from `start` on, as a buffer of its own.
    ///
    /// # Safety
    /// The range lies inside `whole`; while the part lives nothing else reads or writes it.
    pub(crate) unsafe fn part(whole: &Arc<Self>, start: usize, len: usize) -> Self {
        // SAFETY: inside the whole by the contract.
        let start = unsafe { whole.start.add(start) };
        Self { start, len, home: Home::Part { _whole: Arc::clone(whole) } }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start` points to `len` initialised bytes that this value owns.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.home {
            Home::Empty | Home::Part { .. } => {}
            // SAFETY: the block came from `alloc_zeroed` with this layout and is freed once.
            Home::Heap(layout) => unsafe { dealloc(self.start.as_ptr(), layout) },
            Home::Mapped { base, len } => {
                // SAFETY: the mapping was made by this value with this length and is removed once.
                unsafe { libc::munmap(base.as_ptr(), len) };
            }
        }
    }
}

/// Packed bytes: owned, or borrowed from something that keeps them alive, such as a mapped cache file.
pub(crate) enum Bytes {
    Owned(Buffer),
    Shared { keep: Arc<dyn AsRef<[u8]> + Send + Sync>, start: usize, len: usize },
}

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Owned(buffer) => buffer.as_slice(),
            Self::Shared { keep, start, len } => {
                keep.as_ref().as_ref().get(*start..*start + *len).unwrap_or_default()
            }
        }
    }
}

/// A mutable slice whose disjoint parts several workers of one parallel region write.
///
/// The type only carries the pointer across threads. Whoever calls [`Shards::slice`] answers for the parts being
/// disjoint, which the callers get by giving each work item its own range.
pub(crate) struct Shards<'a, T> {
    start: *mut T,
    len: usize,
    _life: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: a `Shards` stands for a `&mut [T]` whose parts are handed out under the contract of `slice`.
unsafe impl<T: Send> Send for Shards<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shards<'_, T> {}

impl<'a, T> Shards<'a, T> {
    pub(crate) fn new(whole: &'a mut [T]) -> Self {
        Self { start: whole.as_mut_ptr(), len: whole.len(), _life: std::marker::PhantomData }
    }

    /// The elements `from..from + len`.
    ///
    /// # Safety
    /// No two live slices of one `Shards` may overlap. Bounds are checked: a range past the end gives an empty slice.
    #[allow(clippy::mut_from_ref, reason = "disjointness is the caller's part of the contract")]
    pub(crate) unsafe fn slice(&self, from: usize, len: usize) -> &mut [T] {
        if from.checked_add(len).is_none_or(|end| end > self.len) {
            return &mut [];
        }
        // SAFETY: the range was checked against the slice that `new` borrowed; no overlap by the contract above.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(from), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_aligned_and_writable_at_every_size() {
        for usage in [Use::Weights, Use::Growing] {
            for len in
                [0, 63, 4096, MAP_GROWING_FROM, MAP_FROM - 1, MAP_FROM, LARGE_PAGE + 7, 3 * LARGE_PAGE + 1]
            {
                let mut buffer = Buffer::zeroed(len, usage).unwrap();
                assert_eq!(buffer.len(), len);
                assert!(buffer.as_slice().iter().all(|b| *b == 0));
                if len != 0 {
                    assert_eq!(
                        buffer.as_slice().as_ptr().align_offset(ALIGNMENT),
                        0,
                        "{len} bytes, {usage:?}"
                    );
                    buffer.as_mut_slice()[len - 1] = 7;
                    assert_eq!(buffer.as_slice()[len - 1], 7);
                }
            }
        }
    }

    #[test]
    fn impossible_sizes_are_an_error() {
        assert!(matches!(Buffer::zeroed(usize::MAX - 5, Use::Weights), Err(KernelError::OutOfMemory { .. })));
        assert!(matches!(Buffer::zeroed(1 << 60, Use::Growing), Err(KernelError::OutOfMemory { .. })));
    }
}
