//! Words, sentences, numbers and languages of plain text, as search and answers need them.

mod language;
mod numbers;
mod sentences;
mod words;

pub(crate) use language::Language;
pub(crate) use numbers::numbers;
pub(crate) use sentences::sentences;
pub(crate) use words::{content_words, fold, is_negation};

/// At most `limit` characters of `text`, cut between characters.
pub(crate) fn clip(text: &str, limit: usize) -> &str {
    match text.char_indices().nth(limit) {
        Some((end, _)) => text.get(..end).unwrap_or(text),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(super::clip("àéî", 2), "àé");
        assert_eq!(super::clip("ab", 5), "ab");
        assert_eq!(super::clip("", 5), "");
    }
}
