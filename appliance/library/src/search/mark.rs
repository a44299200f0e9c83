//! Which sentences of a passage answer the question.

use std::{collections::HashMap, ops::Range};

use super::Span;
use crate::{
    parameters,
    text::{content_words, sentences},
};

/// Shortest sentence worth embedding, in characters.
const SHORTEST_SENTENCE: usize = 12;

/// Weights of a question's words: a word that stands in few of the candidate sentences says more than one
/// that stands in most of them.
pub(crate) struct QuestionWords {
    weights: HashMap<String, f32>,
    /// Of all words, and of those that stand in any of the sentences.
    total: f32,
    present: f32,
}

impl QuestionWords {
    /// The question's content words, weighted by how rare they are among the sentences of `passages`.
    pub(crate) fn new<'p>(question: &str, passages: impl IntoIterator<Item = &'p str>) -> Self {
        let mut counts: HashMap<String, f32> =
            content_words(question).into_iter().map(|word| (word, 0.0)).collect();
        let mut sentences_read = 0.0_f32;
        for passage in passages {
            for range in sentences(passage) {
                sentences_read += 1.0;
                for word in distinct(passage.get(range).unwrap_or_default()) {
                    if let Some(count) = counts.get_mut(&word) {
                        *count += 1.0;
                    }
                }
            }
        }
        let weight = |count: f32| (1.0 + sentences_read / (1.0 + count)).ln();
        let present = counts.values().filter(|count| **count > 0.0).map(|count| weight(*count)).sum();
        let weights: HashMap<String, f32> =
            counts.into_iter().map(|(word, count)| (word, weight(count))).collect();
        Self { total: weights.values().sum(), present, weights }
    }

    /// Which share of the question's weight stands in `text`, 0 to 1.
    pub(crate) fn coverage(&self, text: &str) -> f32 {
        share(self.found(text), self.total)
    }

    fn found(&self, text: &str) -> f32 {
        distinct(text).iter().filter_map(|word| self.weights.get(word)).sum()
    }
}

fn distinct(text: &str) -> Vec<String> {
    let mut words = content_words(text);
    words.sort_unstable();
    words.dedup();
    words
}

fn share(part: f32, whole: f32) -> f32 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// What speaks for a sentence; see [`parameters::Marking`].
struct Clues {
    coverage: f32,
    present: f32,
    cosine: Option<f32>,
}

impl Clues {
    /// `None`: cannot be compared with the others.
    fn score(&self, by: &parameters::Marking) -> Option<f32> {
        let cosine = if by.cosine > 0.0 { self.cosine?.max(0.0) } else { 0.0 };
        Some(by.cosine * cosine + by.coverage * self.coverage + by.present * self.present)
    }
}

/// A passage cut into sentences, with what speaks for each.
pub(crate) struct Marking<'a> {
    text: &'a str,
    ranges: Vec<Range<usize>>,
    clues: Vec<Clues>,
}

impl<'a> Marking<'a> {
    /// What the words that each sentence of `text` shares with the question say.
    pub(crate) fn new(text: &'a str, question: &QuestionWords) -> Self {
        let ranges = sentences(text);
        let clues = |range: &Range<usize>| {
            let found = question.found(text.get(range.clone()).unwrap_or_default());
            Clues {
                coverage: share(found, question.total),
                present: share(found, question.present),
                cosine: None,
            }
        };
        let clues = ranges.iter().map(clues).collect();
        Self { text, ranges, clues }
    }

    /// The sentences, without the white space around them.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = &'a str> {
        self.ranges.iter().map(|range| self.text.get(range.clone()).unwrap_or_default().trim())
    }

    /// At most `most` sentences that are worth embedding, with their places: long enough to say something, and where
    /// there are more those that share most with the question.
    pub(crate) fn candidates(&self, most: usize) -> Vec<(usize, &'a str)> {
        let mut found: Vec<(usize, &str)> = self
            .sentences()
            .enumerate()
            .filter(|(_, sentence)| sentence.chars().count() >= SHORTEST_SENTENCE)
            .collect();
        let coverage = |place: usize| self.clues.get(place).map_or(0.0, |clues| clues.coverage);
        found.sort_by(|a, b| coverage(b.0).total_cmp(&coverage(a.0)));
        found.truncate(most);
        found.sort_by_key(|(place, _)| *place);
        found
    }

    /// Adds what the embedding says of the sentence at `place`: its cosine with the question.
    pub(crate) fn add_similarity(&mut self, place: usize, cosine: f32) {
        if let Some(clues) = self.clues.get_mut(place) {
            clues.cosine = Some(cosine);
        }
    }

    /// The passage as spans, each either marked or not.
    fn spans(self, marked: &[bool]) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (place, range) in self.ranges.iter().enumerate() {
            let text = self.text.get(range.clone()).unwrap_or_default();
            let marked = marked.get(place).copied().unwrap_or(false);
            match spans.last_mut().filter(|span| span.marked == marked) {
                Some(span) => span.text.push_str(text),
                None => spans.push(Span { text: text.to_owned(), marked }),
            }
        }
        spans
    }
}

