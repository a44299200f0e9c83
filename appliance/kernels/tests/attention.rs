//! Attention and the cache against a reference in double precision.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use cairn_kernels::synthetic::Random;
use cairn_kernels::{
    AttentionOptions, AttentionScratch, Compute, Isa, KernelError, KvCache, KvFormat, KvShape, Mask,
    PoolOptions, Sequence,
};
use common::*;

struct Story {
    kv_heads: usize,
    dim: usize,
    /// Positions in the cache before the queries, and queries, per sequence.
    sequences: Vec<(usize, usize)>,
    options: AttentionOptions,
}

fn options(heads: usize, dim: usize) -> AttentionOptions {
    AttentionOptions {
        heads,
        scale: 1.0 / (dim as f32).sqrt(),
        mask: Mask::Causal,
        window: None,
        soft_cap: None,
    }
}

/// Keys and values of a sequence as they were written, position after position.
struct Written {
    keys: Vec<f32>,
    values: Vec<f32>,
}

fn fill(compute: &Compute, cache: &mut KvCache, tokens: usize, step: usize, random: &mut Random) -> Written {
    let KvShape { layers, kv_heads, head_dim, .. } = cache.shape();
    let width = kv_heads * head_dim;
    let written = Written { keys: random.units(tokens * width), values: random.units(tokens * width) };
    let mut at = 0;
    while at < tokens {
        let count = step.min(tokens - at);
        let range = at * width..(at + count) * width;
        for layer in 0..layers {
            cache
                .write(compute, layer, &written.keys[range.clone()], &written.values[range.clone()], count)
                .unwrap();
        }
        cache.advance(count).unwrap();
        at += count;
    }
    written
}

/// Softmax attention, straight from its definition.
fn wanted(story: &Story, queries: &[f32], written: &[Written]) -> Vec<f64> {
    let Story { kv_heads, dim, options, .. } = story;
    let heads = &options.heads;
    let mut out = Vec::new();
    let mut row = 0;
    for ((before, count), written) in story.sequences.iter().zip(written) {
        for query in 0..*count {
            for head in 0..*heads {
                let kv = head / (heads / kv_heads);
                let q = &queries[(row * heads + head) * dim..][..*dim];
                let of = |x: &[f32], p: usize, d: usize| f64::from(x[(p * kv_heads + kv) * dim + d]);
                let own = before + query;
                let seen: Vec<usize> = (0..before + count)
                    .filter(|p| match options.mask {
                        Mask::Full => true,
                        Mask::Causal => *p <= own && options.window.is_none_or(|w| p + w > own),
                    })
                    .collect();
                let scores: Vec<f64> = seen
                    .iter()
                    .map(|p| {
                        let dot: f64 = (0..*dim).map(|d| f64::from(q[d]) * of(&written.keys, *p, d)).sum();
                        let score = dot * f64::from(options.scale);
                        options.soft_cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                    })
                    .collect();
                let highest = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
                let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
                let total: f64 = weights.iter().sum();
                for d in 0..*dim {
                    let sum: f64 =
                        weights.iter().zip(&seen).map(|(w, p)| w * of(&written.values, *p, d)).sum();
                    out.push(sum / total);
                }
            }
            row += 1;
        }
    }
    out
}

