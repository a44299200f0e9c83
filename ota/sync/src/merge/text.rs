//! Three-way merge of text, by line and, where lines collide, by word.

use std::borrow::Cow;

/// Merges two changes of `base`. `None` where both changed the same words in different ways.
///
/// Symmetric: swapping `ours` and `theirs` gives the same result.
#[must_use]
pub fn merge(base: &str, ours: &str, theirs: &str) -> Option<String> {
    // An empty ancestor gives both sides as additions at one place; which comes first would be arbitrary.
    if ours == theirs {
        return Some(ours.to_owned());
    }
    if let Ok(merged) = diffy::merge(base, ours, theirs) {
        return Some(merged);
    }
    let merged =
        diffy::merge(&one_word_a_line(base), &one_word_a_line(ours), &one_word_a_line(theirs)).ok()?;
    Some(joined(&merged))
}

/// Every word, gap and mark of `text` on a line of its own, so that a merge by line is one by word.
fn one_word_a_line(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() * 2);
    let mut last = None;
    for c in text.chars() {
        let class = Class::of(c);
        if last.is_some_and(|last| last != class || class == Class::Mark) {
            lines.push('\n');
        }
        last = Some(class);
        match c {
            '\n' => lines.push_str("\\n"),
            '\\' => lines.push_str("\\\\"),
            _ => lines.push(c),
        }
    }
    if last.is_some() {
        lines.push('\n');
    }
    lines
}

fn joined(lines: &str) -> String {
    lines.split_terminator('\n').map(unescaped).collect()
}

fn unescaped(word: &str) -> Cow<'_, str> {
    if !word.contains('\\') {
        return Cow::Borrowed(word);
    }
    let mut text = String::with_capacity(word.len());
    let mut escaped = false;
    for c in word.chars() {
        match (escaped, c) {
            (true, 'n') => text.push('\n'),
            (false, '\\') => {
                escaped = true;
                continue;
            }
            _ => text.push(c),
        }
        escaped = false;
    }
    Cow::Owned(text)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Gap,
    Mark,
}

impl Class {
    fn of(c: char) -> Self {
        if c.is_alphanumeric() {
            Self::Word
        } else if c.is_whitespace() {
            Self::Gap
        } else {
            Self::Mark
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn different_words_of_one_line_merge() {
        let base = "Bring water and bread to the hall.";
        let ours = "Bring clean water and bread to the hall.";
        let theirs = "Bring water and bread to the school.";
        assert_eq!(merge(base, ours, theirs).unwrap(), "Bring clean water and bread to the school.");
    }

    #[test]
    fn the_same_word_changed_twice_does_not() {
        assert_eq!(merge("Meet at noon", "Meet at nine", "Meet at ten"), None);
    }

    #[test]
    fn a_change_of_one_side_is_that_change() {
        assert_eq!(merge("a\nb\n", "a\nb\nc\n", "a\nb\n").unwrap(), "a\nb\nc\n");
    }

    proptest! {
        #[test]
        fn words_on_lines_read_back(text in "[a-z\\\\ \n.,é]{0,60}") {
            prop_assert_eq!(joined(&one_word_a_line(&text)), text);
        }

        #[test]
        fn sides_can_be_swapped(base in "[ab \n]{0,12}", ours in "[ab \n]{0,12}", theirs in "[ab \n]{0,12}") {
            prop_assert_eq!(merge(&base, &ours, &theirs), merge(&base, &theirs, &ours));
        }

        #[test]
        fn one_sided_changes_always_merge(base in "[ab \n]{0,20}", ours in "[ab \n]{0,20}") {
            prop_assert_eq!(merge(&base, &ours, &base).unwrap(), ours);
        }
    }
}
