//! Markdown (CommonMark with tables, footnotes, task lists and front matter).

use pulldown_cmark::{Event, HeadingLevel, MetadataBlockKind, Options, Parser, Tag, TagEnd};

use super::{
    BlockKind, Location, Reason,
    document::CELL_SEPARATOR,
    encoding, html,
    output::{Next, Output},
};

pub(super) fn read(bytes: &[u8], output: &mut Output<'_>) -> Result<(), Reason> {
    let decoded = encoding::decode(bytes, None);
    if decoded.replaced {
        output.replaced();
    }
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_GFM;
    let mut reader = Reader::default();
    for event in Parser::new_ext(&decoded.text, options) {
        if reader.step(event, output)? == Next::Stop || output.next() == Next::Stop {
            return Ok(());
        }
    }
    reader.end_block(output).map(|_| ())
}

#[derive(Default)]
struct Reader {
    text: String,
    kinds: Vec<BlockKind>,
    location: Location,
    metadata: bool,
    html: String,
    cells: usize,
}

impl Reader {
    fn step(&mut self, event: Event<'_>, output: &mut Output<'_>) -> Result<Next, Reason> {
        match event {
            Event::Start(tag) => return self.start(tag, output),
            Event::End(tag) => return self.end(tag, output),
            Event::Text(text) if self.metadata => front_matter(&text, output),
            Event::Text(text) | Event::Code(text) | Event::InlineMath(text) | Event::DisplayMath(text) => {
                self.text.push_str(&text);
            }
            Event::Html(text) => self.html.push_str(&text),
            Event::SoftBreak | Event::HardBreak => self.text.push(' '),
            Event::InlineHtml(tag) if tag.starts_with("<br") => self.text.push(' '),
            Event::InlineHtml(_) | Event::FootnoteReference(_) | Event::TaskListMarker(_) => {}
            Event::Rule => return self.end_block(output),
        }
        Ok(Next::Continue)
    }

    fn start(&mut self, tag: Tag<'_>, output: &mut Output<'_>) -> Result<Next, Reason> {
        match tag {
            Tag::Heading { level, id, .. } => {
                let next = self.end_block(output)?;
                self.kinds.push(BlockKind::Heading(number(level)));
                self.location.anchor = id.map(|id| id.to_string());
                return Ok(next);
            }
            Tag::Item => {
                let next = self.end_block(output)?;
                self.kinds.push(BlockKind::ListItem);
                return Ok(next);
            }
            Tag::CodeBlock(_) => {
                let next = self.end_block(output)?;
                self.kinds.push(BlockKind::Code);
                return Ok(next);
            }
            Tag::TableHead | Tag::TableRow => {
                let next = self.end_block(output)?;
                self.kinds.push(BlockKind::TableRow);
                self.cells = 0;
                return Ok(next);
            }
            Tag::TableCell => {
                if self.cells > 0 {
                    self.text.push_str(CELL_SEPARATOR);
                }
                self.cells += 1;
            }
            Tag::Paragraph
            | Tag::List(_)
            | Tag::HtmlBlock
            | Tag::BlockQuote(_)
            | Tag::FootnoteDefinition(_) => {
                return self.end_block(output);
            }
            Tag::MetadataBlock(MetadataBlockKind::YamlStyle) => self.metadata = true,
            _ => {}
        }
        Ok(Next::Continue)
    }

    fn end(&mut self, tag: TagEnd, output: &mut Output<'_>) -> Result<Next, Reason> {
        match tag {
            TagEnd::Heading(_) => {
                if self.location.anchor.is_none() {
                    self.location.anchor = Some(slug(&self.text)).filter(|slug| !slug.is_empty());
                }
                let next = self.end_block(output)?;
                self.kinds.pop();
                Ok(next)
            }
            TagEnd::Item | TagEnd::CodeBlock | TagEnd::TableHead | TagEnd::TableRow => {
                let next = self.end_block(output)?;
                self.kinds.pop();
                Ok(next)
            }
            TagEnd::Paragraph | TagEnd::BlockQuote(_) | TagEnd::FootnoteDefinition => self.end_block(output),
            TagEnd::HtmlBlock => {
                let html = std::mem::take(&mut self.html);
                html::read_part(&html, &self.location, output)
            }
            TagEnd::MetadataBlock(_) => {
                self.metadata = false;
                Ok(Next::Continue)
            }
            _ => Ok(Next::Continue),
        }
    }

    fn end_block(&mut self, output: &mut Output<'_>) -> Result<Next, Reason> {
        let kind = self.kinds.last().copied().unwrap_or(BlockKind::Paragraph);
        let next = output.push(kind, &self.text, &self.location);
        self.text.clear();
        next
    }
}

/// Title and language of a YAML front matter, where they stand on lines of their own.
fn front_matter(text: &str, output: &mut Output<'_>) {
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim().trim_matches(['"', '\'']);
        match key.trim() {
            "title" => output.title(value),
            "lang" | "language" => output.declared_language(value),
            _ => {}
        }
    }
}

/// The identity that the common renderers give to a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn number(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}
