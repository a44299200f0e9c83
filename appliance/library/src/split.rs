//! From blocks to passages: what is indexed, shown as a hit and quoted.
//!
//! A passage is about 120 to 220 words of one section, cut between sentences, and knows its headings and its place. The same
//! blocks always give the same passages.

mod sentences;
mod tokens;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

pub use sentences::sentences;
pub use tokens::estimate_tokens;

use tokens::{Estimator, Size};

use crate::extract::{Block, BlockKind, Location};

/// Raised whenever the same blocks would give other passages than before.
pub const SPLITTER_VERSION: u32 = 1;

/// Words at which a passage is large enough to end with its paragraph.
const ENOUGH_WORDS: usize = 120;
/// Most words of a passage.
const MOST_WORDS: usize = 220;
/// Most tokens of a passage's text by [`estimate_tokens`]. The embedding model reads 256, of which two are its own marks and some
/// belong to the heading.
const MOST_TOKENS: usize = 230;
/// Below this many words the token bound gives way: scripts that the embedding model spells letter by letter would fall
/// into fragments, and are found by words rather than by meaning anyway.
const FEWEST_WORDS: usize = 60;
/// A section shorter than this is joined with the next one.
const TINY_WORDS: usize = 30;
/// Longest sentence that is repeated at the start of the next passage when a paragraph had to be cut.
const OVERLAP_WORDS: usize = 30;
/// Longest heading; what is longer is a paragraph that was set like one.
const HEADING_BYTES: usize = 200;
/// Between the parts of a heading path where it is shown in one line.
pub const HEADING_SEPARATOR: &str = " › ";

/// What is indexed, shown as a hit and quoted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Place in the document, counted from 0.
    pub ordinal: u32,
    /// Headings above it, highest first.
    pub headings: Vec<String>,
    /// Its text; paragraphs, items, rows and lines of code stand on lines of their own.
    pub text: String,
    /// Where it begins.
    pub location: Location,
}

impl Passage {
    /// Headings in one line; empty when there are none.
    pub fn heading(&self) -> String {
        self.headings.join(HEADING_SEPARATOR)
    }
}

/// Cuts a whole document.
pub fn split(blocks: &[Block]) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut splitter = Splitter::new(|passage| passages.push(passage));
    for block in blocks {
        splitter.block(block);
    }
    splitter.finish();
    passages
}

/// Cuts a document that arrives in pieces.
pub struct Splitter<F> {
    sink: F,
    ordinal: u32,
    /// Headings above the present place with their levels, highest first.
    path: Vec<(u8, String)>,
    parts: Vec<Part>,
    size: Size,
    /// First row of the table that is being read, repeated where the table is cut.
    table_head: Option<String>,
}

/// A sentence, row or line, as it stands in the passage being filled.
struct Part {
    text: String,
    size: Size,
    lead: Lead,
    headings: Vec<String>,
    location: Location,
    /// It stood in the passage before already.
    repeated: bool,
}

/// What stands before a part in its passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    /// It begins a line of its own.
    Line,
    Space,
    /// No white space parted it from what stood before it.
    Nothing,
}

impl<F: FnMut(Passage)> Splitter<F> {
    /// Hands each passage to `sink` as soon as it is complete.
    pub fn new(sink: F) -> Self {
        Self {
            sink,
            ordinal: 0,
            path: Vec::new(),
            parts: Vec::new(),
            size: Size::default(),
            table_head: None,
        }
    }

    /// Takes the next block.
    pub fn block(&mut self, block: &Block) {
        if block.kind != BlockKind::TableRow {
            self.table_head = None;
        }
        match block.kind {
            BlockKind::Heading(level) => self.heading(level, &block.text),
            BlockKind::Code => self.lines(block),
            BlockKind::TableRow => {
                let head = self.table_head.clone();
                self.unit(&block.text, block, head.as_deref());
                self.table_head.get_or_insert_with(|| block.text.clone());
            }
            BlockKind::Paragraph | BlockKind::ListItem => self.sentences(block),
        }
    }

    /// Ends the document.
    pub fn finish(mut self) {
        self.end_passage();
    }

    fn heading(&mut self, level: u8, text: &str) {
        if self.size.words >= TINY_WORDS {
            self.end_passage();
        }
        while self.path.last().is_some_and(|(above, _)| *above >= level) {
            self.path.pop();
        }
        let text = text.get(..text.floor_char_boundary(HEADING_BYTES)).unwrap_or(text);
        // It may become a line of the passage that is open.
        if !self.parts.is_empty() {
            self.size = self.size + Size::of(text);
        }
        self.path.push((level, text.split_whitespace().collect::<Vec<_>>().join(" ")));
    }

