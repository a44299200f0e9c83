//! The verdict's weights and threshold, from questions with and without an answer in the library.

use std::fmt;

use super::{corpus::Source, questions::Outcome};
use crate::{
    ask::{Evidence, with},
    parameters::{VERDICT, VERDICT_BY_WORDS, VerdictModel},
};

/// Which evidence is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Features {
    /// Words and embeddings.
    WithMeaning,
    /// Words alone.
    WordsOnly,
}

/// One threshold with its errors on the held-out half.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// The threshold.
    pub threshold: f32,
    /// Share of answerable questions that are refused.
    pub false_refusals: f64,
    /// Share of unanswerable questions that are not refused.
    pub false_answers: f64,
}

/// A fitted model, its errors, and the errors of the model in use.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// Fitted on the tuning half.
    pub fitted: VerdictModel,
    /// In use now.
    pub in_use: VerdictModel,
    /// The fitted model's errors by threshold on the held-out half.
    pub curve: Vec<CurvePoint>,
    /// The fitted model at its threshold, held out.
    pub held_out: CurvePoint,
    /// The model in use at its threshold, held out.
    pub in_use_held_out: CurvePoint,
    /// Held-out questions with an answer.
    pub answerable: usize,
    /// Held-out questions without one.
    pub unanswerable: usize,
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "held out: {} answerable, {} unanswerable", self.answerable, self.unanswerable)?;
        writeln!(f, "threshold  false refusals  false answers")?;
        for point in &self.curve {
            writeln!(
                f,
                "{:>9.2} {:>15.3} {:>14.3}",
                point.threshold, point.false_refusals, point.false_answers
            )?;
        }
        let line = |point: &CurvePoint| {
            format!(
                "threshold {:.2}: false refusals {:.3}, false answers {:.3}",
                point.threshold, point.false_refusals, point.false_answers
            )
        };
        writeln!(f, "in use: {:?}\n  {}", self.in_use, line(&self.in_use_held_out))?;
        writeln!(f, "fitted: {:?}\n  {}", self.fitted, line(&self.held_out))
    }
}

/// One example: what was found, and whether it was an answer.
struct Example {
    evidence: Evidence,
    answerable: bool,
}

/// Fits on the tuning half; reports on the other.
pub(super) fn calibrate(outcomes: &[Outcome], features: Features) -> Calibration {
    let tuning = examples(outcomes, features, true);
    let held_out = examples(outcomes, features, false);
    let mut fitted = fit(&tuning, features);
    fitted.threshold = best_threshold(&fitted, &tuning);
    let in_use = match features {
        Features::WithMeaning => VERDICT,
        Features::WordsOnly => VERDICT_BY_WORDS,
    };
    Calibration {
        curve: thresholds().map(|threshold| point(&fitted, threshold, &held_out)).collect(),
        held_out: point(&fitted, fitted.threshold, &held_out),
        in_use_held_out: point(&in_use, in_use.threshold, &held_out),
        answerable: held_out.iter().filter(|example| example.answerable).count(),
        unanswerable: held_out.iter().filter(|example| !example.answerable).count(),
        fitted,
        in_use,
    }
}

/// The sample library's own questions, and the FAQs' as further answerable ones. A question whose answering
/// document was left out of the index counts as unanswerable.
fn examples(outcomes: &[Outcome], features: Features, tune: bool) -> Vec<Example> {
    let pick = |both: (Evidence, Evidence)| match features {
        Features::WithMeaning => both.0,
        Features::WordsOnly => both.1,
    };
    let mut examples = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.tune == tune) {
        let evidence = pick((outcome.evidence, outcome.evidence_by_words));
        examples.push(Example { evidence, answerable: outcome.source != Source::Unanswerable });
        if let Some(without) = outcome.without {
            examples.push(Example { evidence: pick(without), answerable: false });
        }
    }
    examples
}

