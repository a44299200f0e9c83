//! Whether the library holds the answer: a small logistic model over what the search found, calibrated on
//! questions that have an answer in the library and questions that do not (see `evaluate`).

use super::Verdict;
use crate::parameters::{VERDICT, VERDICT_BY_WORDS, VerdictModel};

/// What the verdict is made from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Evidence {
    /// Best cosine between the question and a passage; none where the embedding model was not asked.
    pub(crate) cosine: Option<f32>,
    /// Best share of the question's words, weighted, that stand in one passage under its headings.
    pub(crate) coverage: f32,
    /// Best cosine between the question and one sentence; none where sentences were not embedded.
    pub(crate) sentence: Option<f32>,
}

/// How sure the library is that it holds the answer, 0 to 1.
pub(crate) fn confidence(evidence: &Evidence) -> f32 {
    with(model_for(evidence), evidence)
}

/// The verdict by the calibrated threshold.
pub(crate) fn verdict(evidence: &Evidence) -> Verdict {
    if confidence(evidence) >= model_for(evidence).threshold {
        Verdict::Answerable
    } else {
        Verdict::NotInLibrary
    }
}

const fn model_for(evidence: &Evidence) -> &'static VerdictModel {
    match evidence.cosine {
        Some(_) => &VERDICT,
        None => &VERDICT_BY_WORDS,
    }
}

/// A model's value for `evidence`. Where sentences were not embedded, the passage's cosine stands in.
pub(crate) fn with(model: &VerdictModel, evidence: &Evidence) -> f32 {
    let cosine = evidence.cosine.unwrap_or(0.0);
    let sentence = evidence.sentence.unwrap_or(cosine);
    let sum =
        model.bias + model.cosine * cosine + model.coverage * evidence.coverage + model.sentence * sentence;
    1.0 / (1.0 + (-sum).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(cosine: f32, coverage: f32) -> Evidence {
        Evidence { cosine: Some(cosine), coverage, sentence: Some(cosine) }
    }

    #[test]
    fn clear_cases_are_told_apart() {
        assert_eq!(verdict(&evidence(0.8, 0.9)), Verdict::Answerable);
        assert_eq!(verdict(&evidence(0.1, 0.1)), Verdict::NotInLibrary);
        assert_eq!(verdict(&Evidence::default()), Verdict::NotInLibrary, "an empty library holds no answer");
    }

    #[test]
    fn more_evidence_never_makes_it_less_sure() {
        let steps: Vec<f32> = (0..=10).map(|step| step as f32 / 10.0).collect();
        for pair in steps.windows(2) {
            assert!(confidence(&evidence(pair[0], 0.5)) <= confidence(&evidence(pair[1], 0.5)));
            assert!(confidence(&evidence(0.5, pair[0])) <= confidence(&evidence(0.5, pair[1])));
            let words = |coverage| confidence(&Evidence { coverage, ..Evidence::default() });
            assert!(words(pair[0]) <= words(pair[1]));
        }
    }

    #[test]
    fn words_alone_can_answer() {
        assert_eq!(verdict(&Evidence { coverage: 1.0, ..Evidence::default() }), Verdict::Answerable);
    }
}