/// For each sentence of the passages, best passage first, whether it is marked: those not far behind the best of all
/// passages, none when even the best says little.
pub(crate) fn chosen(passages: &[Marking<'_>], by: &parameters::Marking) -> Vec<Vec<bool>> {
    let scores: Vec<Vec<f32>> = passages
        .iter()
        .take(by.passages)
        .map(|passage| passage.clues.iter().map(|clues| clues.score(by).unwrap_or(0.0)).collect())
        .collect();
    let best = scores.iter().flatten().copied().fold(0.0, f32::max);
    let floor = (best * by.share_of_best).max(by.least);
    let marks = |scores: &Vec<f32>| {
        let mut order: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1));
        order.truncate(by.most);
        let mut marked = vec![false; scores.len()];
        for (place, _) in order.into_iter().filter(|(_, score)| *score >= floor) {
            if let Some(marked) = marked.get_mut(place) {
                *marked = true;
            }
        }
        marked
    };
    scores.iter().map(marks).collect()
}

/// Every passage as spans, with the sentences marked that answer.
pub(crate) fn mark(passages: Vec<Marking<'_>>, by: &parameters::Marking) -> Vec<Vec<Span>> {
    let mut chosen = chosen(&passages, by).into_iter();
    passages.into_iter().map(|passage| passage.spans(&chosen.next().unwrap_or_default())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{MARKING, MARKING_BY_WORDS};

    const PASSAGE: &str = "Clear water can be made safe with bleach. Add two drops of unscented bleach to each \
                           litre. Wait 30 minutes before you drink it. Keep the bottle closed.";

    fn marked(question: &str) -> Vec<String> {
        let words = QuestionWords::new(question, [PASSAGE]);
        let spans = mark(vec![Marking::new(PASSAGE, &words)], &MARKING_BY_WORDS).remove(0);
        let joined: String = spans.iter().map(|span| span.text.as_str()).collect();
        assert_eq!(joined, PASSAGE, "the spans are the passage");
        spans.into_iter().filter(|span| span.marked).map(|span| span.text.trim().to_owned()).collect()
    }

    #[test]
    fn the_sentence_that_answers_is_marked() {
        assert_eq!(
            marked("How many drops of bleach per litre?"),
            ["Add two drops of unscented bleach to each litre."]
        );
        assert_eq!(marked("How many minutes to wait?"), ["Wait 30 minutes before you drink it."]);
    }

    #[test]
    fn nothing_is_marked_where_nothing_answers() {
        assert_eq!(marked("Who won the football match?"), Vec::<String>::new());
        assert_eq!(marked(""), Vec::<String>::new());
    }

    #[test]
    fn meaning_marks_a_sentence_that_shares_no_word() {
        let words = QuestionWords::new("How long before it is drinkable?", [PASSAGE]);
        let mut marking = Marking::new(PASSAGE, &words);
        for (place, text) in marking.candidates(10) {
            marking.add_similarity(place, if text.starts_with("Wait") { 0.8 } else { 0.5 });
        }
        let spans = mark(vec![marking], &MARKING).remove(0);
        let marked: Vec<&str> =
            spans.iter().filter(|span| span.marked).map(|span| span.text.as_str()).collect();
        assert_eq!(marked, ["Wait 30 minutes before you drink it. "]);
    }

    #[test]
    fn a_passage_whose_best_is_far_behind_the_best_of_all_has_no_mark() {
        let other = "Keep heavy things low. Stop at once.";
        let words = QuestionWords::new("How do I stop heavy bleeding?", [PASSAGE, other]);
        let mut passages = vec![Marking::new(PASSAGE, &words), Marking::new(other, &words)];
        passages[0].add_similarity(1, 0.7);
        passages[1].add_similarity(0, 0.45);
        assert_eq!(chosen(&passages, &MARKING), [vec![false, true, false, false], vec![false, false]]);
        assert_eq!(
            chosen(&passages, &MARKING_BY_WORDS).len(),
            1,
            "by words alone only the best passage is marked"
        );
    }

    #[test]
    fn of_a_long_passage_the_sentences_with_the_questions_words_are_embedded() {
        let words = QuestionWords::new("How many drops to wait?", [PASSAGE]);
        let places: Vec<usize> =
            Marking::new(PASSAGE, &words).candidates(2).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, [1, 2]);
    }
}
