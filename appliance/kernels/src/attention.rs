//! Attention over a preallocated cache: online softmax, grouped queries, several sequences in one call.
//!
//! Positions are summed in parts that begin at fixed positions, each part in blocks that do, and the parts are joined in
//! order. How a call is spread over threads, and which other queries are in it, therefore changes no bit of a result.

pub(crate) mod cache;
pub(crate) mod kernel;

use crate::attention::cache::{KvCache, KvFormat};
use crate::buffer::Shards;
use crate::dispatch::{Table, by_height};
use crate::error::same;
use crate::{Compute, Format, KernelError, RUN, TILE_ROWS, panel};

/// Largest head dimension. Models in use have at most 256; the quoting model of the tests has 320.
pub const MAX_HEAD_DIM: usize = 320;
/// Positions whose scores are kept at a time.
const BLOCK: usize = 64;
/// Query rows that share one pass over keys and values.
const ROWS: usize = 8;
/// Items per thread that a call is cut into.
const ITEMS_PER_THREAD: usize = 3;
/// Positions that are summed by themselves before they are joined with the rest; parts begin at multiples of it.
const PART: usize = 4 * BLOCK;

/// Which positions a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Its own position and all before it.
    Causal,
    /// Every position of its sequence, later ones too: encoders.
    Full,
}

/// The parameters of an attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions {
    /// Query heads: a multiple of the key heads of the cache.
    pub heads: usize,
    /// Factor on query · key, usually 1 / √head_dim.
    pub scale: f32,
    /// Which positions a query sees.
    pub mask: Mask,
    /// With a causal mask, how many positions back a query sees, its own included (Gemma 3's local layers).
    pub window: Option<usize>,
    /// Squashes scores to ±cap by `cap × tanh(score / cap)`.
    pub soft_cap: Option<f32>,
}

/// The queries of one sequence in a call.
#[derive(Clone, Copy)]
pub struct Sequence<'a> {
    /// Keys and values of the sequence. Those of the queries' own positions must have been written to the layer.
    pub cache: &'a KvCache,
    /// Position of the first query.
    pub start: usize,
    /// Number of queries, at consecutive positions.
    pub count: usize,
}

/// Memory of [`Compute::attention`] between its two steps; kept from call to call.
#[derive(Default)]
pub struct AttentionScratch {
    partial: Vec<Partial>,
}

/// Attention of up to [`ROWS`] query rows over a part of the positions, not yet divided by the sum of weights.
#[derive(Clone)]
struct Partial {
    /// Largest score so far.
    max: [f32; ROWS],
    /// Sum of e^(score − max).
    total: [f32; ROWS],
    /// Weighted sum of values.
    sums: [f32; ROWS * MAX_HEAD_DIM],
}

impl Partial {
    const EMPTY: Partial =
        Partial { max: [f32::NEG_INFINITY; ROWS], total: [0.0; ROWS], sums: [0.0; ROWS * MAX_HEAD_DIM] };
}

/// One item of work: some query rows of one key head, over a range of positions.
#[derive(Clone, Copy)]
struct Item<'a> {
    sequence: Sequence<'a>,
    /// Row of the sequence's first query in the batch.
    batch_row: usize,
    kv_head: usize,
    /// First query row of the key head (query × group + head in group), and how many.
    first: usize,
    rows: usize,
    from: usize,
    to: usize,
    /// This is item `part` of the `parts` that the positions of these rows were spread over.
    part: usize,
    parts: usize,
}

/// What all items of a call share.
struct Call<'a> {
    table: &'static Table,
    options: AttentionOptions,
    layer: usize,
    queries: &'a [f32],
    out: Shards<'a, f32>,
}

