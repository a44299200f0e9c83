//! Folding, stop words and light stemming: what makes two words the same for overlap.
//!
//! Full text search has its own tokenizer in the store; this one serves comparisons between a question, a
//! passage and a sentence, and must be the same on both sides, nothing more.

use std::{collections::HashSet, sync::LazyLock};

use icu_normalizer::DecomposingNormalizerBorrowed;
use unicode_segmentation::UnicodeSegmentation;

/// Words that carry no content, folded, in the four languages of the hub.
const STOP_WORDS: &[&str] = &[
    // English
    "a",
    "about",
    "after",
    "all",
    "also",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "been",
    "being",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "for",
    "from",
    "had",
    "has",
    "have",
    "having",
    "he",
    "her",
    "here",
    "him",
    "his",
    "how",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "me",
    "may",
    "might",
    "my",
    "of",
    "on",
    "or",
    "other",
    "our",
    "out",
    "own",
    "s",
    "she",
    "should",
    "so",
    "some",
    "such",
    "t",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "these",
    "they",
    "this",
    "those",
    "to",
    "too",
    "us",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "whom",
    "why",
    "will",
    "with",
    "would",
    "you",
    "your",
    "shall",
    "must",
    "need",
    "get",
    "tell",
    "please",
    "each",
    "much",
    "many",
    // Spanish
    "al",
    "algo",
    "como",
    "con",
    "cual",
    "cuando",
    "cuanta",
    "cuantas",
    "cuanto",
    "cuantos",
    "de",
    "del",
    "desde",
    "donde",
    "el",
    "ella",
    "ellas",
    "ellos",
    "en",
    "entre",
    "es",
    "esa",
    "ese",
    "eso",
    "esta",
    "estan",
    "estar",
    "este",
    "esto",
    "ha",
    "hacer",
    "hago",
    "hasta",
    "hay",
    "la",
    "las",
    "le",
    "les",
    "lo",
    "los",
    "mas",
    "mi",
    "muy",
    "o",
    "para",
    "pero",
    "por",
    "puede",
    "pueden",
    "puedo",
    "que",
    "quien",
    "se",
    "ser",
    "si",
    "sobre",
    "son",
    "su",
    "sus",
    "te",
    "tengo",
    "tiene",
    "tu",
    "un",
    "una",
    "uno",
    "unos",
    "y",
    "debe",
    "debo",
    // French
    "au",
    "aux",
    "avec",
    "ce",
    "ces",
    "cet",
    "cette",
    "comment",
    "combien",
    "d",
    "dans",
    "des",
    "dois",
    "doit",
    "du",
    "elle",
    "elles",
    "est",
    "et",
    "etre",
    "faire",
    "fait",
    "faut",
    "il",
    "ils",
    "j",
    "je",
    "l",
    "leur",
    "lui",
    "ma",
    "mais",
    "mes",
    "moi",
    "mon",
    "n",
    "nous",
    "on",
    "ont",
    "ou",
    "par",
    "peut",
    "peux",
    "plus",
    "pour",
    "pourquoi",
    "qu",
    "quand",
    "quel",
    "quelle",
    "quelles",
    "quels",
    "qui",
    "quoi",
    "sa",
    "ses",
    "sont",
    "sur",
    "ta",
    "tes",
    "ton",
    "une",
    "vos",
    "votre",
    "vous",
    "c",
    // Arabic, after folding
    "في",
    "من",
    "علي",
    "الي",
    "عن",
    "مع",
    "ما",
    "ماذا",
    "كيف",
    "متي",
    "اين",
    "هل",
    "كم",
    "هو",
    "هي",
    "هذا",
    "هذه",
    "ذلك",
    "التي",
    "الذي",
    "ان",
    "او",
    "ثم",
    "و",
    "قد",
    "كان",
    "يمكن",
    "يجب",
    "اي",
    "كل",
    "لماذا",
    "يكون",
    "اذا",
];

/// Words that turn a statement round, folded.
const NEGATIONS: &[&str] = &[
    "no", "not", "never", "none", "nor", "without", "cannot", "avoid", "don", "doesn", "isn", "aren", "won",
    "shouldn", "mustn", "didn", "neither", "unsafe", // English; "don't" is cut at the apostrophe
    "nunca", "sin", "ni", "tampoco", "evite", "evitar", // Spanish
    "ne", "pas", "jamais", "sans", "aucun", "aucune", "evitez", "eviter", // French
    "لا", "لم", "لن", "ليس", "ليست", "بدون", "دون", "غير", "تجنب", // Arabic
];

/// Lower case without diacritics, Arabic letters in their plain form, digits of every script as ASCII.
pub(crate) fn fold(text: &str) -> String {
    let normalizer = DecomposingNormalizerBorrowed::new_nfkd();
    normalizer.normalize_iter(text.chars()).filter_map(fold_char).flat_map(char::to_lowercase).collect()
}

