//! Which sentences of a passage answer the question.

use std::{collections::HashMap, ops::Range};

use super::Span;
use crate::{
    parameters::MARKING,
    text::{content_words, sentences},
};

/// A passage cut into sentences, with how well each one answers.
pub(crate) struct Marking<'a> {
    text: &'a str,
    ranges: Vec<Range<usize>>,
    scores: Vec<f32>,
}

/// Weights of a question's words: a word that stands in few of the candidate sentences says more than one
/// that stands in most of them.
pub(crate) struct QuestionWords {
    weights: HashMap<String, f32>,
}

impl QuestionWords {
    /// The question's content words, weighted by how rare they are among the sentences of `passages`.
    pub(crate) fn new<'p>(question: &str, passages: impl IntoIterator<Item = &'p str>) -> Self {
        let mut counts: HashMap<String, f32> =
            content_words(question).into_iter().map(|word| (word, 0.0)).collect();
        let mut total = 0.0_f32;
        for passage in passages {
            for range in sentences(passage) {
                total += 1.0;
                let mut words = content_words(passage.get(range).unwrap_or_default());
                words.sort_unstable();
                words.dedup();
                for word in words {
                    if let Some(count) = counts.get_mut(&word) {
                        *count += 1.0;
                    }
                }
            }
        }
        let weights =
            counts.into_iter().map(|(word, count)| (word, (1.0 + total / (1.0 + count)).ln())).collect();
        Self { weights }
    }

    /// Which share of the question's weight stands in `text`, 0 to 1.
    pub(crate) fn coverage(&self, text: &str) -> f32 {
        let total: f32 = self.weights.values().sum();
        if total <= 0.0 {
            return 0.0;
        }
        let mut words = content_words(text);
        words.sort_unstable();
        words.dedup();
        words.iter().filter_map(|word| self.weights.get(word)).sum::<f32>() / total
    }
}

impl<'a> Marking<'a> {
    /// Scores every sentence of `text` by the words that it shares with the question.
    pub(crate) fn by_words(text: &'a str, question: &QuestionWords) -> Self {
        let ranges = sentences(text);
        let scores = ranges
            .iter()
            .map(|range| question.coverage(text.get(range.clone()).unwrap_or_default()))
            .collect();
        Self { text, ranges, scores }
    }

    /// The sentences that are worth embedding, with their places: long enough to say something.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = (usize, &'a str)> {
        self.ranges.iter().enumerate().filter_map(|(place, range)| {
            let sentence = self.text.get(range.clone())?.trim();
            (sentence.chars().count() >= MARKING.shortest_sentence).then_some((place, sentence))
        })
    }

    /// Adds what the embedding says of the sentence at `place`: its cosine with the question.
    pub(crate) fn add_similarity(&mut self, place: usize, cosine: f32) {
        if let Some(score) = self.scores.get_mut(place) {
            *score = (1.0 - MARKING.similarity_weight) * *score + MARKING.similarity_weight * cosine.max(0.0);
        }
    }

    /// The passage as spans, the best sentences marked: those not far behind the best one, at most
    /// [`MARKING`]`.most` of them, none when even the best says little.
    pub(crate) fn spans(self) -> Vec<Span> {
        let best = self.scores.iter().copied().fold(0.0, f32::max);
        let floor = (best * MARKING.share_of_best).max(MARKING.least);
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        let score = |place: &usize| self.scores.get(*place).copied().unwrap_or(0.0);
        order.sort_by(|a, b| score(b).total_cmp(&score(a)));
        order.truncate(MARKING.most);
        order.retain(|place| score(place) >= floor);

        let mut spans: Vec<Span> = Vec::new();
        for (place, range) in self.ranges.iter().enumerate() {
            let text = self.text.get(range.clone()).unwrap_or_default();
            let marked = order.contains(&place);
            match spans.last_mut().filter(|span| span.marked == marked) {
                Some(span) => span.text.push_str(text),
                None => spans.push(Span { text: text.to_owned(), marked }),
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSAGE: &str = "Clear water can be made safe with bleach. Add two drops of unscented bleach to each \
                           litre. Wait 30 minutes before you drink it. Keep the bottle closed.";

    fn marked(question: &str) -> Vec<String> {
        let words = QuestionWords::new(question, [PASSAGE]);
        let spans = Marking::by_words(PASSAGE, &words).spans();
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
        let mut marking = Marking::by_words(PASSAGE, &words);
        let place = marking.candidates().find(|(_, text)| text.starts_with("Wait")).unwrap().0;
        marking.add_similarity(place, 0.8);
        let spans = marking.spans();
        assert!(spans.iter().any(|span| span.marked && span.text.starts_with("Wait 30")));
    }
}
