//! The key and value cache of one sequence.

use half::f16;

use crate::buffer::{Buffer, Shards, Use};
use crate::dispatch::Table;
use crate::error::same;
use crate::{Compute, Format, KernelError, MAX_HEAD_DIM, RUN, TILE_ROWS, layout};

/// Most positions of one cache.
pub const MAX_POSITIONS: usize = 1 << 20;
/// Most layers of one cache.
pub const MAX_LAYERS: usize = 1 << 10;
/// Most key heads of one cache.
pub const MAX_KV_HEADS: usize = 1 << 8;

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KvFormat {
    /// 16-bit floating point.
    F16,
    /// 8-bit codes with a scale for every 32 of them: 55 % of the memory and of the traffic.
    Q8,
}

/// Dimensions of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct KvShape {
    /// Transformer layers.
    pub layers: usize,
    /// Key (and value) heads of a layer.
    pub kv_heads: usize,
    /// Values of one head: a multiple of 16 (F16) or 32 (Q8), at most [`MAX_HEAD_DIM`].
    pub head_dim: usize,
    /// Positions that there is room for.
    pub capacity: usize,
}

/// Keys and values of one sequence in all layers. Memory for positions that were never written is not touched.
pub struct KvCache {
    shape: KvShape,
    format: KvFormat,
    len: usize,
    layers: Vec<Layer>,
}

struct Layer {
    /// Per key head: tiles of 16 positions; F16: `[dimension][16]`; Q8: a tile of a packed Q8_0 matrix, position by row.
    keys: Buffer,
    /// Per key head: `[position][dimension]`, f16 or i8.
    values: Buffer,
    /// Q8: per key head `[position][dimension / 32]` f32.
    scales: Buffer,
}

impl KvCache {
    /// Bytes that a full cache takes.
    pub fn bytes_for(shape: &KvShape, format: KvFormat) -> usize {
        let (keys, values, scales) = layer_bytes(shape, format);
        shape.layers * (keys + values + scales)
    }

    /// An empty cache.
    ///
    /// # Errors
    /// [`KernelError::OutOfRange`] for a dimension above its limit, [`KernelError::Shape`] for a head dimension that
    /// the format does not take, [`KernelError::OutOfMemory`].
    pub fn new(shape: KvShape, format: KvFormat) -> Result<Self, KernelError> {
        for (what, index, len) in [
            ("layers", shape.layers, MAX_LAYERS),
            ("key heads", shape.kv_heads, MAX_KV_HEADS),
            ("head dimension", shape.head_dim, MAX_HEAD_DIM),
            ("positions", shape.capacity, MAX_POSITIONS),
        ] {
            if index == 0 || index > len {
                return Err(KernelError::OutOfRange { what, index, len: len + 1 });
            }
        }
        let step = if format == KvFormat::F16 { TILE_ROWS } else { RUN };
        same("head dimension", shape.head_dim.next_multiple_of(step), shape.head_dim)?;
        let (keys, values, scales) = layer_bytes(&shape, format);
        let layers = (0..shape.layers)
            .map(|_| {
                Ok(Layer {
                    keys: Buffer::zeroed(keys, Use::Growing)?,
                    values: Buffer::zeroed(values, Use::Growing)?,
                    scales: Buffer::zeroed(scales, Use::Growing)?,
                })
            })
            .collect::<Result<_, KernelError>>()?;
        Ok(Self { shape, format, len: 0, layers })
    }

    /// Dimensions.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// How keys and values are stored.
    pub fn format(&self) -> KvFormat {
        self.format
    }

    /// Positions that hold a token in every layer.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when no position holds a token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Counts `count` more positions as filled, after they were written in every layer.
    ///
    /// # Errors
    /// [`KernelError::OutOfRange`] past the capacity.
    pub fn advance(&mut self, count: usize) -> Result<(), KernelError> {
        let len = self.len.saturating_add(count);
        if len > self.shape.capacity {
            return Err(KernelError::OutOfRange {
                what: "position",
                index: len,
                len: self.shape.capacity + 1,
            });
        }
        self.len = len;
        Ok(())
    }

