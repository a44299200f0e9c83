//! Running heads, feet and page numbers: what stands at the edge of page after page.

use std::collections::HashMap;

use super::super::page::{Line, PageText};

/// Share of the page's height at the top and at the bottom where such lines stand.
const EDGE: f64 = 0.12;
/// Pages on which the same line, figures aside, must stand.
const PAGES: usize = 3;

pub(super) struct Furniture {
    lines: HashMap<String, usize>,
    many_pages: bool,
}

impl Furniture {
    pub(super) fn find(pages: &[PageText]) -> Self {
        let mut lines: HashMap<String, usize> = HashMap::new();
        for page in pages {
            let mut keys: Vec<String> =
                page.lines.iter().filter(|line| at_edge(line, page)).map(key).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                *lines.entry(key).or_default() += 1;
            }
        }
        lines.retain(|_, pages| *pages >= PAGES);
        Self { lines, many_pages: pages.len() > 1 }
    }

    pub(super) fn is(&self, line: &Line, page: &PageText) -> bool {
        at_edge(line, page)
            && ((self.many_pages && is_page_number(&line.text)) || self.lines.contains_key(&key(line)))
    }
}

fn at_edge(line: &Line, page: &PageText) -> bool {
    line.baseline < page.height * EDGE || line.baseline > page.height * (1.0 - EDGE)
}

/// The text without figures and case, so that "Page 3" and "Page 4" are the same.
fn key(line: &Line) -> String {
    line.text.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect()
}

fn is_page_number(text: &str) -> bool {
    let bare = text.trim_matches(|c: char| !c.is_alphanumeric());
    let figures =
        !bare.is_empty() && bare.chars().all(|c| c.is_numeric() || c.is_whitespace() || "/-–".contains(c));
    let roman = !bare.is_empty() && bare.len() <= 6 && bare.chars().all(|c| "ivxlcIVXLC".contains(c));
    figures || roman
}
