//! Reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009) and diversification by document.

use std::{collections::HashMap, hash::Hash};

/// One ranked list: keys best first, with what a place in it is worth.
pub(crate) struct Ranking<'a, K> {
    pub(crate) keys: &'a [K],
    pub(crate) weight: f32,
}

/// Fuses rankings: a key scores `Σ weight / (k + rank)`, rank from 1. Best first; equal scores keep the
/// order in which the keys were first seen, so that the result does not depend on hashing.
pub(crate) fn fuse<K: Copy + Eq + Hash>(rankings: &[Ranking<'_, K>], k: f32) -> Vec<(K, f32)> {
    let mut places: HashMap<K, usize> = HashMap::new();
    let mut fused: Vec<(K, f32)> = Vec::new();
    for ranking in rankings.iter().filter(|ranking| ranking.weight > 0.0) {
        for (index, &key) in ranking.keys.iter().enumerate() {
            let gain = ranking.weight / (k + (index + 1) as f32);
            let place = *places.entry(key).or_insert_with(|| {
                fused.push((key, 0.0));
                fused.len() - 1
            });
            if let Some((_, score)) = fused.get_mut(place) {
                *score += gain;
            }
        }
    }
    fused.sort_by(|a, b| b.1.total_cmp(&a.1));
    fused
}

/// Lowers the score of each further passage of one document by `decay` to the power of how many of its
/// passages stand before it, so that one long document does not fill the page. 1 changes nothing.
pub(crate) fn diversify<T, D: Eq + Hash>(items: &mut [(T, f32)], decay: f32, document: impl Fn(&T) -> D) {
    let mut seen: HashMap<D, i32> = HashMap::new();
    for (item, score) in items.iter_mut() {
        let before = seen.entry(document(item)).or_insert(0);
        *score *= decay.powi(*before);
        *before += 1;
    }
    items.sort_by(|a, b| b.1.total_cmp(&a.1));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranking(keys: &[u32], weight: f32) -> Ranking<'_, u32> {
        Ranking { keys, weight }
    }

    #[test]
    fn scores_are_the_published_formula() {
        let fused = fuse(&[ranking(&[7, 8], 1.0), ranking(&[8, 9], 1.0)], 60.0);
        let score = |key| fused.iter().find(|(found, _)| *found == key).unwrap().1;
        assert!((score(7) - 1.0 / 61.0).abs() < 1e-6);
        assert!((score(8) - (1.0 / 62.0 + 1.0 / 61.0)).abs() < 1e-6);
        assert!((score(9) - 1.0 / 62.0).abs() < 1e-6);
        assert_eq!(fused.first().unwrap().0, 8, "found by both stands before found by one");
    }

    #[test]
    fn a_weight_of_nothing_leaves_a_list_out() {
        let fused = fuse(&[ranking(&[1, 2], 1.0), ranking(&[3], 0.0)], 60.0);
        assert_eq!(fused.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn equal_scores_keep_their_order() {
        let fused = fuse(&[ranking(&[5], 1.0), ranking(&[4], 1.0), ranking(&[3], 1.0)], 10.0);
        assert_eq!(fused.iter().map(|(key, _)| *key).collect::<Vec<_>>(), [5, 4, 3]);
    }

    #[test]
    fn a_third_passage_of_one_document_makes_room_for_another_document() {
        let mut items = vec![("a1", 1.0), ("a2", 0.9), ("a3", 0.8), ("b1", 0.7)];
        diversify(&mut items, 0.9, |item| item.chars().next());
        let order: Vec<_> = items.iter().map(|(item, _)| *item).collect();
        assert_eq!(order, ["a1", "a2", "b1", "a3"]);
        let mut same = vec![("a1", 1.0), ("a2", 0.9), ("b1", 0.8)];
        diversify(&mut same, 1.0, |item| item.chars().next());
        assert_eq!(same.iter().map(|(item, _)| *item).collect::<Vec<_>>(), ["a1", "a2", "b1"]);
    }
}
