//! The only way from safe code to the kernels: one table of functions per path, given out after the processor was asked.

use crate::activations::{QuantizeRow, quantize_row};
use crate::attention::kernel::{KeyScores, ValueSum, key_scores, value_sum, value_sum_q8};
use crate::elementwise::{self as ew, Elementwise};
use crate::product::{self, PackedFormat, TileProduct, dense_tile, tile_product};
use crate::simd::Simd;
use crate::{Format, Isa};

/// `TileProduct` for F32 and F16 weights; `activations` is rows of `cols` floats.
pub(crate) type DenseProduct =
    unsafe fn(tile: *const u8, activations: *const f32, cols: usize, out: *mut f32, stride: usize);

/// Kernels for 1, 2, 4 and 8 activation rows.
pub(crate) type ByHeight<T> = [T; 4];

/// The kernels of one path.
///
/// # Safety
/// The functions may be called only on a processor for which [`Isa::is_available`] said yes; [`table`] makes sure.
pub(crate) struct Table {
    pub(crate) isa: Isa,
    /// Most activation rows of a panel.
    pub(crate) panel: usize,
    quantized: [ByHeight<TileProduct>; 6],
    pub(crate) dense_f16: ByHeight<DenseProduct>,
    pub(crate) dense_f32: ByHeight<DenseProduct>,
    pub(crate) quantize_row: QuantizeRow,
    pub(crate) key_scores: ByHeight<KeyScores>,
    pub(crate) value_sum: ByHeight<ValueSum>,
    pub(crate) value_sum_q8: ByHeight<crate::attention::kernel::ValueSumQ8>,
    pub(crate) elementwise: Elementwise,
}

impl Table {
    /// The kernels of a quantized format, by panel height.
    pub(crate) fn products(&self, format: Format) -> Option<&ByHeight<TileProduct>> {
        self.quantized.get(Format::QUANTIZED.iter().position(|f| *f == format)?)
    }
}

/// The kernel for a panel of `height` rows, which is 1, 2, 4 or 8.
pub(crate) fn by_height<T: Copy>(kernels: &ByHeight<T>, height: usize) -> T {
    let [one, two, four, eight] = *kernels;
    match height {
        1 => one,
        2 => two,
        4 => four,
        _ => eight,
    }
}

/// The height of the next panel when `left` rows are left: the largest of 8, 4, 2, 1 that is at most `left` and `most`.
pub(crate) fn panel_height(left: usize, most: usize) -> usize {
    match left.min(most) {
        8.. => 8,
        4..8 => 4,
        2..4 => 2,
        _ => 1,
    }
}

/// The table of `isa`, or nothing when this processor cannot run it.
pub(crate) fn table(isa: Isa) -> Option<&'static Table> {
    if !isa.is_available() {
        return None;
    }
    match isa {
        Isa::Portable => Some(&portable::TABLE),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Some(&avx2::TABLE),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => Some(&avxvnni::TABLE),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Some(&avx512::TABLE),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Some(&neon::TABLE),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => Some(&dotprod::TABLE),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonMatrix => Some(&i8mm::TABLE),
        #[allow(unreachable_patterns, reason = "which paths are left depends on the architecture")]
        _ => None,
    }
}

/// One function for each panel height.
macro_rules! heights {
    ($of:ident $(, $parameter:ty)?) => {
        [$of::<$($parameter,)? 1>, $of::<$($parameter,)? 2>, $of::<$($parameter,)? 4>, $of::<$($parameter,)? 8>]
    };
}

/// Compiles every kernel for one path. The generic bodies are inlined into functions that carry the path's target
/// features, which is the only place where its instructions may be generated.
macro_rules! path {
    ($module:ident, $isa:expr, $simd:ty $(, $features:literal)?) => {
        mod $module {
            use super::*;

            type Path = $simd;

            $(#[target_feature(enable = $features)])?
            unsafe fn product<P: PackedFormat, const M: usize>(
                tile: *const u8, panel: *const u8, units: usize, out: *mut f32, stride: usize,
            ) {
                // SAFETY: the contract is the one of `TileProduct`; the features of this function are the path's.
                unsafe { tile_product::<Path, P, M>(tile, panel, units, out, stride) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn dense<const HALF: bool, const M: usize>(
                tile: *const u8, activations: *const f32, cols: usize, out: *mut f32, stride: usize,
            ) {
                // SAFETY: the contract is the one of `dense_tile`; the features of this function are the path's.
                unsafe { dense_tile::<Path, HALF, M>(tile, activations, cols, out, stride) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn quantize(row: &[f32], height: usize, index: usize, panel: *mut u8) {
                // SAFETY: the contract is the one of `quantize_row`.
                unsafe { quantize_row(row, height, index, panel) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn keys<const M: usize>(queries: *const f32, keys: *const u8, dim: usize, scores: *mut f32, stride: usize) {
                // SAFETY: the contract is the one of `KeyScores`; the features of this function are the path's.
                unsafe { key_scores::<Path, M>(queries, keys, dim, scores, stride) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn values<const M: usize>(
                weights: *const f32, stride: usize, values: *const u8, count: usize, dim: usize, sums: *mut f32,
            ) {
                // SAFETY: the contract is the one of `ValueSum`; the features of this function are the path's.
                unsafe { value_sum::<Path, M>(weights, stride, values, count, dim, sums) }
            }

            $(#[target_feature(enable = $features)])?
            unsafe fn values_q8<const M: usize>(
                weights: *const f32, stride: usize, values: *const u8, scales: *const f32, count: usize, dim: usize,
                sums: *mut f32,
            ) {
                // SAFETY: the contract is the one of `ValueSumQ8`; the features of this function are the path's.
                unsafe { value_sum_q8::<Path, M>(weights, stride, values, scales, count, dim, sums) }
            }

            ew::elementwise_functions!($($features)?);

            pub(super) static TABLE: Table = Table {
                isa: $isa,
                panel: Path::PANEL,
                quantized: [
                    heights!(product, product::Q4_0),
                    heights!(product, product::Q5_0),
                    heights!(product, product::Q8_0),
                    heights!(product, product::Q4K),
                    heights!(product, product::Q5K),
                    heights!(product, product::Q6K),
                ],
                dense_f16: [dense::<true, 1>, dense::<true, 2>, dense::<true, 4>, dense::<true, 8>],
                dense_f32: [dense::<false, 1>, dense::<false, 2>, dense::<false, 4>, dense::<false, 8>],
                quantize_row: quantize,
                key_scores: heights!(keys),
                value_sum: heights!(values),
                value_sum_q8: heights!(values_q8),
                elementwise: ELEMENTWISE,
            };
        }
    };
}

path!(portable, Isa::Portable, crate::simd::portable::Portable);
#[cfg(target_arch = "x86_64")]
path!(avx2, Isa::Avx2, crate::simd::x86_256::Avx2, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
path!(avxvnni, Isa::AvxVnni, crate::simd::x86_256::AvxVnni, "avx2,fma,f16c,avxvnni");
#[cfg(target_arch = "x86_64")]
path!(
    avx512,
    Isa::Avx512,
    crate::simd::x86_512::Avx512,
    "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512vnni"
);
#[cfg(target_arch = "aarch64")]
path!(neon, Isa::Neon, crate::simd::neon::Neon, "neon");
#[cfg(target_arch = "aarch64")]
path!(dotprod, Isa::NeonDot, crate::simd::neon::Dot, "neon,dotprod");
#[cfg(target_arch = "aarch64")]
path!(i8mm, Isa::NeonMatrix, crate::simd::neon_matrix::Matrix, "neon,dotprod,i8mm");
