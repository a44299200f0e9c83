//! Which of the hub's languages a short text is written in.

use super::words::fold;
use unicode_segmentation::UnicodeSegmentation;

/// A language in which the hub can answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    English,
    Spanish,
    French,
    Arabic,
}

/// Words that stand in nearly every sentence of one language and in none of the others, folded.
const SIGNS: [(Language, &[&str]); 3] = [
    (
        Language::English,
        &[
            "the", "is", "are", "how", "what", "when", "which", "where", "do", "does", "can", "should", "i",
            "my", "to", "of", "and", "with", "for", "it", "you", "we", "why", "who",
        ],
    ),
    (
        Language::Spanish,
        &[
            "el", "los", "las", "una", "del", "cuando", "cuanto", "cuanta", "cuantas", "cuantos", "donde",
            "como", "con", "para", "por", "hay", "puedo", "puede", "debo", "debe", "y", "agua", "que", "se",
            "lo", "en",
        ],
    ),
    (
        Language::French,
        &[
            "le", "les", "des", "une", "du", "quand", "combien", "comment", "avec", "pour", "faut", "peut",
            "dois", "doit", "est", "et", "quel", "quelle", "au", "dans", "l", "d", "on", "je", "il", "que",
            "eau",
        ],
    ),
];

impl Language {
    /// From a BCP 47 tag, by its first part.
    pub(crate) fn from_tag(tag: &str) -> Option<Self> {
        match tag.split(['-', '_']).next()?.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "es" => Some(Self::Spanish),
            "fr" => Some(Self::French),
            "ar" => Some(Self::Arabic),
            _ => None,
        }
    }

    /// The language whose common words stand in `text` most often; English where nothing can be told.
    pub(crate) fn of(text: &str) -> Self {
        let arabic = text.chars().filter(|c| ('\u{600}'..='\u{6ff}').contains(c)).count();
        if arabic * 2 > text.chars().filter(|c| c.is_alphabetic()).count() {
            return Self::Arabic;
        }
        if text.contains(['¿', '¡', 'ñ']) {
            return Self::Spanish;
        }
        let folded = fold(text);
        let words: Vec<&str> = folded.unicode_words().flat_map(|word| word.split('\'')).collect();
        let count = |signs: &[&str]| words.iter().filter(|word| signs.contains(word)).count();
        // `max_by_key` takes the last of equals, so English, the default, is looked at last.
        SIGNS
            .iter()
            .rev()
            .max_by_key(|(_, signs)| count(signs))
            .map_or(Self::English, |(language, _)| *language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_recognised() {
        for (text, language) in [
            ("How long must I boil water?", Language::English),
            ("boil water", Language::English),
            ("cuanto cloro para el agua", Language::Spanish),
            ("¿Qué hago?", Language::Spanish),
            ("Comment rendre l'eau potable ?", Language::French),
            ("كم دقيقة أغلي الماء؟", Language::Arabic),
            ("", Language::English),
        ] {
            assert_eq!(Language::of(text), language, "{text}");
        }
    }

    #[test]
    fn tags_are_read_by_their_first_part() {
        assert_eq!(Language::from_tag("es-MX"), Some(Language::Spanish));
        assert_eq!(Language::from_tag("AR"), Some(Language::Arabic));
        assert_eq!(Language::from_tag("xx"), None);
    }
}
