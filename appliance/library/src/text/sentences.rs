//! Sentences as a partition of their text.

use std::ops::Range;

/// The sentences of `text` as ranges that cover it without a gap: white space belongs to the sentence before it. A
/// line break ends a sentence, so that every item of a list is one.
pub(crate) fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut ranges = crate::split::sentences(text);
    let starts: Vec<usize> = ranges.iter().skip(1).map(|range| range.start).chain([text.len()]).collect();
    for (range, next) in ranges.iter_mut().zip(starts) {
        range.end = next;
    }
    if let Some(first) = ranges.first_mut() {
        first.start = 0;
    } else if !text.is_empty() {
        ranges.push(0..text.len());
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_end_at_final_marks_and_lines() {
        assert_eq!(split("Boil it. Let it cool! Why?"), ["Boil it. ", "Let it cool! ", "Why?"]);
        assert_eq!(split("- one\n- two\n"), ["- one\n", "- two\n"]);
        assert_eq!(split("ماذا أفعل؟ اغل الماء."), ["ماذا أفعل؟ ", "اغل الماء."]);
        assert_eq!(split("1. Boil.\n2. Cool."), ["1. Boil.\n", "2. Cool."]);
        assert_eq!(split(" \n"), [" \n"]);
    }

    proptest! {
        #[test]
        fn ranges_cover_the_text(text in "\\PC{0,200}|[a-z .!?\n]{0,200}") {
            let mut end = 0;
            for range in sentences(&text) {
                prop_assert_eq!(range.start, end);
                prop_assert!(range.end > range.start);
                end = range.end;
            }
            prop_assert_eq!(end, text.len());
        }
    }
}
