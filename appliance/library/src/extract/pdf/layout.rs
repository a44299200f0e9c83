//! From the lines of all pages to headings, paragraphs, items, rows and code.

mod furniture;
mod hyphens;
mod measure;

use super::page::{Line, PageText};
use crate::extract::{
    BlockKind, Location, Reason,
    document::CELL_SEPARATOR,
    output::{Next, Output},
};
use furniture::Furniture;
use hyphens::Hyphens;
use measure::Measure;

/// In units of the type size: a line that begins this much further in begins a paragraph.
const INDENT: f64 = 0.8;
/// A line that is this much shorter than its column and ends a sentence ends its paragraph.
const SHORT_LINE: f64 = 0.2;
/// Lines of one paragraph differ in size by less than this share.
const SAME_SIZE: f64 = 0.08;
/// A gap between lines that is this many times the usual one ends a paragraph.
const PARAGRAPH_GAP: f64 = 1.25;
/// Longest heading.
const HEADING_CHARS: usize = 200;
/// Points in a row that make a line one of a table of contents.
const LEADER_POINTS: usize = 5;

/// Writes the blocks of a document.
pub(super) fn write(pages: &[PageText], output: &mut Output<'_>) -> Result<(), Reason> {
    let furniture = Furniture::find(pages);
    let measure = Measure::of(pages);
    let hyphens = Hyphens::of(pages);
    let mut writer = Writer { measure, hyphens, open: None, output };
    for page in pages {
        let lines =
            page.lines.iter().filter(|line| !furniture.is(line, page) && !is_contents_line(&line.text));
        let mut before: Option<&Line> = None;
        let column = writer.measure.right_edge(page);
        for line in lines {
            if writer.line(line, before, page.number, column)? == Next::Stop {
                return Ok(());
            }
            before = Some(line);
        }
    }
    writer.end().map(|_| ())
}

struct Writer<'m, 'o, 'l> {
    measure: Measure,
    hyphens: Hyphens<'m>,
    open: Option<Paragraph>,
    output: &'o mut Output<'l>,
}

struct Paragraph {
    kind: BlockKind,
    text: String,
    page: u32,
    left: f64,
    lines: usize,
    size: f64,
    /// Its last line was so short that it ends a paragraph if it ends a sentence.
    short: bool,
}

impl Writer<'_, '_, '_> {
    fn line(&mut self, line: &Line, before: Option<&Line>, page: u32, column: f64) -> Result<Next, Reason> {
        let (kind, text) = self.kind(line);
        let continues = self.open.as_ref().is_some_and(|open| match before {
            Some(before) => self.continues(open, kind, line, before, text),
            // Over the end of a page only a sentence that is not finished goes on.
            None => open.kind == kind && goes_on(&open.text, text) && self.same_size(open.size, line.size),
        });
        let short = line.right < column - SHORT_LINE * (column - line.left).max(0.0);
        if continues && let Some(open) = &mut self.open {
            if kind == BlockKind::Code {
                open.text.push('\n');
                open.text.push_str(text);
            } else {
                self.hyphens.join(&mut open.text, text);
            }
            open.left = if open.lines == 1 { line.left } else { open.left.min(line.left) };
            open.lines += 1;
            open.short = short;
            return Ok(Next::Continue);
        }
        let next = self.end()?;
        self.open = Some(Paragraph {
            kind,
            text: text.to_owned(),
            page,
            left: line.left,
            lines: 1,
            size: line.size,
            short,
        });
        Ok(next)
    }

    fn end(&mut self) -> Result<Next, Reason> {
        let Some(open) = self.open.take() else { return Ok(Next::Continue) };
        self.output.push(open.kind, &open.text, &Location { page: Some(open.page), ..Location::default() })
    }

    /// What a line would be if it began a block, and its text without bullet.
    fn kind<'t>(&self, line: &'t Line) -> (BlockKind, &'t str) {
        let text = line.text.as_str();
        if let Some(level) = self.measure.heading_level(line.size)
            && text.chars().count() <= HEADING_CHARS
            && text.chars().any(char::is_alphabetic)
        {
            return (BlockKind::Heading(level), text);
        }
        if line.typewriter {
            return (BlockKind::Code, text);
        }
        if text.contains(CELL_SEPARATOR) {
            return (BlockKind::TableRow, text);
        }
        match bullet(text) {
            Some(item) => (BlockKind::ListItem, item),
            None => (BlockKind::Paragraph, text),
        }
    }

    fn continues(&self, open: &Paragraph, kind: BlockKind, line: &Line, before: &Line, text: &str) -> bool {
        let down = line.baseline - before.baseline;
        let near = down > 0.0 && down <= self.measure.leading(line.size) * PARAGRAPH_GAP;
        if !self.same_size(open.size, line.size) {
            return false;
        }
        match (open.kind, kind) {
            (BlockKind::Heading(_), BlockKind::Heading(_)) | (BlockKind::Code, BlockKind::Code) => near,
            (BlockKind::Paragraph | BlockKind::ListItem, BlockKind::Paragraph) => {
                if !near {
                    // Another column: the text goes on there if the sentence does.
                    return down < 0.0 && goes_on(&open.text, text);
                }
                let indent = line.left - open.left;
                let hanging = open.lines == 1 && (open.kind == BlockKind::ListItem || indent < 0.0);
                let indented = indent.abs() > INDENT * line.size && !hanging;
                let ended = open.short && ends_sentence(&open.text);
                !indented && !ended
            }
            _ => false,
        }
    }

    fn same_size(&self, a: f64, b: f64) -> bool {
        (a - b).abs() <= SAME_SIZE * a.max(b)
    }
}

fn ends_sentence(text: &str) -> bool {
    let end = text.trim_end_matches(|c: char| c.is_whitespace() || "\"”»’')]".contains(c));
    end.ends_with(['.', '!', '?', ':', ';', '؟', '。', '…'])
}

fn goes_on(text: &str, next: &str) -> bool {
    !ends_sentence(text)
        && next.chars().next().is_some_and(|c| c.is_lowercase() || (c.is_alphabetic() && !c.is_uppercase()))
}

/// What follows a bullet or the number of a list.
fn bullet(text: &str) -> Option<&str> {
    let (mark, rest) = text.split_once(' ')?;
    let rest = rest.trim_start().trim_start_matches("| ").trim_start();
    let is_bullet = matches!(
        mark,
        "•" | "◦" | "▪" | "■" | "●" | "○" | "–" | "—" | "-" | "*" | "·" | "∙" | "➢" | "‣" | "✓"
    );
    let number = mark.strip_suffix(['.', ')']).map(|mark| mark.trim_start_matches('('));
    let is_number = number.is_some_and(|number| {
        (number.len() <= 3 && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
            || (number.len() == 1 && number.bytes().all(|b| b.is_ascii_lowercase()))
    });
    ((is_bullet || is_number) && !rest.is_empty()).then_some(rest)
}

/// A title, a row of points, a page number.
fn is_contents_line(text: &str) -> bool {
    let (mut run, mut longest) = (0, 0);
    for c in text.chars().filter(|c| !c.is_whitespace() && *c != '|') {
        run = if matches!(c, '.' | '…' | '·') { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest >= LEADER_POINTS
        && text
            .trim_end()
            .ends_with(|c: char| c.is_ascii_digit() || "ivxlc".contains(c) || matches!(c, '.' | '…'))
}
