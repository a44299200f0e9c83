//! From a stream of text to finished sentences with the passages that they cite.

use crate::text::sentences;

/// Longest text that is held back for a sentence to end; then it counts as one.
const MAX_SENTENCE_BYTES: usize = 2_000;
/// Longest citation mark, in bytes: "[passages 1, 2, 3]".
const MAX_MARK_BYTES: usize = 40;
/// Most passages that one mark may name.
const MAX_NAMED: usize = 16;

/// A finished sentence as the model wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Without its citation marks.
    pub(crate) text: String,
    /// The cited numbers in order, each once, as written: they may name no passage.
    pub(crate) citations: Vec<u32>,
}

/// Collects text until sentences are complete.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    pending: String,
}

impl Drafts {
    /// Adds a piece; returns the sentences that are complete now. A sentence is complete once something
    /// other than a citation follows it, because models write "… minutes. [1]" as often as "… minutes [1]."
    pub(crate) fn push(&mut self, piece: &str) -> Vec<Draft> {
        self.pending.push_str(piece);
        self.take(false)
    }

    /// What is left at the end of the answer.
    pub(crate) fn finish(&mut self) -> Vec<Draft> {
        self.take(true)
    }

    fn take(&mut self, last: bool) -> Vec<Draft> {
        // UAX #29 sees no sentence end in ".[1]".
        let mut text = std::mem::take(&mut self.pending);
        for mark in ['.', '!', '?', '؟'] {
            text = text.replace(&format!("{mark}["), &format!("{mark} ["));
        }
        let mut drafts = Vec::new();
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let ranges = sentences(rest);
            let end = ranges.first().map_or(rest.len(), |range| range.end);
            let (head, after) = rest.split_at(end);
            let (marks, tail) = leading_marks(after);
            let undecided = tail.trim_start().is_empty() || is_unfinished_mark(tail.trim_start());
            if !last && undecided && rest.len() < MAX_SENTENCE_BYTES {
                break;
            }
            let (text, mut citations) = strip_marks(head);
            for number in marks {
                if !citations.contains(&number) {
                    citations.push(number);
                }
            }
            if text.chars().any(char::is_alphanumeric) {
                drafts.push(Draft { text, citations });
            }
            rest = tail;
        }
        self.pending = rest.to_owned();
        drafts
    }
}

/// Citation marks at the beginning of `text`, and what follows them.
fn leading_marks(text: &str) -> (Vec<u32>, &str) {
    let mut numbers = Vec::new();
    let mut rest = text;
    while let Some((found, after)) = mark_at(rest.trim_start()) {
        numbers.extend(found);
        rest = after;
    }
    (numbers, rest)
}

/// Whether `text` begins like a mark whose end is still to come.
fn is_unfinished_mark(text: &str) -> bool {
    text.starts_with(['[', '【']) && !text.contains([']', '】']) && text.len() < MAX_MARK_BYTES
}

/// A citation mark at the very beginning of `text`: "[1]", "[1, 2]", "[1-3]", "[passage 2]", "【1】".
fn mark_at(text: &str) -> Option<(Vec<u32>, &str)> {
    let open = text.chars().next().filter(|c| matches!(c, '[' | '【'))?;
    let inside = text.get(open.len_utf8()..)?;
    let end = inside.find([']', '】']).filter(|end| *end <= MAX_MARK_BYTES)?;
    let (inner, after) = inside.split_at(end);
    let after = after.strip_prefix(']').or_else(|| after.strip_prefix('】'))?;
    let numbers_part = inner.trim_start_matches(|c: char| c.is_alphabetic() || c == ' ');
    if numbers_part.is_empty() || !numbers_part.chars().all(|c| c.is_ascii_digit() || ", -–;".contains(c)) {
        return None;
    }
    let mut numbers: Vec<u32> = Vec::new();
    for part in numbers_part.split([',', ';', ' ']).filter(|part| !part.is_empty()) {
        let mut ends = part.split(['-', '–']).filter_map(|end| end.parse::<u32>().ok());
        let (Some(from), to) = (ends.next(), ends.next()) else { continue };
        numbers.extend((from..=to.unwrap_or(from)).take(MAX_NAMED));
    }
    numbers.truncate(MAX_NAMED);
    Some((numbers, after))
}

