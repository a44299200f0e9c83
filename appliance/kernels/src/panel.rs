//! Where things stand in a panel of quantized activations.
//!
//! A panel is `M` activation rows (1, 2, 4 or 8), interleaved run by run (32 columns), so that a kernel walks weights and
//! activations forward together with constant offsets. One run of a panel is:
//! `M` × 32 codes (i8), `M` scales (f32), `M` × −scale × Σ codes (f32), `M` × −Σ codes (i32), `M` × 2 × −Σ codes of each
//! half (i32).

use crate::RUN;

/// Bytes per activation row and run.
pub(crate) const ROW_RUN_BYTES: usize = RUN + 5 * 4;

/// Bytes of one run of a panel of `m` rows.
pub(crate) const fn stride(m: usize) -> usize {
    ROW_RUN_BYTES * m
}

/// One run of a panel of `M` rows.
#[derive(Clone, Copy)]
pub(crate) struct PanelRun<const M: usize>(pub(crate) *const u8);

/// # Safety
/// For every method: the pointer is to `stride(M)` readable bytes and `row` is below `M`, `half` below 2.
impl<const M: usize> PanelRun<M> {
    #[inline(always)]
    pub(crate) unsafe fn codes(self, row: usize) -> *const i8 {
        // SAFETY: inside the run by the contract of this type.
        unsafe { self.0.add(RUN * row).cast() }
    }

    #[inline(always)]
    pub(crate) unsafe fn scale(self, row: usize) -> f32 {
        // SAFETY: inside the run by the contract of this type.
        unsafe { self.0.add(RUN * M + 4 * row).cast::<f32>().read_unaligned() }
    }

    #[inline(always)]
    pub(crate) unsafe fn minus_scaled_sum(self, row: usize) -> f32 {
        // SAFETY: inside the run by the contract of this type.
        unsafe { self.0.add((RUN + 4) * M + 4 * row).cast::<f32>().read_unaligned() }
    }

    #[inline(always)]
    pub(crate) unsafe fn minus_sum(self, row: usize) -> i32 {
        // SAFETY: inside the run by the contract of this type.
        unsafe { self.0.add((RUN + 8) * M + 4 * row).cast::<i32>().read_unaligned() }
    }

    #[inline(always)]
    pub(crate) unsafe fn minus_half_sum(self, row: usize, half: usize) -> i32 {
        // SAFETY: inside the run by the contract of this type.
        unsafe { self.0.add((RUN + 12) * M + 8 * row + 4 * half).cast::<i32>().read_unaligned() }
    }
}
