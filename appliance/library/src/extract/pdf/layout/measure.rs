//! The usual sizes of a document: body type, headings, distance of lines.

use std::collections::BTreeMap;

use super::super::page::PageText;

/// Sizes are told apart by steps of this many points.
const STEP: f64 = 0.5;
/// Type that is this much larger than the body is a heading's.
const HEADING: f64 = 1.12;
/// Sizes of headings that differ by less than this share are the same level.
const LEVEL: f64 = 0.06;
/// Levels that a heading can have.
const LEVELS: u8 = 6;
/// Usual distance of lines where the document has too few to tell, in units of the type size.
const USUAL_LEADING: f64 = 1.2;
/// Distances of lines in units of the type size that can be those of one paragraph.
const LEADINGS: std::ops::Range<f64> = 0.8..2.5;

pub(super) struct Measure {
    body: f64,
    /// Sizes of headings, largest first.
    headings: Vec<f64>,
    /// Distance of lines, in units of the type size.
    leading: f64,
}

impl Measure {
    pub(super) fn of(pages: &[PageText]) -> Self {
        let lines = || pages.iter().flat_map(|page| &page.lines);
        let body = most_frequent(lines().map(|line| (line.size, line.text.len())), STEP).unwrap_or(1.0);
        let mut sizes: Vec<f64> =
            lines().map(|line| line.size).filter(|size| *size >= body * HEADING).collect();
        sizes.sort_by(|a, b| b.total_cmp(a));
        let mut headings: Vec<f64> = Vec::new();
        for size in sizes {
            if headings.last().is_none_or(|last| size < last * (1.0 - LEVEL)) {
                headings.push(size);
            }
        }
        let distances = pages.iter().flat_map(|page| page.lines.iter().zip(page.lines.iter().skip(1)));
        let distances = distances
            .map(|(above, below)| (below.baseline - above.baseline) / below.size)
            .filter(|distance| LEADINGS.contains(distance));
        let leading = most_frequent(distances.map(|distance| (distance, 1)), 0.05).unwrap_or(USUAL_LEADING);
        Self { body, headings, leading }
    }

    /// The level that a line of this size has as a heading.
    pub(super) fn heading_level(&self, size: f64) -> Option<u8> {
        if size < self.body * HEADING {
            return None;
        }
        let above = self.headings.iter().take_while(|heading| size < **heading * (1.0 - LEVEL)).count();
        Some(u8::try_from(above + 1).unwrap_or(LEVELS).min(LEVELS))
    }

    /// Usual distance to the next line, in points.
    pub(super) fn leading(&self, size: f64) -> f64 {
        self.leading * size
    }

    /// Where full lines of a page end.
    pub(super) fn right_edge(&self, page: &PageText) -> f64 {
        let ends = page.lines.iter().map(|line| (line.right, 1));
        let widest = page.lines.iter().map(|line| line.right).fold(f64::NEG_INFINITY, f64::max);
        most_frequent(ends, 2.0).filter(|_| page.lines.len() > 3).unwrap_or(widest)
    }
}

/// The value with the greatest weight, by steps; among equals the smallest.
fn most_frequent(values: impl Iterator<Item = (f64, usize)>, step: f64) -> Option<f64> {
    let mut weights: BTreeMap<i64, usize> = BTreeMap::new();
    for (value, weight) in values.filter(|(value, _)| value.is_finite()) {
        // Places and sizes on a page are small numbers; a cast of a wild one saturates.
        *weights.entry((value / step).round() as i64).or_default() += weight;
    }
    let most = weights.iter().rev().max_by_key(|(_, weight)| **weight)?;
    Some(*most.0 as f64 * step)
}