/// Logistic regression by gradient descent, both classes weighing the same, weights never negative: more
/// evidence must not make an answer less likely.
fn fit(examples: &[Example], features: Features) -> VerdictModel {
    const STEPS: usize = 20_000;
    const RATE: f64 = 0.5;
    const SHRINK: f64 = 1e-4;
    let positives = examples.iter().filter(|example| example.answerable).count().max(1) as f64;
    let negatives = (examples.len() as f64 - positives).max(1.0);
    let rows: Vec<([f64; 3], f64, f64)> = examples
        .iter()
        .map(|example| {
            let evidence = &example.evidence;
            let cosine = f64::from(evidence.cosine.unwrap_or(0.0));
            let sentence = evidence.sentence.map_or(cosine, f64::from);
            let row = match features {
                Features::WithMeaning => [cosine, f64::from(evidence.coverage), sentence],
                Features::WordsOnly => [0.0, f64::from(evidence.coverage), 0.0],
            };
            if example.answerable { (row, 1.0, 0.5 / positives) } else { (row, 0.0, 0.5 / negatives) }
        })
        .collect();
    let (mut bias, mut weights) = (0.0_f64, [0.0_f64; 3]);
    for _ in 0..STEPS {
        let (mut bias_slope, mut slopes) = (0.0, [0.0; 3]);
        for (row, label, importance) in &rows {
            let sum: f64 = bias + row.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f64>();
            let error = importance * (1.0 / (1.0 + (-sum).exp()) - label);
            bias_slope += error;
            for (slope, value) in slopes.iter_mut().zip(row) {
                *slope += error * value;
            }
        }
        bias -= RATE * bias_slope;
        for (weight, slope) in weights.iter_mut().zip(slopes) {
            *weight = (*weight - RATE * (slope + SHRINK * *weight)).max(0.0);
        }
    }
    let [cosine, coverage, sentence] = weights.map(|weight| weight as f32);
    VerdictModel { bias: bias as f32, cosine, coverage, sentence, threshold: 0.5 }
}

fn thresholds() -> impl Iterator<Item = f32> {
    (1_u8..20).map(|step| f32::from(step) * 0.05)
}

/// The threshold with the smallest sum of both error rates.
fn best_threshold(model: &VerdictModel, examples: &[Example]) -> f32 {
    let errors = |threshold: f32| {
        let point = point(model, threshold, examples);
        point.false_refusals + point.false_answers
    };
    thresholds().min_by(|a, b| errors(*a).total_cmp(&errors(*b))).unwrap_or(0.5)
}

fn point(model: &VerdictModel, threshold: f32, examples: &[Example]) -> CurvePoint {
    let rate = |answerable: bool| {
        let class: Vec<&Example> =
            examples.iter().filter(|example| example.answerable == answerable).collect();
        let wrong = class
            .iter()
            .filter(|example| (with(model, &example.evidence) >= threshold) != answerable)
            .count();
        wrong as f64 / class.len().max(1) as f64
    };
    CurvePoint { threshold, false_refusals: rate(true), false_answers: rate(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(cosine: f32, coverage: f32, answerable: bool) -> Example {
        Example { evidence: Evidence { cosine: Some(cosine), coverage, sentence: Some(cosine) }, answerable }
    }

    #[test]
    fn two_clear_classes_are_separated() {
        let examples: Vec<Example> = (0..20_u8)
            .flat_map(|step| {
                let wobble = f32::from(step) * 0.01;
                [example(0.6 + wobble, 0.7 + wobble, true), example(0.2 + wobble, 0.2 + wobble, false)]
            })
            .collect();
        let mut model = fit(&examples, Features::WithMeaning);
        model.threshold = best_threshold(&model, &examples);
        let errors = point(&model, model.threshold, &examples);
        assert_eq!((errors.false_refusals, errors.false_answers), (0.0, 0.0), "{model:?}");
        assert!(model.cosine > 0.0 && model.coverage > 0.0);
    }

    #[test]
    fn errors_are_counted_by_class() {
        let examples = [example(0.9, 0.9, true), example(0.0, 0.0, true), example(0.9, 0.9, false)];
        let model = VerdictModel { bias: -5.0, cosine: 10.0, coverage: 0.0, sentence: 0.0, threshold: 0.5 };
        let errors = point(&model, 0.5, &examples);
        assert_eq!((errors.false_refusals, errors.false_answers), (0.5, 1.0));
    }
}
