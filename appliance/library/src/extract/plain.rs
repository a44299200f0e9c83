//! Text without markup: paragraphs by blank lines, underlined headings, bullets.

use super::{
    BlockKind, Location, Reason, encoding,
    output::{Next, Output},
};

/// Text whose lines are longer than this on average is not wrapped: every line is a paragraph.
const UNWRAPPED_CHARS: usize = 160;
/// A line of `===` or `---` makes a heading of the line above when it is at least this long.
const UNDERLINE_CHARS: usize = 3;
/// Longest line that can be a heading.
const HEADING_CHARS: usize = 120;
/// Lines that are looked at to see whether the text is wrapped.
const PROBE_LINES: usize = 2000;

pub(super) fn read(bytes: &[u8], output: &mut Output<'_>) -> Result<(), Reason> {
    let decoded = encoding::decode(bytes, None);
    if decoded.replaced {
        output.replaced();
    }
    let wrapped = is_wrapped(&decoded.text);
    // Pages are counted only where the text has them.
    let mut page = decoded.text.contains('\u{c}').then_some(1_u32);
    let mut paragraph = Paragraph::default();
    let mut lines = decoded.text.lines().peekable();
    while let Some(line) = lines.next() {
        let mut line = line;
        while let Some((before, after)) = line.split_once('\u{c}') {
            paragraph.line(before);
            if paragraph.end(output, page)? == Next::Stop {
                return Ok(());
            }
            page = page.map(|page| page.saturating_add(1));
            line = after;
        }
        let underline = lines.peek().and_then(|next| underline_level(line, next));
        let next = if let Some(level) = underline {
            lines.next();
            paragraph.end(output, page)?;
            output.push(BlockKind::Heading(level), line, &at(page))?
        } else if line.trim().is_empty() {
            paragraph.end(output, page)?
        } else if let Some(item) = bullet(line) {
            let next = paragraph.end(output, page)?;
            paragraph.kind = Some(BlockKind::ListItem);
            paragraph.line(item);
            next
        } else {
            paragraph.line(line);
            if wrapped { Next::Continue } else { paragraph.end(output, page)? }
        };
        if next == Next::Stop || output.next() == Next::Stop {
            return Ok(());
        }
    }
    paragraph.end(output, page).map(|_| ())
}

#[derive(Default)]
struct Paragraph {
    kind: Option<BlockKind>,
    text: String,
}

impl Paragraph {
    fn line(&mut self, line: &str) {
        for word in line.split_whitespace() {
            if !self.text.is_empty() {
                self.text.push(' ');
            }
            self.text.extend(word.chars().filter(|c| !c.is_control()));
        }
    }

    fn end(&mut self, output: &mut Output<'_>, page: Option<u32>) -> Result<Next, Reason> {
        let kind = self.kind.take().unwrap_or(BlockKind::Paragraph);
        let next = output.push(kind, &self.text, &at(page));
        self.text.clear();
        next
    }
}

fn at(page: Option<u32>) -> Location {
    Location { page, ..Location::default() }
}

fn is_wrapped(text: &str) -> bool {
    let lines = text.lines().take(PROBE_LINES).filter(|line| !line.trim().is_empty());
    let (count, chars) =
        lines.fold((0_usize, 0_usize), |(count, chars), line| (count + 1, chars + line.chars().count()));
    chars <= count.saturating_mul(UNWRAPPED_CHARS)
}

/// The level that `under` gives to the heading `line`: 1 for `===`, 2 for any other rule.
fn underline_level(line: &str, under: &str) -> Option<u8> {
    let (line, under) = (line.trim(), under.trim_end());
    let rule = under.chars().next().filter(|c| "=-~^\"*#".contains(*c))?;
    let length = under.chars().count();
    let chars = line.chars().count();
    let underlines = under.chars().all(|c| c == rule) && length >= UNDERLINE_CHARS && length + 2 >= chars;
    let is_text = line.chars().any(char::is_alphanumeric) && chars <= HEADING_CHARS;
    (underlines && is_text).then_some(if rule == '=' { 1 } else { 2 })
}

/// What follows a bullet.
fn bullet(line: &str) -> Option<&str> {
    let line = line.trim_start();
    ["- ", "* ", "• ", "· ", "– "].iter().find_map(|mark| line.strip_prefix(mark))
}
