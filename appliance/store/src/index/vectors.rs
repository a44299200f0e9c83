//! Embeddings in memory: 8-bit rows in one block, scanned whole. At 50,000 passages that is 19 MB and a few
//! milliseconds, without an index structure that would have to be kept right.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use crate::error::{Result, StoreError};

/// Numbers in one embedding.
pub const DIMENSIONS: usize = 384;

/// Products are summed in lanes of this many, a shape that compilers turn into vector instructions.
const LANES: usize = 32;

/// An embedding as stored: whole numbers from −127 to 127 times a scale.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantized {
    pub(crate) scale: f32,
    pub(crate) row: Vec<i8>,
}

impl Quantized {
    pub(crate) fn of(embedding: &[f32]) -> Result<Self> {
        if embedding.len() != DIMENSIONS || embedding.iter().any(|x| !x.is_finite()) {
            return Err(StoreError::invalid(format!("An embedding is {DIMENSIONS} finite numbers.")));
        }
        let largest = embedding.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        #[allow(clippy::cast_possible_truncation)] // |x / scale| ≤ 127 by construction
        let row = embedding.iter().map(|x| (x / scale).round() as i8).collect();
        Ok(Self { scale, row })
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.row.iter().map(|x| x.cast_unsigned()).collect()
    }
}

#[derive(Default)]
struct Table {
    ids: Vec<i64>,
    scales: Vec<f32>,
    rows: Vec<i8>,
    place: HashMap<i64, usize>,
}

/// Every embedding of the index.
#[derive(Default)]
pub(crate) struct Vectors(RwLock<Table>);

impl Vectors {
    pub(crate) fn len(&self) -> usize {
        self.0.read().unwrap_or_else(PoisonError::into_inner).ids.len()
    }

    pub(crate) fn put(&self, id: i64, embedding: &Quantized) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Table { ids, scales, rows, place } = &mut *table;
        if let Some(at) = place.get(&id).copied() {
            if let (Some(row), Some(scale)) =
                (rows.get_mut(at * DIMENSIONS..(at + 1) * DIMENSIONS), scales.get_mut(at))
            {
                row.copy_from_slice(&embedding.row);
                *scale = embedding.scale;
            }
            return;
        }
        place.insert(id, ids.len());
        ids.push(id);
        scales.push(embedding.scale);
        rows.extend_from_slice(&embedding.row);
    }

    /// From the stored form; a row of another length is left out and counted as missing.
    pub(crate) fn put_stored(&self, id: i64, scale: f32, bytes: &[u8]) {
        if bytes.len() == DIMENSIONS && scale.is_finite() {
            self.put(id, &Quantized { scale, row: bytes.iter().map(|b| b.cast_signed()).collect() });
        }
    }

    pub(crate) fn remove(&self, ids: &[i64]) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            let Some(at) = table.place.remove(id) else { continue };
            let last = table.ids.len() - 1;
            table.ids.swap_remove(at);
            table.scales.swap_remove(at);
            table.rows.copy_within(last * DIMENSIONS..(last + 1) * DIMENSIONS, at * DIMENSIONS);
            table.rows.truncate(last * DIMENSIONS);
            if let Some(moved) = table.ids.get(at).copied() {
                table.place.insert(moved, at);
            }
        }
    }

    /// The similarity of every embedding to `query`, unordered.
    pub(crate) fn scan(&self, query: &Quantized) -> Vec<(f32, i64)> {
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let rows = table.rows.chunks_exact(DIMENSIONS);
        #[allow(clippy::cast_precision_loss)] // |dot| ≤ 384·127² < 2²³
        let score = |row: &[i8], scale: f32| dot(row, &query.row) as f32 * scale * query.scale;
        rows.zip(&table.scales).zip(&table.ids).map(|((row, scale), id)| (score(row, *scale), *id)).collect()
    }
}

fn dot(one: &[i8], other: &[i8]) -> i32 {
    let lane = |(x, y): (&[i8], &[i8])| {
        x.iter().zip(y).map(|(x, y)| i32::from(i16::from(*x) * i16::from(*y))).sum::<i32>()
    };
    one.chunks_exact(LANES).zip(other.chunks_exact(LANES)).map(lane).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A unit vector that `seed` alone decides.
    pub(crate) fn unit(seed: u64) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut vector: Vec<f32> = (0..DIMENSIONS)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 40) as f32 / (1 << 24) as f32 - 0.5
            })
            .collect();
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vector.iter_mut().for_each(|x| *x /= length);
        vector
    }

    #[test]
    fn similarity_is_within_a_hundredth_of_the_exact_one() {
        let vectors = Vectors::default();
        for seed in 0..200 {
            vectors.put(seed, &Quantized::of(&unit(seed as u64)).unwrap());
        }
        let query = unit(17);
        for (score, id) in vectors.scan(&Quantized::of(&query).unwrap()) {
            let exact: f32 = unit(id as u64).iter().zip(&query).map(|(x, y)| x * y).sum();
            assert!((score - exact).abs() < 0.01, "{id}: {score} for {exact}");
        }
    }

    #[test]
    fn removal_keeps_the_others_in_place() {
        let vectors = Vectors::default();
        (0..10).for_each(|id| vectors.put(id, &Quantized::of(&unit(id as u64)).unwrap()));
        vectors.remove(&[0, 9, 4, 77]);
        assert_eq!(vectors.len(), 7);
        for id in [1, 2, 3, 5, 6, 7, 8] {
            let found = vectors.scan(&Quantized::of(&unit(id as u64)).unwrap());
            let best = found.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
            assert_eq!(best.1, id);
        }
    }

    #[test]
    fn what_is_no_embedding_is_refused() {
        assert!(Quantized::of(&[0.5; 3]).is_err());
        assert!(Quantized::of(&[f32::NAN; DIMENSIONS]).is_err());
        assert_eq!(Quantized::of(&[0.0; DIMENSIONS]).unwrap().row, vec![0; DIMENSIONS]);
    }
}