    /// Forgets all positions from `len` on (drafted tokens that were refused, another prompt with the same beginning).
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Writes keys and values of `count` tokens at positions `len() ..` of one layer, each `count` × (key heads × head
    /// dimension) values. The positions count as filled after [`KvCache::advance`].
    ///
    /// # Errors
    /// [`KernelError::Shape`] for wrong lengths, [`KernelError::OutOfRange`] past the capacity or the layers.
    pub fn write(
        &mut self,
        compute: &Compute,
        layer: usize,
        keys: &[f32],
        values: &[f32],
        count: usize,
    ) -> Result<(), KernelError> {
        let KvShape { kv_heads, head_dim, .. } = self.shape;
        self.check(layer, self.len.saturating_add(count))?;
        same("key values", count * kv_heads * head_dim, keys.len())?;
        same("values", keys.len(), values.len())?;
        let (shape, format, start) = (self.shape, self.format, self.len);
        let Some(layer) = self.layers.get_mut(layer) else { return Ok(()) };
        let (key_bytes, value_bytes, scale_bytes) = head_bytes(&shape, format);
        let key_shards = Shards::new(layer.keys.as_mut_slice());
        let value_shards = Shards::new(layer.values.as_mut_slice());
        let scale_shards = Shards::new(layer.scales.as_mut_slice());
        let table = compute.table();
        let write_head = |head: usize| {
            // SAFETY: each head has its own part of the three buffers.
            let mut to = unsafe {
                Head {
                    keys: key_shards.slice(head * key_bytes, key_bytes),
                    values: value_shards.slice(head * value_bytes, value_bytes),
                    scales: scale_shards.slice(head * scale_bytes, scale_bytes),
                }
            };
            let of_head =
                |row: usize| (row * kv_heads + head) * head_dim..(row * kv_heads + head + 1) * head_dim;
            for row in 0..count {
                let (Some(key), Some(value)) = (keys.get(of_head(row)), values.get(of_head(row))) else {
                    return;
                };
                match format {
                    KvFormat::F16 => to.write_f16(table, start + row, key, value),
                    KvFormat::Q8 => to.write_q8(start + row, key, value),
                }
            }
        };
        // One token is less work than waking the workers.
        if count == 1 {
            (0..kv_heads).for_each(write_head);
        } else {
            compute.pool().run(kv_heads, write_head);
        }
        Ok(())
    }

    /// Replaces the first `len` positions by those of another cache of the same model, whose positions `..len` are filled.
    /// What this cache held is forgotten.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when the caches are of different shapes or formats, [`KernelError::OutOfRange`] when `len` is
    /// more than the other holds or this one can hold.
    pub fn copy_prefix(&mut self, from: &KvCache, len: usize) -> Result<(), KernelError> {
        same("layers", self.shape.layers, from.shape.layers)?;
        same("key heads", self.shape.kv_heads, from.shape.kv_heads)?;
        same("head dimension", self.shape.head_dim, from.shape.head_dim)?;
        same("format of the cache", self.format as usize, from.format as usize)?;
        let room = from.len.min(self.shape.capacity);
        if len > room {
            return Err(KernelError::OutOfRange { what: "position", index: len, len: room + 1 });
        }
        for (to, from_layer) in self.layers.iter_mut().zip(&from.layers) {
            for ((to, from_bytes), (to_head, from_head, used)) in [
                (&mut to.keys, &from_layer.keys),
                (&mut to.values, &from_layer.values),
                (&mut to.scales, &from_layer.scales),
            ]
            .into_iter()
            .zip(prefix_bytes(&self.shape, &from.shape, self.format, len))
            {
                if used == 0 {
                    continue;
                }
                let heads = to.as_mut_slice().chunks_exact_mut(to_head);
                for (to, from) in heads.zip(from_bytes.as_slice().chunks_exact(from_head)) {
                    if let (Some(to), Some(from)) = (to.get_mut(..used), from.get(..used)) {
                        to.copy_from_slice(from);
                    }
                }
            }
        }
        self.len = len;
        Ok(())
    }

    /// Writes the first `len` positions to `out`: a prefix that outlives the process. The bytes are read back by
    /// [`KvCache::load_prefix`] into a cache of the same shape (capacity aside), format and [`crate::LAYOUT_VERSION`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save_prefix(&self, len: usize, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        let len = len.min(self.len);
        for layer in &self.layers {
            let parts = [&layer.keys, &layer.values, &layer.scales];
            for (bytes, (head, _, used)) in
                parts.into_iter().zip(prefix_bytes(&self.shape, &self.shape, self.format, len))
            {
                for head in bytes.as_slice().chunks_exact(head.max(1)) {
                    out.write_all(head.get(..used).unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }

    /// Bytes that [`KvCache::save_prefix`] writes for `len` positions.
    pub fn prefix_len_bytes(&self, len: usize) -> usize {
        let sizes = prefix_bytes(&self.shape, &self.shape, self.format, len);
        self.shape.layers * self.shape.kv_heads * sizes.iter().map(|(_, _, used)| used).sum::<usize>()
    }

    /// Replaces what this cache holds by `len` positions that [`KvCache::save_prefix`] wrote.
    ///
    /// # Errors
    /// Those of `from`, and `InvalidInput` when `len` is above the capacity. The cache is empty after an error.
    pub fn load_prefix(&mut self, len: usize, from: &mut dyn std::io::Read) -> std::io::Result<()> {
        self.len = 0;
        if len > self.shape.capacity {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                format!("a prefix of {len} positions does not fit a cache of {}", self.shape.capacity),
            ));
        }
        let sizes = prefix_bytes(&self.shape, &self.shape, self.format, len);
        for layer in &mut self.layers {
            let parts = [&mut layer.keys, &mut layer.values, &mut layer.scales];
            for (bytes, (head, _, used)) in parts.into_iter().zip(sizes) {
                for head in bytes.as_mut_slice().chunks_exact_mut(head.max(1)) {
                    from.read_exact(head.get_mut(..used).unwrap_or_default())?;
                }
            }
        }
        self.len = len;
        Ok(())
    }

    /// An error unless the layer exists and positions `..end` fit.
    pub(crate) fn check(&self, layer: usize, end: usize) -> Result<(), KernelError> {
        if layer >= self.shape.layers {
            return Err(KernelError::OutOfRange { what: "layer", index: layer, len: self.shape.layers });
        }
        if end > self.shape.capacity {
            return Err(KernelError::OutOfRange {
                what: "position",
                index: end - 1,
                len: self.shape.capacity,
            });
        }
        Ok(())
    }

    /// The bytes of the 16 keys from position 16 × `tile` on; empty outside the cache.
    pub(crate) fn key_tile(&self, layer: usize, head: usize, tile: usize) -> &[u8] {
        let (of_head, ..) = head_bytes(&self.shape, self.format);
        let size = key_tile_bytes(self.shape.head_dim, self.format);
        let from = head * of_head + tile * size;
        self.layers.get(layer).and_then(|l| l.keys.as_slice().get(from..from + size)).unwrap_or_default()
    }

    /// Bytes of the value of one position and head.
    pub(crate) fn value_bytes(&self) -> usize {
        value_bytes(self.shape.head_dim, self.format)
    }

    /// The bytes of `count` values from `position` on; empty outside the cache.
    pub(crate) fn values(&self, layer: usize, head: usize, position: usize, count: usize) -> &[u8] {
        let (_, of_head, _) = head_bytes(&self.shape, self.format);
        let from = head * of_head + position * self.value_bytes();
        let to = from + count * self.value_bytes();
        self.layers.get(layer).and_then(|l| l.values.as_slice().get(from..to)).unwrap_or_default()
    }

    /// The scales of `count` values from `position` on; empty outside the cache.
    pub(crate) fn value_scales(&self, layer: usize, head: usize, position: usize, count: usize) -> &[f32] {
        let (_, _, of_head) = head_bytes(&self.shape, self.format);
        let row = self.shape.head_dim / RUN * 4;
        let from = head * of_head + position * row;
        let bytes = self.layers.get(layer).and_then(|l| l.scales.as_slice().get(from..from + count * row));
        // SAFETY: any bytes are floats; what does not start on a float's alignment would be cut off and noticed by
        // its length.
        unsafe { bytes.unwrap_or_default().align_to::<f32>().1 }
    }
}

/// Bytes of a head's part of the buffers that hold the first `len` positions: for each of keys, values and scales the size
/// of a head in two caches and how much of it is used.
fn prefix_bytes(to: &KvShape, from: &KvShape, format: KvFormat, len: usize) -> [(usize, usize, usize); 3] {
    let (a, b) = (head_bytes(to, format), head_bytes(from, format));
    let used = head_bytes(&KvShape { capacity: len, ..*to }, format);
    [(a.0, b.0, used.0), (a.1, b.1, used.1), (a.2, b.2, used.2)]
}

fn key_tile_bytes(dim: usize, format: KvFormat) -> usize {
    match format {
        KvFormat::F16 => dim * TILE_ROWS * 2,
        KvFormat::Q8 => dim / RUN * layout::unit_bytes(Format::Q8_0),
    }
}

fn value_bytes(dim: usize, format: KvFormat) -> usize {
    match format {
        KvFormat::F16 => 2 * dim,
        KvFormat::Q8 => dim,
    }
}

/// Bytes of keys, values and scales of one head.
fn head_bytes(shape: &KvShape, format: KvFormat) -> (usize, usize, usize) {
    let keys = shape.capacity.div_ceil(TILE_ROWS) * key_tile_bytes(shape.head_dim, format);
    let values = shape.capacity * value_bytes(shape.head_dim, format);
    let scales = if format == KvFormat::Q8 { shape.capacity * (shape.head_dim / RUN) * 4 } else { 0 };
    (keys, values, scales)
}

fn layer_bytes(shape: &KvShape, format: KvFormat) -> (usize, usize, usize) {
    let (keys, values, scales) = head_bytes(shape, format);
    (keys * shape.kv_heads, values * shape.kv_heads, scales * shape.kv_heads)
}

/// One head's part of a layer.
struct Head<'a> {
    keys: &'a mut [u8],
    values: &'a mut [u8],
    scales: &'a mut [u8],
}

impl Head<'_> {
    fn write_f16(&mut self, table: &Table, position: usize, key: &[f32], value: &[f32]) {
        let dim = key.len();
        let mut halves = [0u8; 2 * MAX_HEAD_DIM];
        let Some(to) = self.values.get_mut(position * 2 * dim..(position + 1) * 2 * dim) else { return };
        // SAFETY: both ends hold `dim` elements, a multiple of 16 up to `MAX_HEAD_DIM` (checked when the cache was made);
        // the table's functions may run on this processor.
        unsafe {
            (table.elementwise.to_halves)(value.as_ptr(), to.as_mut_ptr(), dim);
            (table.elementwise.to_halves)(key.as_ptr(), halves.as_mut_ptr(), dim);
        }
        let tile = dim * TILE_ROWS * 2;
        let from = position / TILE_ROWS * tile;
        let lane = 2 * (position % TILE_ROWS);
        let Some(tile) = self.keys.get_mut(from..from + tile) else { return };
        for (slots, half) in tile.chunks_exact_mut(2 * TILE_ROWS).zip(halves.chunks_exact(2)) {
            if let Some(slot) = slots.get_mut(lane..lane + 2) {
                slot.copy_from_slice(half);
            }
        }
    }

