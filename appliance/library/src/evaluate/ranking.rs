//! Recall and reciprocal rank of words, meaning and both; the fusion parameters that do best on the tuning half.

use std::fmt;

use cairn_store::{PassageId, Scored};

use super::{corpus::Source, questions::Outcome};
use crate::{
    parameters::{FUSION, Fusion},
    search::{diversify, rank},
};

/// How well one ranking does on a set of questions, each figure from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    /// Questions.
    pub questions: usize,
    /// Share with a right passage in the first place.
    pub recall_1: f64,
    /// Share with a right passage among the first five.
    pub recall_5: f64,
    /// Share with a right passage among the first ten.
    pub recall_10: f64,
    /// Mean of 1 / place of the first right passage, 0 beyond the tenth.
    pub mrr: f64,
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { questions, recall_1, recall_5, recall_10, mrr } = self;
        write!(f, "{questions:>5} {recall_1:>7.3} {recall_5:>7.3} {recall_10:>7.3} {mrr:>7.3}")
    }
}

/// One set of questions, by all three ways.
#[derive(Debug, Clone)]
pub struct SetReport {
    /// Which set and half.
    pub name: String,
    /// BM25 alone.
    pub words: Quality,
    /// Embeddings alone.
    pub meaning: Quality,
    /// Fused with the parameters in use.
    pub hybrid: Quality,
    /// Fused with the parameters that do best on the tuning half.
    pub tuned: Quality,
}

/// Search quality, and the best parameters found.
#[derive(Debug, Clone)]
pub struct RankingReport {
    /// Tuning half first, then the held-out one, then its parts.
    pub sets: Vec<SetReport>,
    /// Best on the tuning half by mean reciprocal rank plus recall at 5.
    pub best: Fusion,
}

impl RankingReport {
    /// Whether fusion in use beats either part alone on the held-out half, by reciprocal rank and recall at 5.
    #[must_use]
    pub fn hybrid_wins(&self) -> bool {
        self.sets.iter().find(|set| set.name == HELD_OUT).is_some_and(|set| {
            [set.words, set.meaning]
                .iter()
                .all(|part| set.hybrid.mrr > part.mrr && set.hybrid.recall_5 >= part.recall_5)
        })
    }
}

const HELD_OUT: &str = "held out";

impl fmt::Display for RankingReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28} {:<9} {:>4} {:>7} {:>7} {:>7} {:>7}",
            "set", "ranking", "n", "R@1", "R@5", "R@10", "MRR"
        )?;
        for set in &self.sets {
            for (name, quality) in
                [("words", set.words), ("meaning", set.meaning), ("hybrid", set.hybrid), ("tuned", set.tuned)]
            {
                writeln!(f, "{:<28} {name:<9}{quality}", set.name)?;
            }
        }
        writeln!(f, "in use: {FUSION:?}")?;
        writeln!(f, "best on the tuning half: {:?}", self.best)
    }
}

/// Tries every combination on the tuning half.
pub(super) fn tune(outcomes: &[Outcome]) -> RankingReport {
    let answerable: Vec<&Outcome> =
        outcomes.iter().filter(|outcome| outcome.source != Source::Unanswerable).collect();
    let tuning: Vec<&Outcome> = answerable.iter().copied().filter(|outcome| outcome.tune).collect();
    let held_out: Vec<&Outcome> = answerable.iter().copied().filter(|outcome| !outcome.tune).collect();
    let mut best = (f64::MIN, FUSION);
    for k in [2.0, 5.0, 10.0, 20.0, 40.0, 60.0] {
        for meaning in [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0] {
            for other_language in [0.1, 0.3, 0.6, 1.0] {
                for decay in [1.0, 0.97, 0.94, 0.9] {
                    let fusion = Fusion { k, words: 1.0, meaning, other_language, decay, ..FUSION };
                    let quality = quality(&tuning, |outcome| hybrid(outcome, &fusion));
                    let value = quality.mrr + quality.recall_5;
                    if value > best.0 + 1e-9 {
                        best = (value, fusion);
                    }
                }
            }
        }
    }
    let of = |source| held_out.iter().copied().filter(|outcome| outcome.source == source).collect::<Vec<_>>();
    let sets = [
        ("tuning", tuning.clone()),
        (HELD_OUT, held_out.clone()),
        ("held out, FAQ", of(Source::Faq)),
        ("held out, sample library", of(Source::Sample)),
    ];
    let sets = sets.into_iter().map(|(name, set)| SetReport {
        name: name.to_owned(),
        words: quality(&set, |outcome| ids(&outcome.words)),
        meaning: quality(&set, |outcome| ids(&outcome.meaning)),
        hybrid: quality(&set, |outcome| hybrid(outcome, &FUSION)),
        tuned: quality(&set, |outcome| hybrid(outcome, &best.1)),
    });
    RankingReport { sets: sets.collect(), best: best.1 }
}

fn ids(hits: &[Scored]) -> Vec<PassageId> {
    hits.iter().map(|hit| hit.passage).collect()
}

fn hybrid(outcome: &Outcome, fusion: &Fusion) -> Vec<PassageId> {
    let mut ranked = rank(&outcome.words, &outcome.meaning, fusion, outcome.language);
    diversify(&mut ranked, fusion.decay, |id| outcome.documents.get(id).copied());
    ranked.into_iter().map(|(id, _)| id).collect()
}

fn quality(set: &[&Outcome], ranking: impl Fn(&Outcome) -> Vec<PassageId>) -> Quality {
    let places: Vec<Option<usize>> = set
        .iter()
        .map(|outcome| ranking(outcome).iter().position(|id| outcome.right.contains(id)).map(|at| at + 1))
        .collect();
    quality_of(&places)
}

/// From the place of the first right passage of each question, from 1.
fn quality_of(places: &[Option<usize>]) -> Quality {
    let questions = places.len();
    let share = |count: usize| count as f64 / questions.max(1) as f64;
    let within = |limit: usize| share(places.iter().flatten().filter(|place| **place <= limit).count());
    let mrr =
        places.iter().flatten().filter(|place| **place <= 10).map(|place| 1.0 / *place as f64).sum::<f64>();
    Quality {
        questions,
        recall_1: within(1),
        recall_5: within(5),
        recall_10: within(10),
        mrr: mrr / questions.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_the_published_definitions() {
        let quality = quality_of(&[Some(1), Some(2), Some(7), None, Some(11)]);
        assert_eq!(quality.questions, 5);
        assert!((quality.recall_1 - 0.2).abs() < 1e-9);
        assert!((quality.recall_5 - 0.4).abs() < 1e-9);
        assert!((quality.recall_10 - 0.6).abs() < 1e-9);
        assert!((quality.mrr - (1.0 + 0.5 + 1.0 / 7.0) / 5.0).abs() < 1e-9);
    }
}