/// One decomposed character: `None` for marks and what joins letters without a meaning of its own.
fn fold_char(c: char) -> Option<char> {
    match c {
        '\u{300}'..='\u{36f}' | '\u{64b}'..='\u{65f}' | '\u{670}' | '\u{640}' | '\u{200b}'..='\u{200f}' => {
            None
        }
        '\u{649}' => Some('\u{64a}'), // alef maksura as yeh
        '\u{629}' => Some('\u{647}'), // teh marbuta as heh
        '\u{671}' => Some('\u{627}'), // alef wasla as alef
        '\u{660}'..='\u{669}' => char::from_digit(u32::from(c) - 0x660, 10),
        '\u{6f0}'..='\u{6f9}' => char::from_digit(u32::from(c) - 0x6f0, 10),
        '’' => Some('\''),
        _ => Some(c),
    }
}

/// The words of `text` that carry content: folded, without stop words, lightly stemmed, in order, with
/// repetitions.
pub(crate) fn content_words(text: &str) -> Vec<String> {
    split(&fold(text)).filter(|word| !is_stop_word(word)).map(stem).collect()
}

/// Whether a folded text holds a word that turns a statement round.
pub(crate) fn is_negation(folded: &str) -> bool {
    split(folded).any(|word| NEGATIONS.contains(&word))
}

/// Words of a folded text, also cut at apostrophes, because "l'eau" is two words and "don't" a negation.
fn split(folded: &str) -> impl Iterator<Item = &str> {
    folded.unicode_words().flat_map(|word| word.split('\'')).filter(|word| !word.is_empty())
}

fn is_stop_word(word: &str) -> bool {
    /// Asked for every word of every passage that is shown.
    static SET: LazyLock<HashSet<&str>> = LazyLock::new(|| STOP_WORDS.iter().copied().collect());
    SET.contains(word)
}

/// Cuts the endings that most often tell apart forms of one word. Deliberately weak: two words that fall
/// together wrongly make a wrong mark, two that do not make a missing one.
fn stem(word: &str) -> String {
    if word.bytes().any(|byte| byte.is_ascii_digit()) {
        return word.to_owned();
    }
    if let Some(rest) = word.strip_prefix("ال").filter(|rest| rest.chars().count() >= 3) {
        return rest.to_owned();
    }
    for (ending, keep) in [("ies", 3), ("ing", 4), ("edly", 4), ("ed", 4), ("es", 4), ("ly", 4), ("s", 3)] {
        if let Some(rest) = word.strip_suffix(ending)
            && rest.chars().count() >= keep
            && !(ending == "s" && rest.ends_with('s'))
        {
            return finish(rest);
        }
    }
    finish(word)
}

/// Makes "boiled", "boiling" and "boil", "stored" and "store", "stopped" and "stop" end alike.
fn finish(stem: &str) -> String {
    let long = stem.chars().count() > 3;
    let stem = stem.strip_suffix(['e', 'y', 'i']).filter(|_| long).unwrap_or(stem);
    let mut back = stem.chars().rev();
    match (back.next(), back.next()) {
        (Some(last), Some(before)) if last == before && last.is_ascii_alphabetic() && long => {
            stem.strip_suffix(last).unwrap_or(stem).to_owned()
        }
        _ => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_makes_spellings_equal() {
        assert_eq!(fold("Électricité"), "electricite");
        assert_eq!(fold("ÑANDÚ"), "nandu");
        assert_eq!(fold("الماءُ"), fold("الماء"));
        assert_eq!(fold("أين"), "اين");
        assert_eq!(fold("٣٠ دقيقة"), "30 دقيقه");
    }

    #[test]
    fn forms_of_a_word_fall_together() {
        for forms in [
            &["boil", "boiled", "boiling", "boils"][..],
            &["store", "stored", "storing", "stores"],
            &["stop", "stopped", "stopping"],
            &["battery", "batteries"],
            &["wound", "wounds"],
        ] {
            let stems: std::collections::BTreeSet<_> = forms.iter().map(|form| stem(form)).collect();
            assert_eq!(stems.len(), 1, "{stems:?}");
        }
        assert_ne!(stem("glass"), stem("glad"));
        assert_ne!(stem("water"), stem("waste"));
    }

    #[test]
    fn only_content_is_left() {
        assert_eq!(content_words("How long should I boil the water?"), ["long", "boil", "water"]);
        assert_eq!(content_words("¿Cuánto tiempo hay que hervir el agua?"), ["tiempo", "hervir", "agua"]);
        assert_eq!(content_words("Comment traiter l'eau ?"), ["traiter", "eau"]);
    }

    #[test]
    fn negations_are_seen_in_every_language() {
        for text in ["Do not run it indoors", "Don't drink it", "No use cloro", "N'allumez pas", "لا تشرب"]
        {
            assert!(is_negation(&fold(text)), "{text}");
        }
        assert!(!is_negation(&fold("Run it outdoors, note the smell")));
    }
}
