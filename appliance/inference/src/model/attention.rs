//! Attention of a few queries over a cache, with the softmax taken while the keys pass by (Milakov and Gimelshein, 2018),
//! so that no matrix of scores is ever stored.

use half::{f16, slice::HalfFloatSliceExt};
use rayon::prelude::*;

use super::Config;

/// Keys and values that are converted and used together: they stay in the first-level cache.
const BLOCK: usize = 32;
/// Queries of neighbouring positions that share a block of keys.
const ROWS: usize = 8;

/// What one call computes: queries of consecutive positions, the first of which is `first`.
pub(super) struct Attention<'a> {
    pub(super) config: &'a Config,
    pub(super) queries: &'a [f32],
    pub(super) keys: &'a [f16],
    pub(super) values: &'a [f16],
    pub(super) first: usize,
    pub(super) window: Option<usize>,
}

impl Attention<'_> {
    /// Fills `out`, of the same shape as the queries.
    pub(super) fn run(&self, out: &mut [f32]) {
        let head = self.config.head;
        let group = self.config.heads / self.config.kv_heads;
        let query_width = self.config.query_width();
        let count = self.queries.len() / query_width;
        let tasks: Vec<(usize, usize)> = (0..count)
            .step_by(ROWS)
            .flat_map(|row| (0..self.config.kv_heads).map(move |kv_head| (row, kv_head)))
            .collect();
        let results: Vec<Vec<f32>> = tasks
            .par_iter()
            .map(|(row, kv_head)| self.block(*row, (count - row).min(ROWS), *kv_head, group))
            .collect();
        for ((row, kv_head), result) in tasks.iter().zip(results) {
            for (index, part) in result.chunks_exact(group * head).enumerate() {
                let start = (row + index) * query_width + kv_head * group * head;
                if let Some(place) = out.get_mut(start..start + group * head) {
                    place.copy_from_slice(part);
                }
            }
        }
    }

    /// The heads of one key head for `rows` queries from `row` on.
    fn block(&self, row: usize, rows: usize, kv_head: usize, group: usize) -> Vec<f32> {
        let head = self.config.head;
        let scale = 1.0 / (head as f32).sqrt();
        let heads = rows * group;
        let mut sums = vec![0.0_f32; heads * head];
        let mut state = vec![(f32::NEG_INFINITY, 0.0_f32); heads];
        let mut keys = vec![0.0_f32; BLOCK * head];
        let mut values = vec![0.0_f32; BLOCK * head];
        let last = self.first + row + rows;
        let start = self.window.map_or(0, |window| (self.first + row + 1).saturating_sub(window));
        for block in (start..last).step_by(BLOCK) {
            let length = BLOCK.min(last - block);
            self.convert(self.keys, block, length, kv_head, &mut keys);
            self.convert(self.values, block, length, kv_head, &mut values);
            for index in 0..heads {
                let position = self.first + row + index / group;
                let from = self.window.map_or(0, |window| (position + 1).saturating_sub(window)).max(block);
                let to = (position + 1).min(block + length);
                if from >= to {
                    continue;
                }
                let query_start = (row + index / group) * self.config.query_width()
                    + (kv_head * group + index % group) * head;
                let (Some(query), Some(sum), Some(state)) = (
                    self.queries.get(query_start..query_start + head),
                    sums.get_mut(index * head..(index + 1) * head),
                    state.get_mut(index),
                ) else {
                    continue;
                };
                let range = (from - block) * head..(to - block) * head;
                let (Some(keys), Some(values)) = (keys.get(range.clone()), values.get(range)) else {
                    continue;
                };
                accumulate(query, keys, values, scale, state, sum);
            }
        }
        for (sum, (_, total)) in sums.chunks_exact_mut(head).zip(&state) {
            sum.iter_mut().for_each(|value| *value /= total);
        }
        sums
    }

    fn convert(&self, from: &[f16], block: usize, length: usize, kv_head: usize, to: &mut [f32]) {
        let (head, width) = (self.config.head, self.config.kv_width());
        for (index, place) in to.chunks_exact_mut(head).take(length).enumerate() {
            let start = (block + index) * width + kv_head * head;
            if let Some(stored) = from.get(start..start + head) {
                stored.convert_to_f32_slice(place);
            }
        }
    }
}

/// Adds the keys of a block to one query's running softmax: `state` is the greatest score and the sum of weights so far.
fn accumulate(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    scale: f32,
    state: &mut (f32, f32),
    sum: &mut [f32],
) {
    let head = query.len();
    let mut scores = [0.0_f32; BLOCK];
    let mut greatest = state.0;
    let mut count = 0;
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(head)) {
        *score = dot(query, key) * scale;
        greatest = greatest.max(*score);
        count += 1;
    }
    let correction = (state.0 - greatest).exp();
    if correction < 1.0 {
        sum.iter_mut().for_each(|value| *value *= correction);
    }
    let mut total = state.1 * correction;
    for (score, value) in scores.iter().take(count).zip(values.chunks_exact(head)) {
        let weight = (score - greatest).exp();
        total += weight;
        for (sum, value) in sum.iter_mut().zip(value) {
            *sum += weight * value;
        }
    }
    *state = (greatest, total);
}

/// Sum of products in eight lanes, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut lanes = [0.0_f32; LANES];
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_lanes.zip(b_lanes) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum::<f32>() + rest
}
