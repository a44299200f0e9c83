//! The known word that somebody most likely meant.

/// Most letters that may differ; more is another word, not a slip.
const MAX_DISTANCE: usize = 3;

/// The word of `known` that differs least from `word`, when that is little.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).collect();
    let (distance, found) =
        known.map(|candidate| (distance(&word, candidate), candidate)).min_by_key(|pair| pair.0)?;
    (distance <= MAX_DISTANCE && distance < word.len()).then_some(found)
}

/// Levenshtein's distance: letters to insert, remove or replace.
fn distance(word: &[char], other: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (line, letter) in other.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (above, &mine) in row.iter_mut().skip(1).zip(word) {
            let here = (diagonal + usize::from(mine != letter)).min(left + 1).min(*above + 1);
            diagonal = std::mem::replace(above, here);
            left = here;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_word_and_another_word_finds_none() {
        let known = || ["name", "title", "language", "open_sign_up"].into_iter();
        assert_eq!(nearest("langage", known()), Some("language"));
        assert_eq!(nearest("nam", known()), Some("name"));
        assert_eq!(nearest("open-sign-up", known()), Some("open_sign_up"));
        assert_eq!(nearest("timezone", known()), None);
        assert_eq!(nearest("x", known()), None);
    }

    #[test]
    fn the_distance_is_levenshteins() {
        let of = |a: &str, b| distance(&a.chars().collect::<Vec<_>>(), b);
        assert_eq!(of("kitten", "sitting"), 3);
        assert_eq!(of("", "abc"), 3);
        assert_eq!(of("abc", "abc"), 0);
    }
}
