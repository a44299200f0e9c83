//! Numbers in text, comparable between "1,000", "1000" and "two".

use std::collections::BTreeSet;

use unicode_segmentation::UnicodeSegmentation;

use super::words::fold;

/// Number words, folded. "One" is left out in every language: it is far more often not a number.
const WORDS: &[(&str, u32)] = &[
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("twelve", 12),
    ("fifteen", 15),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("hundred", 100),
    ("thousand", 1000),
    ("dos", 2),
    ("tres", 3),
    ("cuatro", 4),
    ("cinco", 5),
    ("seis", 6),
    ("siete", 7),
    ("ocho", 8),
    ("nueve", 9),
    ("diez", 10),
    ("doce", 12),
    ("quince", 15),
    ("veinte", 20),
    ("treinta", 30),
    ("cien", 100),
    ("mil", 1000),
    ("deux", 2),
    ("trois", 3),
    ("quatre", 4),
    ("cinq", 5),
    ("sept", 7),
    ("huit", 8),
    ("neuf", 9),
    ("dix", 10),
    ("douze", 12),
    ("quinze", 15),
    ("vingt", 20),
    ("trente", 30),
    ("cent", 100),
    ("mille", 1000),
    ("ثلاث", 3),
    ("ثلاثه", 3),
    ("اربع", 4),
    ("اربعه", 4),
    ("خمس", 5),
    ("خمسه", 5),
    ("سته", 6),
    ("سبعه", 7),
    ("ثمانيه", 8),
    ("تسعه", 9),
    ("عشره", 10),
    ("عشر", 10),
    ("عشرين", 20),
    ("ثلاثين", 30),
    ("مائه", 100),
];

/// Every number in `text`, in one spelling: digits without separators, "." before decimals, no zeros that
/// say nothing. A separator that could be either kind ("1.000") gives both readings.
pub(crate) fn numbers(text: &str) -> BTreeSet<String> {
    let folded = fold(text);
    let mut found = BTreeSet::new();
    let mut rest = folded.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let from = rest.get(start..).unwrap_or_default();
        let end = from
            .char_indices()
            .find(|&(at, c)| !(c.is_ascii_digit() || matches!(c, '.' | ',') && digit_follows(from, at)))
            .map_or(from.len(), |(at, _)| at);
        let (token, after) = from.split_at(end);
        read(token, &mut found);
        rest = after;
    }
    for word in folded.unicode_words() {
        if let Some((_, value)) = WORDS.iter().find(|(name, _)| *name == word) {
            found.insert(value.to_string());
        }
    }
    found
}

fn digit_follows(text: &str, separator_at: usize) -> bool {
    text.get(separator_at + 1..).and_then(|rest| rest.chars().next()).is_some_and(|c| c.is_ascii_digit())
}

fn read(token: &str, found: &mut BTreeSet<String>) {
    let groups: Vec<&str> = token.split(['.', ',']).collect();
    let all_threes = groups.iter().skip(1).all(|group| group.len() == 3);
    let [whole, decimals] = groups.as_slice() else {
        if all_threes {
            found.insert(plain(&groups.concat(), ""));
        } else {
            // A date, a version or a telephone number: every part counts by itself.
            found.extend(groups.iter().map(|group| plain(group, "")));
        }
        return;
    };
    found.insert(plain(whole, decimals));
    if all_threes && !whole.starts_with('0') {
        found.insert(plain(&groups.concat(), ""));
    }
}

fn plain(whole: &str, decimals: &str) -> String {
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    match decimals.trim_end_matches('0') {
        "" => whole.to_owned(),
        decimals => format!("{whole}.{decimals}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<String> {
        numbers(text).into_iter().collect()
    }

    #[test]
    fn spellings_of_one_number_are_equal() {
        assert_eq!(of("0.5 ml"), of("0,50 ml"));
        assert_eq!(of("20 litres"), of("20.0 litres"));
        assert_eq!(of("two drops"), of("2 drops"));
        assert_eq!(of("٣٠"), of("30"));
        assert!(!numbers("1,000 metres").is_disjoint(&numbers("1000 metres")));
        assert!(numbers("1.5").is_disjoint(&numbers("15")));
        assert!(numbers("5 minutes").is_disjoint(&numbers("50 minutes")));
    }

    #[test]
    fn dates_and_sentence_ends_are_read() {
        assert_eq!(of("Wait 30."), ["30"]);
        assert_eq!(of("from 3 to 5 days"), ["3", "5"]);
        assert_eq!(of("no number, one thing"), Vec::<String>::new());
        assert_eq!(of("1,000,000"), ["1000000"]);
    }
}