/// `sentence` without its marks and list signs, and the numbers that the marks named.
fn strip_marks(sentence: &str) -> (String, Vec<u32>) {
    let mut text = String::with_capacity(sentence.len());
    let mut citations = Vec::new();
    let mut rest = sentence;
    while let Some(c) = rest.chars().next() {
        if let Some((numbers, after)) = mark_at(rest) {
            for number in numbers {
                if !citations.contains(&number) {
                    citations.push(number);
                }
            }
            text.truncate(text.trim_end().len());
            rest = after;
            continue;
        }
        text.push(c);
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
    }
    let trimmed = text.trim().trim_start_matches(['-', '*', '•']).trim();
    (trimmed.to_owned(), citations)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str) -> Vec<(String, Vec<u32>)> {
        let mut drafts = Drafts::default();
        let mut found = drafts.push(text);
        found.extend(drafts.finish());
        found.into_iter().map(|draft| (draft.text, draft.citations)).collect()
    }

    fn expect(text: &str, sentences: &[(&str, &[u32])]) {
        let sentences: Vec<_> =
            sentences.iter().map(|(text, numbers)| ((*text).to_owned(), numbers.to_vec())).collect();
        assert_eq!(all(text), sentences);
    }

    #[test]
    fn marks_before_and_after_the_full_stop_belong_to_their_sentence() {
        expect(
            "Boil it [1]. Cool it. [2] Store it.[3][1]\nDone",
            &[("Boil it.", &[1]), ("Cool it.", &[2]), ("Store it.", &[3, 1]), ("Done", &[])],
        );
    }

    #[test]
    fn marks_of_every_shape_are_read() {
        expect(
            "A [1, 2]. B [1-3]. C [Passage 4]. D【5】.",
            &[("A.", &[1, 2]), ("B.", &[1, 2, 3]), ("C.", &[4]), ("D.", &[5])],
        );
        expect("Press [Enter] twice.", &[("Press [Enter] twice.", &[])]);
        expect("Huge [1-4000000000].", &[("Huge.", &(1..=16).collect::<Vec<_>>())]);
    }

    #[test]
    fn lists_are_sentences() {
        expect("- Boil it [1]\n- Cool it [2]\n", &[("Boil it", &[1]), ("Cool it", &[2])]);
        expect("1. Boil it. [1]\n2. Cool it. [2]", &[("1. Boil it.", &[1]), ("2. Cool it.", &[2])]);
    }

    #[test]
    fn a_sentence_comes_as_soon_as_the_next_begins() {
        let mut drafts = Drafts::default();
        assert_eq!(drafts.push("Boil it."), []);
        assert_eq!(drafts.push(" "), []);
        assert_eq!(drafts.push("["), []);
        assert_eq!(drafts.push("1"), []);
        assert_eq!(drafts.push("]"), []);
        assert_eq!(drafts.push(" C"), [Draft { text: "Boil it.".into(), citations: vec![1] }]);
        assert_eq!(drafts.finish(), [Draft { text: "C".into(), citations: vec![] }]);
    }

    #[test]
    fn text_without_an_end_is_not_held_for_ever() {
        let mut drafts = Drafts::default();
        let mut found = 0;
        for _ in 0..1_000 {
            found += drafts.push("word ").len();
        }
        assert!(found >= 1);
        assert!(drafts.pending.len() <= MAX_SENTENCE_BYTES);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_does_not_matter(
            text in "([A-Z][a-z]{1,6}( [a-z]{1,6}){0,5}( \\[[1-3]\\])?\\.( \\[[1-3]\\])? ){1,5}",
            cuts in proptest::collection::vec(1_usize..7, 1..60),
        ) {
            let whole = all(&text);
            let mut drafts = Drafts::default();
            let mut found = Vec::new();
            let mut rest = text.as_str();
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let at = (*cuts.next().unwrap()).min(rest.len());
                let (piece, after) = rest.split_at(at);
                found.extend(drafts.push(piece));
                rest = after;
            }
            found.extend(drafts.finish());
            let found: Vec<_> = found.into_iter().map(|draft| (draft.text, draft.citations)).collect();
            prop_assert_eq!(found, whole);
        }
    }
}