    fn sentences(&mut self, block: &Block) {
        let all = Size::of(&block.text);
        // A paragraph that fits into a passage of its own is not cut for the sake of filling this one.
        let begins_anew = within(all) && self.size.words >= TINY_WORDS && !self.fits(all);
        if self.size.words >= ENOUGH_WORDS || begins_anew {
            self.end_passage();
        }
        let mut first = true;
        let mut end = 0;
        for range in sentences(&block.text) {
            let glued = range.start == end;
            end = range.end;
            for (index, (piece, size)) in
                pieces(block.text.get(range).unwrap_or_default()).into_iter().enumerate()
            {
                if !self.fits(size) {
                    let carried = (!first).then(|| self.overlap(size)).flatten();
                    self.end_passage();
                    if let Some(carried) = carried {
                        self.push(carried);
                    }
                }
                let lead = match (first, glued && index == 0) {
                    (true, _) => Lead::Line,
                    (false, true) => Lead::Nothing,
                    (false, false) => Lead::Space,
                };
                self.push(self.part(piece, size, lead, block));
                first = false;
            }
        }
    }

    fn lines(&mut self, block: &Block) {
        for line in block.text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            self.unit(line, block, None);
        }
    }

    /// A row or a line of code: kept whole where it is not longer than a passage.
    fn unit(&mut self, text: &str, block: &Block, head: Option<&str>) {
        for (index, (piece, size)) in pieces(text).into_iter().enumerate() {
            if !self.fits(size) {
                self.end_passage();
                let head =
                    head.map(|head| (head, Size::of(head))).filter(|(_, size)| size.words <= OVERLAP_WORDS);
                if let Some((head, size)) = head {
                    let part = self.part(head, size, Lead::Line, block);
                    self.push(Part { repeated: true, ..part });
                }
            }
            let lead = if index == 0 { Lead::Line } else { Lead::Space };
            self.push(self.part(piece, size, lead, block));
        }
    }

    fn fits(&self, more: Size) -> bool {
        self.parts.is_empty() || within(self.size + more)
    }

    /// The last sentence, to begin the next passage with, when it leaves room for what follows.
    fn overlap(&self, after: Size) -> Option<Part> {
        let last = self.parts.last().filter(|last| !last.repeated)?;
        (last.size.words <= OVERLAP_WORDS && within(last.size + after)).then(|| Part {
            text: last.text.clone(),
            size: last.size,
            lead: Lead::Line,
            headings: last.headings.clone(),
            location: last.location.clone(),
            repeated: true,
        })
    }

    fn part(&self, text: &str, size: Size, lead: Lead, block: &Block) -> Part {
        Part {
            text: text.to_owned(),
            size,
            lead,
            headings: self.path.iter().map(|(_, text)| text.clone()).collect(),
            location: block.location.clone(),
            repeated: false,
        }
    }

    fn push(&mut self, part: Part) {
        self.size = self.size + part.size;
        self.parts.push(part);
    }

    fn end_passage(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        self.size = Size::default();
        let Some(first) = parts.first().filter(|_| parts.iter().any(|part| !part.repeated)) else { return };
        let mut headings = first.headings.clone();
        for part in &parts {
            let common = headings.iter().zip(&part.headings).take_while(|(a, b)| a == b).count();
            headings.truncate(common);
        }
        let mut text = String::new();
        let mut below: &[String] = &[];
        for part in &parts {
            // Sections that were joined keep their own headings as lines of the text.
            let own = part.headings.get(headings.len()..).unwrap_or_default();
            if own != below {
                below = own;
                for heading in own {
                    new_line(&mut text);
                    text.push_str(heading);
                }
                new_line(&mut text);
            } else if part.lead == Lead::Line {
                new_line(&mut text);
            } else if part.lead == Lead::Space && !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&part.text);
        }
        let passage = Passage { ordinal: self.ordinal, headings, text, location: first.location.clone() };
        self.ordinal = self.ordinal.saturating_add(1);
        (self.sink)(passage);
    }
}

fn new_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

/// Whether a passage may have this size.
fn within(size: Size) -> bool {
    size.words <= MOST_WORDS && (size.tokens <= MOST_TOKENS || size.words <= FEWEST_WORDS)
}

/// A sentence; one that is longer than a passage is cut between words.
fn pieces(text: &str) -> Vec<(&str, Size)> {
    let text = text.trim();
    let whole = Size::of(text);
    if within(whole) && whole.tokens <= MOST_TOKENS * 2 {
        return if text.is_empty() { Vec::new() } else { vec![(text, whole)] };
    }
    let estimator = Estimator::of(text);
    let mut pieces = Vec::new();
    let (mut start, mut size) = (0, Size::default());
    let mut cut = |range: std::ops::Range<usize>, size: Size| {
        let piece = text.get(range).unwrap_or_default().trim();
        if !piece.is_empty() {
            pieces.push((piece, size));
        }
    };
    for (at, word) in text.split_word_bound_indices() {
        let is_word = word.chars().any(char::is_alphanumeric);
        let more = Size { words: usize::from(is_word), tokens: estimator.tokens(word) };
        // A run of signs without a word in it is cut by its tokens alone.
        if (is_word && !within(size + more)) || size.tokens + more.tokens > MOST_TOKENS * 2 {
            cut(start..at, size);
            (start, size) = (at, Size::default());
        }
        size = size + more;
    }
    cut(start..text.len(), size);
    pieces
}