impl Compute {
    /// Attention of one layer: `queries` is batch rows × (heads × head dimension), the rows of the sequences one after
    /// the other; `out` has the same shape. Head `h` reads key head `h / (heads / key heads)`.
    ///
    /// # Errors
    /// [`KernelError::Shape`] when counts do not fit each other, [`KernelError::OutOfRange`] when a query's position or
    /// the layer is outside its cache.
    pub fn attention(
        &self,
        layer: usize,
        sequences: &[Sequence<'_>],
        options: &AttentionOptions,
        queries: &[f32],
        out: &mut [f32],
        scratch: &mut AttentionScratch,
    ) -> Result<(), KernelError> {
        let Some(first) = sequences.first() else { return Ok(()) };
        let shape = first.cache.shape();
        let dim = shape.head_dim;
        for sequence in sequences {
            same("head dimension of the cache", dim, sequence.cache.shape().head_dim)?;
            same("key heads of the cache", shape.kv_heads, sequence.cache.shape().kv_heads)?;
            sequence.cache.check(layer, sequence.start.saturating_add(sequence.count))?;
        }
        let heads = options.heads;
        let group = heads / shape.kv_heads;
        same("query heads", group.max(1) * shape.kv_heads, heads)?;
        let rows: usize = sequences.iter().map(|s| s.count).sum();
        same("query values", rows * heads * dim, queries.len())?;
        same("output values", queries.len(), out.len())?;

        let items =
            items(sequences, shape.kv_heads, group, options, self.pool().threads() * ITEMS_PER_THREAD);
        let split = items.iter().any(|item| item.parts > 1);
        if split && scratch.partial.len() < items.len() {
            scratch.partial.resize(items.len(), Partial::EMPTY);
        }
        let call = Call { table: self.table(), options: *options, layer, queries, out: Shards::new(out) };
        let partials = Shards::new(&mut scratch.partial);
        self.pool().run(items.len(), |index| {
            let Some(item) = items.get(index) else { return };
            if item.parts == 1 {
                call.attend_whole(item);
            } else {
                // SAFETY: each item has a slot of its own.
                if let Some(state) = unsafe { partials.slice(index, 1) }.first_mut() {
                    call.attend(item, (item.from, item.to), state);
                }
            }
        });
        if split {
            merge(&call, &items, &mut scratch.partial);
        }
        Ok(())
    }
}

/// Cuts a call into items: by key head and query rows, and where that gives too few, by position.
fn items<'a>(
    sequences: &[Sequence<'a>],
    kv_heads: usize,
    group: usize,
    options: &AttentionOptions,
    wanted: usize,
) -> Vec<Item<'a>> {
    let tiles: usize = sequences.iter().map(|s| (s.count * group).div_ceil(ROWS) * kv_heads).sum();
    let mut items = Vec::with_capacity(tiles);
    let mut batch_row = 0;
    for sequence in sequences {
        for kv_head in 0..kv_heads {
            for first in (0..sequence.count * group).step_by(ROWS) {
                let rows = ROWS.min(sequence.count * group - first);
                let (from, _) = visible(sequence, options, first / group);
                let (_, to) = visible(sequence, options, (first + rows - 1) / group);
                let from = from / BLOCK * BLOCK;
                let whole = Item {
                    sequence: *sequence,
                    batch_row,
                    kv_head,
                    first,
                    rows,
                    from,
                    to,
                    part: 0,
                    parts: 1,
                };
                let parts = parts_of(&whole).count();
                if tiles >= wanted || parts < 2 {
                    items.push(whole);
                    continue;
                }
                let split = parts_of(&whole).enumerate();
                items.extend(split.map(|(part, (from, to))| Item { from, to, part, parts, ..whole }));
            }
        }
        batch_row += sequence.count;
    }
    items
}

/// The positions of an item, cut where parts begin.
fn parts_of(item: &Item<'_>) -> impl Iterator<Item = (usize, usize)> + use<> {
    let (start, end) = (item.from, item.to);
    (start / PART..end.div_ceil(PART)).map(move |part| (start.max(part * PART), end.min((part + 1) * PART)))
}

/// The positions that query `index` of a sequence sees.
fn visible(sequence: &Sequence<'_>, options: &AttentionOptions, index: usize) -> (usize, usize) {
    match options.mask {
        Mask::Full => (0, sequence.start + sequence.count),
        Mask::Causal => {
            let end = sequence.start + index + 1;
            (options.window.map_or(0, |window| end.saturating_sub(window.max(1))), end)
        }
    }
}