fn check(story: &Story, format: KvFormat, tolerance: f64, threads: usize) {
    for compute in computes(threads) {
        let mut random = Random::new(42);
        let mut caches = Vec::new();
        let mut written = Vec::new();
        for (i, (before, count)) in story.sequences.iter().enumerate() {
            let shape = KvShape {
                layers: 2,
                kv_heads: story.kv_heads,
                head_dim: story.dim,
                capacity: before + count + i,
            };
            let mut cache = KvCache::new(shape, format).unwrap();
            written.push(fill(&compute, &mut cache, before + count, 5, &mut random));
            caches.push(cache);
        }
        let sequences: Vec<Sequence<'_>> = story
            .sequences
            .iter()
            .zip(&caches)
            .map(|((start, count), cache)| Sequence { cache, start: *start, count: *count })
            .collect();
        let rows: usize = story.sequences.iter().map(|s| s.1).sum();
        let queries: Vec<f32> =
            random.units(rows * story.options.heads * story.dim).iter().map(|q| q * 3.0).collect();
        let mut out = vec![f32::NAN; queries.len()];
        let mut scratch = AttentionScratch::default();
        compute.attention(1, &sequences, &story.options, &queries, &mut out, &mut scratch).unwrap();
        for (i, (found, wanted)) in out.iter().zip(wanted(story, &queries, &written)).enumerate() {
            let error = (f64::from(*found) - wanted).abs();
            assert!(error <= tolerance, "{} {format:?} value {i}: {found}, wanted {wanted}", compute.isa());
        }
    }
}

/// Keys and values below 1 are stored with an error of up to 2^−12 (f16), or 1 / 254 (8 bits).
const F16: f64 = 2e-3;
const Q8: f64 = 5e-2;

#[test]
fn decode_agrees_at_every_depth() {
    for depth in [0, 1, 15, 16, 63, 64, 65, 300] {
        let story = Story { kv_heads: 2, dim: 64, sequences: vec![(depth, 1)], options: options(6, 64) };
        check(&story, KvFormat::F16, F16, 2);
        check(&story, KvFormat::Q8, Q8, 2);
    }
}

#[test]
fn long_contexts_are_split_over_threads_and_joined() {
    let story = Story { kv_heads: 1, dim: 32, sequences: vec![(900, 1)], options: options(4, 32) };
    check(&story, KvFormat::F16, F16, 5);
    check(&story, KvFormat::Q8, Q8, 5);
}

#[test]
fn prefill_is_causal() {
    for (before, count) in [(0, 1), (0, 20), (7, 33), (100, 65)] {
        let story = Story { kv_heads: 4, dim: 32, sequences: vec![(before, count)], options: options(4, 32) };
        check(&story, KvFormat::F16, F16, 3);
        check(&story, KvFormat::Q8, Q8, 3);
    }
}

#[test]
fn head_dimensions_of_the_model_families() {
    for dim in [32, 64, 96, 128, 256] {
        let story = Story { kv_heads: 1, dim, sequences: vec![(20, 3)], options: options(3, dim) };
        check(&story, KvFormat::F16, F16, 2);
        check(&story, KvFormat::Q8, Q8, 2);
    }
    let story = Story { kv_heads: 5, dim: 80, sequences: vec![(20, 3)], options: options(5, 80) };
    check(&story, KvFormat::F16, F16, 2);
}

#[test]
fn windows_and_caps() {
    for window in [1, 5, 16, 40, 1000] {
        let options = AttentionOptions { window: Some(window), soft_cap: Some(2.0), ..options(2, 32) };
        check(&Story { kv_heads: 1, dim: 32, sequences: vec![(70, 30)], options }, KvFormat::F16, F16, 2);
    }
}

#[test]
fn encoders_see_everything() {
    let options = AttentionOptions { mask: Mask::Full, ..options(12, 32) };
    check(&Story { kv_heads: 12, dim: 32, sequences: vec![(0, 45), (0, 3)], options }, KvFormat::F16, F16, 2);
}

#[test]
fn sequences_of_a_batch_do_not_mix() {
    let sequences = vec![(400, 1), (3, 1), (0, 9), (17, 2)];
    let story = Story { kv_heads: 2, dim: 32, sequences, options: options(6, 32) };
    check(&story, KvFormat::F16, F16, 3);
    check(&story, KvFormat::Q8, Q8, 3);
}

