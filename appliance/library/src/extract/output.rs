//! Where every format's reader puts its blocks: counts them, cuts at the limits, and remembers what the summary needs.

use std::time::Instant;

use super::{
    Block, BlockKind, Format, Limit, Limits, Location, Notice, Reason, Summary, language, limits::BLOCK_BYTES,
};

/// Blocks are handed on in batches of about this much text.
const BATCH_BYTES: usize = 64 * 1024;
/// Most blocks of a batch.
const BATCH_BLOCKS: usize = 512;
/// Text that the language is guessed from.
const SAMPLE_BYTES: usize = 8 * 1024;
/// Longest title.
const TITLE_CHARS: usize = 300;

/// Whether a reader should go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Continue,
    /// A limit is reached: what was read counts, nothing more is taken.
    Stop,
}

pub(super) struct Output<'a> {
    limits: &'a Limits,
    sink: &'a mut dyn FnMut(Vec<Block>) -> Result<(), Reason>,
    started: Instant,
    batch: Vec<Block>,
    batch_bytes: usize,
    blocks: u64,
    text_bytes: u64,
    /// The limit that ended the reading.
    full: Option<Limit>,
    /// A limit because of which a part was left out, while the rest is read.
    left_out: Option<Limit>,
    title: Option<String>,
    first_heading: Option<(u8, String)>,
    declared_language: Option<String>,
    sample: String,
    replaced: bool,
    damaged_parts: u32,
    pages_without_text: u32,
}

impl<'a> Output<'a> {
    pub(super) fn new(limits: &'a Limits, sink: &'a mut dyn FnMut(Vec<Block>) -> Result<(), Reason>) -> Self {
        Self {
            limits,
            sink,
            started: Instant::now(),
            batch: Vec::new(),
            batch_bytes: 0,
            blocks: 0,
            text_bytes: 0,
            full: None,
            left_out: None,
            title: None,
            first_heading: None,
            declared_language: None,
            sample: String::new(),
            replaced: false,
            damaged_parts: 0,
            pages_without_text: 0,
        }
    }

    /// Takes a block. Empty ones are dropped, overlong ones continued in further blocks.
    pub(super) fn push(&mut self, kind: BlockKind, text: &str, location: &Location) -> Result<Next, Reason> {
        let mut rest = if kind == BlockKind::Code { text.trim_matches('\n').trim_end() } else { text.trim() };
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(piece_end(rest));
            if self.push_piece(kind, piece.trim_end(), location)? == Next::Stop {
                return Ok(Next::Stop);
            }
            rest = after.trim_start_matches(' ');
        }
        Ok(self.room())
    }

    fn push_piece(&mut self, kind: BlockKind, text: &str, location: &Location) -> Result<Next, Reason> {
        if self.room() == Next::Stop {
            return Ok(Next::Stop);
        }
        if text.is_empty() {
            return Ok(Next::Continue);
        }
        self.blocks += 1;
        self.text_bytes += text.len() as u64;
        match kind {
            BlockKind::Heading(level)
                if self.first_heading.as_ref().is_none_or(|(held, _)| level < *held) =>
            {
                self.first_heading = Some((level, one_line(text)));
            }
            BlockKind::Paragraph | BlockKind::ListItem if self.sample.len() < SAMPLE_BYTES => {
                self.sample.push_str(text.get(..text.floor_char_boundary(SAMPLE_BYTES)).unwrap_or_default());
                self.sample.push('\n');
            }
            _ => {}
        }
        self.batch_bytes += text.len();
        self.batch.push(Block { kind, text: text.to_owned(), location: location.clone() });
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_BLOCKS {
            self.flush()?;
        }
        Ok(Next::Continue)
    }

    /// Whether there is room and time for more. A reader asks this before it reads on.
    pub(super) fn next(&mut self) -> Next {
        if self.room() == Next::Continue && self.started.elapsed() >= self.limits.soft_time {
            self.full = Some(Limit::Seconds(self.limits.soft_time.as_secs()));
        }
        if self.full.is_some() { Next::Stop } else { Next::Continue }
    }

    /// Whether there is room for more. When time is up, what was read already is still taken.
    fn room(&mut self) -> Next {
        let passed = if self.blocks >= self.limits.blocks {
            Some(Limit::Blocks(self.limits.blocks))
        } else if self.text_bytes >= self.limits.text_bytes {
            Some(Limit::TextBytes(self.limits.text_bytes))
        } else {
            None
        };
        if passed.is_none() {
            return Next::Continue;
        }
        self.full = passed;
        Next::Stop
    }

    /// Room left for text, in bytes.
    pub(super) fn text_room(&self) -> u64 {
        self.limits.text_bytes.saturating_sub(self.text_bytes)
    }

    /// Whether it is time that ended the reading.
    pub(super) fn is_out_of_time(&self) -> bool {
        matches!(self.full, Some(Limit::Seconds(_)))
    }

    /// Says that a part is left out because of `limit`.
    pub(super) fn leave_out(&mut self, limit: Limit) {
        self.left_out.get_or_insert(limit);
    }

    /// The document's own title; the first one counts.
    pub(super) fn title(&mut self, title: &str) {
        let title = one_line(title);
        if self.title.is_none() && !title.is_empty() {
            self.title = Some(title);
        }
    }

    /// What the document says its language is, as a BCP 47 tag.
    pub(super) fn declared_language(&mut self, tag: &str) {
        if self.declared_language.is_none() {
            self.declared_language = language::from_tag(tag);
        }
    }

    /// Characters had to be replaced.
    pub(super) fn replaced(&mut self) {
        self.replaced = true;
    }

    /// A part of the document could not be read.
    pub(super) fn damaged_part(&mut self) {
        self.damaged_parts = self.damaged_parts.saturating_add(1);
    }

    /// A page held no text.
    pub(super) fn page_without_text(&mut self) {
        self.pages_without_text = self.pages_without_text.saturating_add(1);
    }

    /// Whether anything was read so far.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks == 0
    }

    fn flush(&mut self) -> Result<(), Reason> {
        self.batch_bytes = 0;
        if self.batch.is_empty() {
            return Ok(());
        }
        (self.sink)(std::mem::take(&mut self.batch))
    }

    /// Ends the document.
    pub(super) fn finish(mut self, format: Format) -> Result<Summary, Reason> {
        let cut = self.full.or(self.left_out);
        if self.is_empty() {
            return Err(match cut {
                Some(limit) => limit.into(),
                None if self.damaged_parts > 0 => Reason::damaged(format, "none of its parts can be read"),
                None => Reason::NoText,
            });
        }
        self.flush()?;
        let mut notices = Vec::new();
        if self.replaced {
            notices.push(Notice::ReplacedCharacters);
        }
        if let Some(limit) = cut {
            notices.push(Notice::Cut(limit));
        }
        if self.pages_without_text > 0 {
            notices.push(Notice::PagesWithoutText { pages: self.pages_without_text });
        }
        if self.damaged_parts > 0 {
            notices.push(Notice::DamagedParts { parts: self.damaged_parts });
        }
        let language = language::guess(&self.sample, self.declared_language.as_deref());
        let title = self.title.or(self.first_heading.map(|(_, text)| text));
        Ok(Summary { format, title, language, notices })
    }
}