    fn write_q8(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let dim = key.len();
        let unit = layout::unit_bytes(Format::Q8_0);
        let lane = position % TILE_ROWS;
        let from = position / TILE_ROWS * (dim / RUN * unit);
        let tile = self.keys.get_mut(from..from + dim / RUN * unit).unwrap_or_default();
        for (unit, run) in tile.chunks_exact_mut(unit).zip(key.chunks_exact(RUN)) {
            // The stored scale has 16 bits, so the codes are taken relative to what is stored.
            let scale = f16::from_f32(largest(run) / 127.0);
            let codes = codes(run, scale.to_f32());
            if let Some(slot) = unit.get_mut(2 * lane..2 * lane + 2) {
                slot.copy_from_slice(&scale.to_le_bytes());
            }
            let vectors = unit.get_mut(layout::HALVES..).unwrap_or_default();
            for (vector, codes) in vectors.chunks_exact_mut(layout::VECTOR).zip(codes.chunks_exact(4)) {
                for (slot, code) in vector.iter_mut().skip(4 * lane).zip(codes) {
                    *slot = *code as u8;
                }
            }
        }
        let row = dim / RUN * 4;
        let scales = self.scales.get_mut(position * row..(position + 1) * row).unwrap_or_default();
        let values = self.values.get_mut(position * dim..(position + 1) * dim).unwrap_or_default();
        for ((slot, out), run) in
            scales.chunks_exact_mut(4).zip(values.chunks_exact_mut(RUN)).zip(value.chunks_exact(RUN))
        {
            let scale = largest(run) / 127.0;
            slot.copy_from_slice(&scale.to_le_bytes());
            for (slot, code) in out.iter_mut().zip(codes(run, scale)) {
                *slot = code as u8;
            }
        }
    }
}

fn largest(run: &[f32]) -> f32 {
    run.iter().fold(0.0, |a, b| if b.abs() > a { b.abs() } else { a })
}

/// The 32 values as multiples of `scale`, within ±127.
fn codes(run: &[f32], scale: f32) -> [i8; RUN] {
    let inverse = 1.0 / scale;
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    let mut out = [0; RUN];
    for (slot, value) in out.iter_mut().zip(run) {
        *slot = (value * inverse).round().clamp(-127.0, 127.0) as i8;
    }
    out
}