#[test]
fn a_truncated_cache_forgets_and_goes_on() {
    let compute = Compute::new(cairn_kernels::PoolOptions { threads: 2, pinned: false }).unwrap();
    let shape = KvShape { layers: 1, kv_heads: 2, head_dim: 32, capacity: 64 };
    for format in [KvFormat::F16, KvFormat::Q8] {
        let (mut straight, mut corrected) =
            (KvCache::new(shape, format).unwrap(), KvCache::new(shape, format).unwrap());
        fill(&compute, &mut straight, 40, 40, &mut Random::new(1));
        let mut random = Random::new(1);
        let kept = Written { keys: random.units(40 * 64), values: random.units(40 * 64) };
        corrected.write(&compute, 0, &kept.keys[..20 * 64], &kept.values[..20 * 64], 20).unwrap();
        corrected.advance(20).unwrap();
        fill(&compute, &mut corrected, 13, 4, &mut Random::new(99));
        corrected.truncate(20);
        corrected.write(&compute, 0, &kept.keys[20 * 64..], &kept.values[20 * 64..], 20).unwrap();
        corrected.advance(20).unwrap();
        assert_eq!(attend(&compute, &straight), attend(&compute, &corrected), "{format:?}");
    }
}

/// The output of one fixed query over a whole cache.
fn attend(compute: &Compute, cache: &KvCache) -> Vec<f32> {
    let shape = cache.shape();
    let queries = Random::new(5).units(shape.kv_heads * shape.head_dim);
    let mut out = vec![0.0; queries.len()];
    let sequence = Sequence { cache, start: cache.len() - 1, count: 1 };
    let options = options(shape.kv_heads, shape.head_dim);
    let mut scratch = AttentionScratch::default();
    compute.attention(0, &[sequence], &options, &queries, &mut out, &mut scratch).unwrap();
    out
}

#[test]
fn prefixes_can_be_copied_saved_and_loaded() {
    let compute = Compute::new(cairn_kernels::PoolOptions { threads: 2, pinned: false }).unwrap();
    let shape = KvShape { layers: 3, kv_heads: 2, head_dim: 32, capacity: 70 };
    for format in [KvFormat::F16, KvFormat::Q8] {
        let mut source = KvCache::new(shape, format).unwrap();
        fill(&compute, &mut source, 50, 50, &mut Random::new(3));
        for len in [1, 16, 37, 50] {
            let mut cut = KvCache::new(shape, format).unwrap();
            cut.copy_prefix(&source, len).unwrap();
            let mut roomier = KvCache::new(KvShape { capacity: 200, ..shape }, format).unwrap();
            fill(&compute, &mut roomier, 90, 30, &mut Random::new(8));
            roomier.copy_prefix(&source, len).unwrap();
            let mut file = Vec::new();
            source.save_prefix(len, &mut file).unwrap();
            assert_eq!(file.len(), source.prefix_len_bytes(len));
            let mut loaded = KvCache::new(KvShape { capacity: 64, ..shape }, format).unwrap();
            loaded.load_prefix(len, &mut file.as_slice()).unwrap();
            source.truncate(50);
            let mut straight = KvCache::new(shape, format).unwrap();
            straight.copy_prefix(&source, 50).unwrap();
            straight.truncate(len);
            let wanted = attend(&compute, &straight);
            for cache in [&cut, &roomier, &loaded] {
                assert_eq!(cache.len(), len);
                assert_eq!(attend(&compute, cache), wanted, "{format:?}, {len} positions");
            }
            assert!(loaded.load_prefix(len, &mut &file[1..]).is_err(), "a short file is noticed");
            assert!(loaded.is_empty());
            assert!(loaded.load_prefix(65, &mut file.as_slice()).is_err());
        }
        assert!(matches!(cut_too_much(&source, shape, format), Err(KernelError::OutOfRange { .. })));
    }
}

fn cut_too_much(source: &KvCache, shape: KvShape, format: KvFormat) -> Result<(), KernelError> {
    KvCache::new(shape, format)?.copy_prefix(source, 51)
}

