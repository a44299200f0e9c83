//! From what a person typed to an FTS5 expression. No character of theirs is ever syntax: every word is a quoted
//! string, made of letters and digits only.

/// Most words of a question that are looked for.
pub(crate) const MAX_WORDS: usize = 24;
/// Longest word that is looked for, in characters.
const MAX_WORD: usize = 64;
/// The last word is also looked for as the beginning of one, from this many characters.
const MIN_PREFIX: usize = 2;

/// Words that say nothing about what is looked for, in the languages of the pages.
const STOP_WORDS: &[&str] = &[
    // English
    "a", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "how", "i", "in",
    "is", "it", "my", "of", "on", "or", "should", "that", "the", "this", "to", "was", "we", "what", "when",
    "where", "which", "who", "why", "will", "with", "you", "your", // Spanish
    "como", "con", "cuando", "de", "del", "donde", "el", "en", "es", "la", "las", "lo", "los", "para", "por",
    "que", "se", "su", "un", "una", "y", // French
    "au", "aux", "avec", "ce", "cette", "comment", "dans", "des", "du", "est", "et", "il", "je", "le", "les",
    "ou", "où", "pour", "quand", "quel", "quelle", "qui", "quoi", "sur", "une", // Arabic
    "في", "من", "على", "إلى", "عن", "ما", "هو", "هي", "هل", "كيف", "متى", "أين", "أن", "هذا", "هذه", "التي",
    "الذي",
];

/// What is looked for: each word as an expression of its own, the rest of the question left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(Vec<String>);

impl Words {
    /// `None` when nothing that can be looked for was typed.
    pub(crate) fn of(typed: &str) -> Option<Self> {
        let words: Vec<String> = typed
            .split(|c: char| !c.is_alphanumeric() && !is_mark(c))
            .filter(|word| word.chars().any(char::is_alphanumeric))
            .take(MAX_WORDS)
            .map(|word| word.chars().take(MAX_WORD).collect::<String>().to_lowercase())
            .collect();
        let says_something = |word: &&String| !STOP_WORDS.contains(&word.as_str());
        let mut kept: Vec<&String> = words.iter().filter(says_something).collect();
        if kept.is_empty() {
            kept = words.iter().collect();
        }
        let last = kept.len().checked_sub(1)?;
        let quoted = |(at, word): (usize, &&String)| {
            // The very last word may be unfinished.
            let unfinished = at == last && Some(*word) == words.last() && word.chars().count() >= MIN_PREFIX;
            format!("\"{word}\"{}", if unfinished { "*" } else { "" })
        };
        Some(Self(kept.iter().enumerate().map(quoted).collect()))
    }

    /// Passages with one word, for each.
    pub(crate) fn each(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Passages with every word; `None` where there is only one.
    pub(crate) fn every(&self) -> Option<String> {
        (self.0.len() > 1).then(|| self.0.join(" AND "))
    }

    /// Passages with any of them.
    pub(crate) fn any(&self) -> String {
        self.0.join(" OR ")
    }
}

/// Marks that combine with the letter before them: part of a word in many scripts.
const fn is_mark(c: char) -> bool {
    matches!(c, '\u{0300}'..='\u{036F}' | '\u{0610}'..='\u{061A}' | '\u{064B}'..='\u{065F}' | '\u{0900}'..='\u{0903}'
        | '\u{093A}'..='\u{094F}' | '\u{0E31}' | '\u{0E34}'..='\u{0E3A}' | '\u{0E47}'..='\u{0E4E}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_words_go_unless_nothing_else_is_left() {
        let found = Words::of("How do I purify the water").unwrap();
        assert_eq!(found.any(), "\"purify\" OR \"water\"*");
        assert_eq!(found.every().as_deref(), Some("\"purify\" AND \"water\"*"));
        assert_eq!(Words::of("the who").unwrap().any(), "\"the\" OR \"who\"*");
    }

    #[test]
    fn nothing_typed_is_syntax() {
        let found = Words::of("\"a\" NEAR(b) body:c* -d ^e {f} \u{0} AND OR NOT").unwrap();
        let bare: String = found.any().split('"').step_by(2).collect();
        assert!(bare.split(' ').all(|part| matches!(part, "" | "OR" | "*" | "OR*")), "{bare}");
        assert_eq!(Words::of("  \"*^ -- "), None);
    }

    #[test]
    fn the_number_and_the_length_of_words_are_bounded() {
        let found = Words::of(&"longword ".repeat(10_000)).unwrap();
        assert_eq!(found.any().matches(" OR ").count() + 1, MAX_WORDS);
        assert!(Words::of(&"x".repeat(1_000_000)).unwrap().any().len() < 80);
    }
}