/// Joins the parts of split items; parts of one item follow each other.
fn merge(call: &Call<'_>, items: &[Item<'_>], partials: &mut [Partial]) {
    for (index, item) in items.iter().enumerate() {
        if item.part != 0 || item.parts == 1 {
            continue;
        }
        let dim = item.sequence.cache.shape().head_dim;
        let Some((state, others)) =
            partials.get_mut(index..index + item.parts).and_then(<[Partial]>::split_first_mut)
        else {
            continue;
        };
        for other in others {
            state.join(other, item.rows, dim);
        }
        call.finish(item, state);
    }
}

impl Partial {
    /// Adds the part of another range of positions.
    fn join(&mut self, other: &Partial, rows: usize, dim: usize) {
        let mine = self.max.iter_mut().zip(&mut self.total).zip(self.sums.chunks_exact_mut(dim));
        let theirs = other.max.iter().zip(&other.total).zip(other.sums.chunks_exact(dim));
        for (((max, total), sums), ((other_max, other_total), other_sums)) in mine.zip(theirs).take(rows) {
            let highest = max.max(*other_max);
            if highest == f32::NEG_INFINITY {
                continue;
            }
            let (a, b) = ((*max - highest).exp(), (*other_max - highest).exp());
            *max = highest;
            *total = *total * a + other_total * b;
            sums.iter_mut().zip(other_sums).for_each(|(s, o)| *s = *s * a + o * b);
        }
    }
}

