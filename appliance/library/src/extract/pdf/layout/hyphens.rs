//! Words that were broken at the end of a line.

use std::collections::HashSet;

use super::super::page::PageText;

/// Words with a hyphen that stand whole on a line somewhere in the document: those keep it.
pub(super) struct Hyphens<'p> {
    compounds: HashSet<&'p str>,
}

impl<'p> Hyphens<'p> {
    pub(super) fn of(pages: &'p [PageText]) -> Self {
        let words = pages.iter().flat_map(|page| &page.lines).flat_map(|line| line.text.split_whitespace());
        let bare = words.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()));
        Self { compounds: bare.filter(|word| word.contains('-')).collect() }
    }

    /// Adds a line to a paragraph: with a space, or where the line before ends in a broken word, without.
    pub(super) fn join(&self, text: &mut String, line: &str) {
        let broken = text.strip_suffix(['-', '\u{ad}', '\u{2010}']).filter(|before| {
            before.ends_with(char::is_alphabetic) && line.starts_with(|c: char| c.is_lowercase())
        });
        let Some(before) = broken else {
            text.push(' ');
            text.push_str(line);
            return;
        };
        let start = before.rsplit(char::is_whitespace).next().unwrap_or_default();
        let end = line.split(char::is_whitespace).next().unwrap_or_default();
        let whole = format!("{start}-{end}");
        let whole = whole.trim_matches(|c: char| !c.is_alphanumeric());
        if !self.compounds.contains(whole) {
            text.truncate(before.len());
        }
        text.push_str(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_word_is_mended_and_a_compound_kept() {
        let hyphens = Hyphens { compounds: HashSet::from(["well-known"]) };
        let joined = |before: &str, after: &str| {
            let mut text = before.to_owned();
            hyphens.join(&mut text, after);
            text
        };
        assert_eq!(joined("clean drink-", "ing water"), "clean drinking water");
        assert_eq!(joined("a well-", "known well"), "a well-known well");
        assert_eq!(joined("pages 3-", "4 follow"), "pages 3- 4 follow");
        assert_eq!(joined("two", "words"), "two words");
        assert_eq!(joined("Mont-", "Blanc"), "Mont- Blanc");
    }
}
