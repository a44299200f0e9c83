//! Quantized matrix kernels with run-time dispatch: the arithmetic of inference, and the one crate with `unsafe` arithmetic.
//!
//! Only `cairn-inference` may depend on it. It knows tensors, threads and caches; it knows neither models nor files.
//!
//! - [`RawTensor`] is a matrix as a GGUF file holds it; [`PackedMatrix`] the same in the layout that the kernels stream.
//! - [`Compute`] is a [`Pool`] of threads plus the kernels of one [`Isa`]; every operation is one of its methods:
//!   [`Compute::quantize`] → [`Compute::multiply`] / [`Compute::multiply_gated`], [`Compute::attention`] over a [`KvCache`],
//!   norms, rotary positions, gates.
//!
//! # A layer of a Llama-shaped model
//! `rms_norm_quantize` → `multiply` (query, key, value) → `rope` on queries and keys → `KvCache::write` → `attention` →
//! `quantize` → `multiply` with [`Write::Add`] on the residual → `rms_norm_quantize` → `multiply_gated` → `quantize` →
//! `multiply` with [`Write::Add`].
//!
//! # Numbers
//! All matrices are row-major; activations and results are f32. A product's integer part is exact: weights are the GGUF
//! file's, activations are rounded to 8 bits per run of 32 columns. Sums over runs are f32, in a fixed order, so a result
//! does not depend on the number of threads or on the other rows of the batch.
#![allow(unsafe_code, reason = "this is the kernel crate; every block says why it is sound")]

mod activations;
mod affinity;
mod arena;
mod attention;
mod buffer;
mod compute;
mod dispatch;
mod elementwise;
mod error;
mod format;
mod isa;
mod layout;
mod matrix;
mod ops;
mod panel;
mod pool;
mod product;
mod raw;
mod simd;
pub mod synthetic;

pub use activations::{Activations, MAX_ACTIVATION_ROWS};
pub use arena::Arena;
pub use attention::cache::{KvCache, KvFormat, KvShape, MAX_KV_HEADS, MAX_LAYERS, MAX_POSITIONS};
pub use attention::{AttentionOptions, AttentionScratch, MAX_HEAD_DIM, Mask, Sequence};
pub use buffer::ALIGNMENT;
pub use compute::{Compute, Gate, MAX_PRODUCTS, Product, Write};
pub use error::KernelError;
pub use format::{Format, MAX_COLS, MAX_ROWS, RawTensor};
pub use isa::{Isa, PATH_VARIABLE};
pub use layout::{LAYOUT_VERSION, RUN, TILE_ROWS};
pub use matrix::{PIECE_BYTES, PackedMatrix};
pub use ops::{RopeStyle, RopeTable};
pub use pool::{MAX_THREADS, Pool, PoolOptions, available_threads};
