//! Whether a passage says what a sentence of an answer says.
//!
//! Three things are looked at, the cheapest first: every number of the sentence must stand in the passage;
//! enough of its words must; and where the passage's own sentence about the same matter is negated, the
//! answer's must be too. Embeddings can make up for other words, never for another number.

use std::collections::BTreeSet;

use crate::{
    parameters::SUPPORT,
    text::{content_words, fold, is_negation, numbers, sentences},
};

/// A passage prepared for checks.
pub(crate) struct Source {
    numbers: BTreeSet<String>,
    words: BTreeSet<String>,
    statements: Vec<Statement>,
}

/// One sentence of a passage.
struct Statement {
    words: BTreeSet<String>,
    negated: bool,
}

/// What the words alone say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WordCheck {
    /// The passage says so.
    Supported(f32),
    /// Some of the words are there: only where the meaning is the same too.
    Partly(f32),
    /// It does not.
    Unsupported(Reason),
}

/// Why not, for tests and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A number that stands in no cited passage.
    Number,
    /// Too few of its words.
    Words,
    /// The passage says the opposite.
    Negation,
}

impl Source {
    /// Prepares the passage under its headings: what a heading says need not be repeated below it.
    pub(crate) fn new(title: &str, heading: &str, text: &str) -> Self {
        let whole = format!("{title}\n{heading}\n{text}");
        let statements = sentences(text)
            .into_iter()
            .filter_map(|range| text.get(range))
            .map(|sentence| Statement {
                words: content_words(sentence).into_iter().collect(),
                negated: is_negation(&fold(sentence)),
            })
            .collect();
        Self { numbers: numbers(&whole), words: content_words(&whole).into_iter().collect(), statements }
    }
}

/// Checks `sentence` against the passages that it cites, taken together for numbers and words.
pub(crate) fn check_words(sentence: &str, cited: &[&Source]) -> WordCheck {
    if !numbers(sentence).iter().all(|number| cited.iter().any(|source| source.numbers.contains(number))) {
        return WordCheck::Unsupported(Reason::Number);
    }
    let words: BTreeSet<String> = content_words(sentence).into_iter().collect();
    if words.is_empty() {
        return WordCheck::Unsupported(Reason::Words);
    }
    let present = words.iter().filter(|word| cited.iter().any(|source| source.words.contains(*word))).count();
    let overlap = present as f32 / words.len() as f32;
    if contradicts(sentence, &words, cited) {
        return WordCheck::Unsupported(Reason::Negation);
    }
    if overlap >= SUPPORT.overlap {
        WordCheck::Supported(overlap)
    } else if overlap >= SUPPORT.overlap_with_meaning {
        WordCheck::Partly(overlap)
    } else {
        WordCheck::Unsupported(Reason::Words)
    }
}

/// Whether the passages' closest statement about the same matter is negated and this one is not, or the
/// other way round.
fn contradicts(sentence: &str, words: &BTreeSet<String>, cited: &[&Source]) -> bool {
    let shared = |statement: &Statement| {
        words.intersection(&statement.words).count() as f32 / words.len().max(1) as f32
    };
    let closest = cited
        .iter()
        .flat_map(|source| &source.statements)
        .map(|statement| (shared(statement), statement))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    closest.is_some_and(|(share, statement)| {
        share >= SUPPORT.same_matter && statement.negated != is_negation(&fold(sentence))
    })
}

/// The verdict where the embedding was asked: `cosine` is the best between the sentence and a sentence or
/// the whole of a cited passage.
pub(crate) fn with_meaning(words: WordCheck, cosine: Option<f32>) -> bool {
    match words {
        WordCheck::Supported(_) => true,
        WordCheck::Partly(_) => cosine.is_some_and(|cosine| cosine >= SUPPORT.cosine),
        WordCheck::Unsupported(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source::new(
            "Safe water",
            "Bleach",
            "Use unscented household bleach with 5 to 6 % chlorine. Add 2 drops to each litre of clear water. \
             Wait 30 minutes. Do not use bleach with perfume or soap in it.",
        )
    }

    fn check(sentence: &str) -> WordCheck {
        check_words(sentence, &[&source()])
    }

    #[test]
    fn what_the_passage_says_is_supported() {
        assert!(matches!(check("Add two drops of bleach to each litre of water."), WordCheck::Supported(_)));
        assert!(matches!(check("Do not use bleach with perfume."), WordCheck::Supported(_)));
        assert!(matches!(check("Wait 30 minutes."), WordCheck::Supported(_)));
    }

    #[test]
    fn a_number_that_stands_nowhere_is_not_supported_whatever_the_words() {
        assert_eq!(
            check("Add 20 drops of bleach to each litre of water."),
            WordCheck::Unsupported(Reason::Number)
        );
        assert!(!with_meaning(check("Wait 3 minutes."), Some(0.99)), "meaning cannot excuse a number");
    }

    #[test]
    fn the_opposite_is_not_supported() {
        assert_eq!(check("Use bleach with perfume or soap."), WordCheck::Unsupported(Reason::Negation));
        assert_eq!(
            check("Do not add two drops to each litre of clear water."),
            WordCheck::Unsupported(Reason::Negation)
        );
    }

    #[test]
    fn other_matters_are_not_supported() {
        assert_eq!(check("Paracetamol lowers a fever in children."), WordCheck::Unsupported(Reason::Words));
        assert_eq!(check("Yes."), WordCheck::Unsupported(Reason::Words));
    }

    #[test]
    fn a_paraphrase_needs_the_meaning() {
        let partly = check("Put drops in every litre and let it stand for 30 minutes.");
        assert!(matches!(partly, WordCheck::Partly(_)), "{partly:?}");
        assert!(with_meaning(partly, Some(0.8)));
        assert!(!with_meaning(partly, Some(0.2)));
        assert!(!with_meaning(partly, None));
    }

    #[test]
    fn two_cited_passages_count_together() {
        let other = Source::new("Safe water", "Storage", "Keep treated water in a closed clean container.");
        let sentence = "Add 2 drops to each litre of water and keep it in a closed container.";
        assert!(matches!(check_words(sentence, &[&source(), &other]), WordCheck::Supported(_)));
    }
}
