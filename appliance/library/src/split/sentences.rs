//! Where sentences begin and end.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// Abbreviations after which a capital letter does not begin a sentence, in the languages of the page, without their last point.
const ABBREVIATIONS: &[&str] = &[
    // English
    "Dr", "Mr", "Mrs", "Ms", "Prof", "St", "No", "Fig", "Figs", "Vol", "vs", "e.g", "i.e", "cf", "approx",
    "ca", "Eq", "Sec", "Ch", "pp", // Spanish
    "Sr", "Sra", "Srta", "Dra", "Ud", "Uds", "Vd", "Lic", "Ing", "Núm", "núm", "pág", "págs", "p.ej", "Av",
    "EE", "aprox", // French
    "M", "MM", "Mme", "Mlle", "Me", "Pr", "p.ex", "éd", "env", "art", "chap",
];

/// Ranges of the sentences of `text` in order, without white space between them; together they hold everything else.
///
/// By the rules of Unicode (UAX 29), except that a point behind a known abbreviation, a single letter or the number of
/// a list does not end a sentence.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut joins = false;
    for (start, piece) in text.split_sentence_bound_indices() {
        let end = start + piece.trim_end().len();
        let mut begin = start + (piece.len() - piece.trim_start().len());
        // French sets a space before the mark that closes a quotation.
        if let Some(after) = text.get(begin..end).and_then(|piece| piece.strip_prefix('»'))
            && let Some(last) = found.last_mut()
        {
            last.end = begin + '»'.len_utf8();
            begin = end - after.trim_start().len();
        }
        if begin >= end {
            continue;
        }
        match found.last_mut() {
            Some(last) if joins => last.end = end,
            _ => found.push(begin..end),
        }
        joins = text.get(start..end).is_some_and(ends_in_abbreviation);
    }
    found
}

fn ends_in_abbreviation(sentence: &str) -> bool {
    let Some(before) = sentence.strip_suffix('.') else { return false };
    let word = before.rsplit(char::is_whitespace).next().unwrap_or_default();
    let word = word.trim_start_matches(|c: char| !c.is_alphanumeric());
    let mut chars = word.chars();
    let single = chars.next().is_some_and(char::is_alphabetic) && chars.next().is_none();
    // "1." alone is the number of a list; at the end of a sentence it is a number.
    let list_number = before.trim().len() <= 3
        && !before.trim().is_empty()
        && before.trim().bytes().all(|b| b.is_ascii_digit());
    single || list_number || ABBREVIATIONS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_of_the_four_languages() {
        assert_eq!(
            cut("Boil it, says Dr. Smith. Use 2.5 litres, e.g. Rain water!  Is it safe? Yes."),
            ["Boil it, says Dr. Smith.", "Use 2.5 litres, e.g. Rain water!", "Is it safe?", "Yes."]
        );
        assert_eq!(
            cut("El Sr. López llegó. ¿Hay agua? ¡Sí! Véase la pág. 4."),
            ["El Sr. López llegó.", "¿Hay agua?", "¡Sí!", "Véase la pág. 4."]
        );
        assert_eq!(
            cut("Mme Durand et M. Petit sont là. « Où est l’eau ? » Elle est ici."),
            ["Mme Durand et M. Petit sont là.", "« Où est l’eau ? »", "Elle est ici."]
        );
        assert_eq!(cut("اغل الماء أولا. هل هو آمن؟ نعم!"), ["اغل الماء أولا.", "هل هو آمن؟", "نعم!"]);
    }

    #[test]
    fn nothing_but_white_space_is_lost() {
        let text = "  One. Two!\n\nThree?  1. Four  ";
        let held: String = cut(text).concat();
        assert_eq!(held.replace(' ', ""), text.replace(char::is_whitespace, ""));
        assert!(sentences("").is_empty() && sentences(" \n ").is_empty());
    }
}
