//! Two texts side by side: which words the one has and the other has not.
//!
//! By word, because people read words. Bounded: texts that are too different to be compared cheaply are marked as a
//! whole, which is what a reader would see anyway.

use maud::{Markup, html};

/// Most cells of the comparison's table; two bytes each.
const CELLS: usize = 1 << 20;

/// A text in stretches, and which of them the other text has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marked(Vec<(String, bool)>);

impl Marked {
    /// A text of which nothing is marked.
    pub(super) fn plain(text: &str) -> Self {
        Self(vec![(text.to_owned(), false)])
    }

    /// As HTML: marked stretches are insertions to screen readers, and underlined to eyes that see no colours.
    pub(super) fn show(&self) -> Markup {
        html! {
            @for (text, differs) in &self.0 {
                @if *differs { ins { (text) } } @else { (text) }
            }
        }
    }

    fn of(words: &[&str], kept: impl Fn(usize) -> bool) -> Self {
        let mut stretches: Vec<(String, bool)> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let differs = !kept(at);
            match stretches.last_mut() {
                Some((text, before)) if *before == differs => text.push_str(word),
                _ => stretches.push(((*word).to_owned(), differs)),
            }
        }
        Self(stretches)
    }
}

/// Words with the gap that follows them.
fn words(text: &str) -> Vec<&str> {
    text.split_inclusive(char::is_whitespace).collect()
}

fn same(a: Option<&&str>, b: Option<&&str>) -> bool {
    a.zip(b).is_some_and(|(a, b)| a.trim_end() == b.trim_end())
}

/// Both texts, each with what the other has not.
pub(super) fn compare(left: &str, right: &str) -> (Marked, Marked) {
    let (a, b) = (words(left), words(right));
    let start = a.iter().zip(&b).take_while(|(a, b)| same(Some(*a), Some(*b))).count();
    let rest = a.len().min(b.len()) - start;
    let end =
        a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(a, b)| same(Some(*a), Some(*b))).count();
    let (from_a, from_b) = (a.len() - start - end, b.len() - start - end);
    let mut kept_a = vec![true; a.len()];
    let mut kept_b = vec![true; b.len()];
    kept_a.iter_mut().skip(start).take(from_a).for_each(|kept| *kept = false);
    kept_b.iter_mut().skip(start).take(from_b).for_each(|kept| *kept = false);
    if (from_a + 1).saturating_mul(from_b + 1) <= CELLS {
        for (i, j) in common(&a, &b, start, from_a, from_b) {
            for (kept, at) in [(&mut kept_a, i), (&mut kept_b, j)] {
                if let Some(kept) = kept.get_mut(at) {
                    *kept = true;
                }
            }
        }
    }
    let is = |kept: &[bool], at: usize| kept.get(at).copied().unwrap_or(false);
    (Marked::of(&a, |at| is(&kept_a, at)), Marked::of(&b, |at| is(&kept_b, at)))
}

/// Places of a longest common run of words (Wagner and Fischer 1974), within the part that differs.
fn common(a: &[&str], b: &[&str], start: usize, n: usize, m: usize) -> Vec<(usize, usize)> {
    let width = m + 1;
    let mut table = vec![0_u16; (n + 1) * width];
    let cell = |table: &[u16], i: usize, j: usize| table.get(i * width + j).copied().unwrap_or(0);
    for i in (0..n).rev() {
        for j in (0..m).rev() {
            let longest = if same(a.get(start + i), b.get(start + j)) {
                cell(&table, i + 1, j + 1).saturating_add(1)
            } else {
                cell(&table, i + 1, j).max(cell(&table, i, j + 1))
            };
            if let Some(cell) = table.get_mut(i * width + j) {
                *cell = longest;
            }
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < n && j < m {
        if same(a.get(start + i), b.get(start + j)) {
            pairs.push((start + i, start + j));
            (i, j) = (i + 1, j + 1);
        } else if cell(&table, i + 1, j) >= cell(&table, i, j + 1) {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brackets(left: &str, right: &str) -> (String, String) {
        let (left, right) = compare(left, right);
        let text = |marked: &Marked| {
            marked
                .0
                .iter()
                .map(|(text, differs)| if *differs { format!("[{text}]") } else { text.clone() })
                .collect()
        };
        (text(&left), text(&right))
    }

    #[test]
    fn what_differs_is_marked_and_nothing_else() {
        assert_eq!(brackets("Water at 8", "Water at 9"), ("Water at [8]".into(), "Water at [9]".into()));
        assert_eq!(brackets("a b c d", "a c d e"), ("a [b ]c d".into(), "a c d [e]".into()));
        assert_eq!(brackets("same", "same"), ("same".into(), "same".into()));
        assert_eq!(brackets("", "new words"), (String::new(), "[new words]".into()));
        assert_eq!(
            brackets("ماء في الثامنة", "ماء في التاسعة"),
            ("ماء في [الثامنة]".into(), "ماء في [التاسعة]".into())
        );
    }

    #[test]
    fn long_texts_take_bounded_work() {
        let left: String = (0..20_000).map(|n| format!("a{n} ")).collect();
        let right: String = (0..20_000).map(|n| format!("b{n} ")).collect();
        let (left, right) = compare(&left, &right);
        assert_eq!((left.0.len(), right.0.len()), (1, 1));
        assert!(left.0[0].1 && right.0[0].1);
    }
}