#[test]
fn arguments_that_do_not_fit_are_typed_errors() {
    let compute = Compute::new(cairn_kernels::PoolOptions { threads: 1, pinned: false }).unwrap();
    let shape = KvShape { layers: 1, kv_heads: 2, head_dim: 32, capacity: 8 };
    for bad in [
        KvShape { layers: 0, ..shape },
        KvShape { kv_heads: 0, ..shape },
        KvShape { head_dim: 0, ..shape },
        KvShape { head_dim: 512, ..shape },
        KvShape { capacity: usize::MAX, ..shape },
        KvShape { head_dim: 40, ..shape },
    ] {
        assert!(KvCache::new(bad, KvFormat::F16).is_err(), "{bad:?}");
    }
    assert!(KvCache::new(KvShape { head_dim: 48, ..shape }, KvFormat::Q8).is_err());
    let mut cache = KvCache::new(shape, KvFormat::F16).unwrap();
    let x = vec![0.0; 9 * 64];
    assert!(matches!(cache.write(&compute, 0, &x, &x, 9), Err(KernelError::OutOfRange { .. })));
    assert!(matches!(cache.write(&compute, 1, &x[..64], &x[..64], 1), Err(KernelError::OutOfRange { .. })));
    assert!(matches!(cache.write(&compute, 0, &x[..63], &x[..63], 1), Err(KernelError::Shape { .. })));
    assert!(matches!(cache.advance(9), Err(KernelError::OutOfRange { .. })));
    let mut out = vec![0.0; 9 * 64];
    let mut attend = |start, count, heads, len: usize| {
        let sequence = Sequence { cache: &cache, start, count };
        let mut scratch = AttentionScratch::default();
        compute.attention(0, &[sequence], &options(heads, 32), &x[..len], &mut out[..len], &mut scratch)
    };
    assert!(matches!(attend(8, 1, 2, 64), Err(KernelError::OutOfRange { .. })));
    assert!(matches!(attend(usize::MAX, 1, 2, 64), Err(KernelError::OutOfRange { .. })));
    assert!(matches!(attend(0, 1, 3, 96), Err(KernelError::Shape { .. })));
    assert!(matches!(attend(0, 1, 0, 0), Err(KernelError::Shape { .. })));
    assert!(matches!(attend(0, 1, 2, 63), Err(KernelError::Shape { .. })));
    assert_eq!(attend(0, 1, 2, 64), Ok(()));
}

/// What drafts rest on: a query's result does not depend on what else is in the call, nor on the threads.
#[test]
fn a_query_alone_gives_the_same_bits_as_in_a_batch() {
    let (kv_heads, heads, dim, tokens) = (2, 6, 32, 600);
    for format in [KvFormat::F16, KvFormat::Q8] {
        for isa in Isa::available() {
            for window in [None, Some(70)] {
                let options = AttentionOptions { window, ..options(heads, dim) };
                let mut results = Vec::new();
                for threads in [1, 4] {
                    let compute = Compute::with_isa(PoolOptions { threads, pinned: false }, isa).unwrap();
                    let mut random = Random::new(8);
                    let shape = KvShape { layers: 1, kv_heads, head_dim: dim, capacity: tokens };
                    let mut cache = KvCache::new(shape, format).unwrap();
                    fill(&compute, &mut cache, tokens, 50, &mut random);
                    let queries = random.units(tokens * heads * dim);
                    for step in [1, 5, 600] {
                        let mut out = vec![0.0; queries.len()];
                        let width = step * heads * dim;
                        let pieces = queries.chunks_exact(width).zip(out.chunks_exact_mut(width));
                        for (index, (queries, out)) in pieces.enumerate() {
                            let sequence = Sequence { cache: &cache, start: index * step, count: step };
                            let mut scratch = AttentionScratch::default();
                            compute.attention(0, &[sequence], &options, queries, out, &mut scratch).unwrap();
                        }
                        results.push(out.iter().map(|value| value.to_bits()).collect::<Vec<u32>>());
                    }
                }
                assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{format:?} {isa} {window:?}");
            }
        }
    }
}