/// Where the first piece of `text` ends: everything, or at the last white space within [`BLOCK_BYTES`].
fn piece_end(text: &str) -> usize {
    if text.len() <= BLOCK_BYTES {
        return text.len();
    }
    let end = text.floor_char_boundary(BLOCK_BYTES);
    let head = text.get(..end).unwrap_or_default();
    head.rfind(char::is_whitespace).filter(|at| *at > end / 2).unwrap_or(end)
}

fn one_line(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(TITLE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_read_when_time_is_up_counts() {
        let limits = Limits { soft_time: Duration::ZERO, ..Limits::default() };
        let mut held = Vec::new();
        let mut sink = |blocks| {
            held.extend::<Vec<Block>>(blocks);
            Ok(())
        };
        let mut output = Output::new(&limits, &mut sink);
        assert_eq!(output.next(), Next::Stop);
        for _ in 0..3 {
            assert_eq!(output.push(BlockKind::Paragraph, "words", &Location::default()), Ok(Next::Continue));
        }
        let summary = output.finish(Format::Text).unwrap();
        assert_eq!(summary.notices, [Notice::Cut(Limit::Seconds(0))]);
        assert_eq!(held.len(), 3);
    }

    #[test]
    fn nothing_passes_the_limits_and_long_text_is_continued() {
        let limits = Limits { blocks: 3, ..Limits::default() };
        let mut held = Vec::new();
        let mut sink = |blocks| {
            held.extend::<Vec<Block>>(blocks);
            Ok(())
        };
        let mut output = Output::new(&limits, &mut sink);
        let long = "word ".repeat(BLOCK_BYTES);
        assert_eq!(output.push(BlockKind::Paragraph, &long, &Location::default()), Ok(Next::Stop));
        let summary = output.finish(Format::Text).unwrap();
        assert_eq!(summary.notices, [Notice::Cut(Limit::Blocks(3))]);
        assert!(held.iter().all(|block| block.text.len() <= BLOCK_BYTES && block.text.ends_with("word")));
        assert_eq!(held.len(), 3);
    }
}