impl Call<'_> {
    /// Where the query row `row` of an item stands in `queries` and `out`.
    fn offset(&self, item: &Item<'_>, row: usize) -> usize {
        let shape = item.sequence.cache.shape();
        let group = self.options.heads / shape.kv_heads;
        let (query, member) = ((item.first + row) / group, (item.first + row) % group);
        ((item.batch_row + query) * self.options.heads + item.kv_head * group + member) * shape.head_dim
    }

    /// Attention of an item over all its parts, to the output.
    fn attend_whole(&self, item: &Item<'_>) {
        let dim = item.sequence.cache.shape().head_dim;
        let mut parts = parts_of(item);
        let Some(first) = parts.next() else { return };
        let mut state = Partial::EMPTY;
        self.attend(item, first, &mut state);
        let mut other = None;
        for part in parts {
            let other = other.get_or_insert(Partial::EMPTY);
            self.attend(item, part, other);
            state.join(other, item.rows, dim);
        }
        self.finish(item, &state);
    }

    /// Runs the online softmax of one item over the positions of one part into `state`.
    fn attend(&self, item: &Item<'_>, (from, to): (usize, usize), state: &mut Partial) {
        let cache = item.sequence.cache;
        let dim = cache.shape().head_dim;
        let group = self.options.heads / cache.shape().kv_heads;
        let height = item.rows.next_power_of_two();
        let ew = &self.table.elementwise;
        state.max.fill(f32::NEG_INFINITY);
        state.total.fill(0.0);
        state.sums.iter_mut().take(height * dim).for_each(|s| *s = 0.0);

        let mut queries = [0.0; ROWS * MAX_HEAD_DIM];
        for (row, slot) in queries.chunks_exact_mut(dim).take(item.rows).enumerate() {
            let from = self.offset(item, row);
            for (slot, value) in slot.iter_mut().zip(self.queries.get(from..from + dim).unwrap_or_default()) {
                *slot = value * self.options.scale;
            }
        }
        let mut quantized = [0u8; ROWS * MAX_HEAD_DIM / RUN * panel::ROW_RUN_BYTES];
        if cache.format() == KvFormat::Q8 {
            for (row, values) in queries.chunks_exact(dim).take(height).enumerate() {
                // SAFETY: the panel has `height` rows of `dim` values, `dim` is at most `MAX_HEAD_DIM`.
                unsafe { (self.table.quantize_row)(values, height, row, quantized.as_mut_ptr()) };
            }
        }

        let mut position = from;
        while position < to {
            let count = BLOCK.min(to - position);
            let mut scores = [0.0f32; ROWS * BLOCK];
            for tile in 0..count.div_ceil(TILE_ROWS) {
                let keys = cache.key_tile(self.layer, item.kv_head, position / TILE_ROWS + tile);
                let Some(scores) = scores.get_mut(tile * TILE_ROWS..) else { break };
                if keys.is_empty() {
                    return;
                }
                // SAFETY: the tile holds 16 keys of `dim` dimensions in the cache's format, the queries (plain or as a
                // panel) have `height` rows, and `scores` has 16 places at each multiple of `BLOCK` from here on.
                unsafe {
                    match cache.format() {
                        KvFormat::F16 => by_height(&self.table.key_scores, height)(
                            queries.as_ptr(),
                            keys.as_ptr(),
                            dim,
                            scores.as_mut_ptr(),
                            BLOCK,
                        ),
                        KvFormat::Q8 => {
                            if let Some(kernels) = self.table.products(Format::Q8_0) {
                                by_height(kernels, height)(
                                    keys.as_ptr(),
                                    quantized.as_ptr(),
                                    dim / RUN,
                                    scores.as_mut_ptr(),
                                    BLOCK,
                                );
                            }
                        }
                    }
                }
            }
            let rows = scores.chunks_exact_mut(BLOCK).zip(state.sums.chunks_exact_mut(dim));
            let state_rows = state.max.iter_mut().zip(&mut state.total);
            for (row, ((scores, sums), (max, total))) in rows.zip(state_rows).enumerate().take(item.rows) {
                let (low, high) = visible(&item.sequence, &self.options, (item.first + row) / group);
                let low = low.saturating_sub(position).min(count);
                let high = high.saturating_sub(position).min(count).max(low);
                let (before, rest) = scores.split_at_mut(low);
                let (seen, after) = rest.split_at_mut(high - low);
                before.fill(0.0);
                after.fill(0.0);
                if seen.is_empty() {
                    continue;
                }
                // SAFETY: the table's functions may run on this processor.
                unsafe {
                    if let Some(cap) = self.options.soft_cap {
                        (ew.soft_cap)(seen, cap);
                    }
                    let highest = (ew.max)(seen);
                    if highest > *max {
                        let correction = (*max - highest).exp();
                        *max = highest;
                        *total *= correction;
                        (ew.scale)(sums, correction);
                    }
                    *total += (ew.exp_sum)(seen, *max);
                }
            }
            // SAFETY: `count` positions from `position` on are in the cache (checked by the caller), `scores` and `sums`
            // have `height` rows; `dim` is a multiple of what the format wants.
            unsafe {
                let values = cache.values(self.layer, item.kv_head, position, count);
                if values.len() != count * cache.value_bytes() {
                    return;
                }
                match cache.format() {
                    KvFormat::F16 => by_height(&self.table.value_sum, height)(
                        scores.as_ptr(),
                        BLOCK,
                        values.as_ptr(),
                        count,
                        dim,
                        state.sums.as_mut_ptr(),
                    ),
                    KvFormat::Q8 => {
                        let scales = cache.value_scales(self.layer, item.kv_head, position, count);
                        if scales.len() == count * dim / RUN {
                            by_height(&self.table.value_sum_q8, height)(
                                scores.as_ptr(),
                                BLOCK,
                                values.as_ptr(),
                                scales.as_ptr(),
                                count,
                                dim,
                                state.sums.as_mut_ptr(),
                            );
                        }
                    }
                }
            }
            position += BLOCK;
        }
    }

    /// Divides by the sums of weights and writes the rows of an item to the output.
    fn finish(&self, item: &Item<'_>, state: &Partial) {
        let dim = item.sequence.cache.shape().head_dim;
        for (row, (sums, total)) in state.sums.chunks_exact(dim).zip(state.total).enumerate().take(item.rows)
        {
            // SAFETY: an item's rows belong to it alone; of a split item only the joined state is written, once.
            let out = unsafe { self.out.slice(self.offset(item, row), dim) };
            let factor = 1.0 / total;
            out.iter_mut().zip(sums).for_each(|(o, s)| *o = s * factor);
        }
    }
}
