//! HTML and XHTML: headings, paragraphs, lists, tables and code as blocks; furniture left out.

mod chrome;

use html5ever::LocalName;

use super::{
    Block, BlockKind, Hint, Location, Reason,
    document::CELL_SEPARATOR,
    encoding,
    limits::NESTING_DEPTH,
    markup::{self, Attributes, Dialect, Event},
    output::{Next, Output},
};

/// Where a `charset` declaration must stand (HTML standard, 4.2.5.4).
const CHARSET_WITHIN: usize = 1024;
/// What is marked as the main part is believed when it holds this share of the text, or this much.
const MAIN_SHARE: usize = 4;
const MAIN_ENOUGH_BYTES: usize = 500;

/// Reads a page.
pub(super) fn read(bytes: &[u8], hint: &Hint, output: &mut Output<'_>) -> Result<(), Reason> {
    let head = bytes.get(..CHARSET_WITHIN).unwrap_or(bytes);
    let declared = hint.charset().map(str::to_owned).or_else(|| declared_charset(head));
    let decoded = encoding::decode(bytes, declared.as_deref());
    if decoded.replaced {
        output.replaced();
    }
    read_part(&decoded.text, &Location::default(), output)?;
    Ok(())
}

/// Reads a page that is a part of something larger: `place` is put before its anchors, as path or chapter.
pub(super) fn read_part(text: &str, place: &Location, output: &mut Output<'_>) -> Result<Next, Reason> {
    let page = parse(text, place, output)?;
    if let Some(title) = &page.title {
        output.title(title);
    }
    if let Some(language) = &page.language {
        output.declared_language(language);
    }
    for block in page.content() {
        if output.push(block.kind, &block.text, &block.location)? == Next::Stop {
            return Ok(Next::Stop);
        }
    }
    Ok(output.next())
}

/// Reads an article whose title was written already: a first heading that repeats it is left out, the others stand below it.
pub(super) fn read_article(
    text: &str,
    title: &str,
    place: &Location,
    output: &mut Output<'_>,
) -> Result<Next, Reason> {
    let page = parse(text, place, output)?;
    if let Some(language) = &page.language {
        output.declared_language(language);
    }
    let mut content = page.content().peekable();
    if content.peek().is_some_and(|first| matches!(first.kind, BlockKind::Heading(_)) && first.text == title)
    {
        content.next();
    }
    for block in content {
        let kind = match block.kind {
            BlockKind::Heading(level) => BlockKind::Heading(level.clamp(2, 6)),
            kind => kind,
        };
        if output.push(kind, &block.text, &block.location)? == Next::Stop {
            return Ok(Next::Stop);
        }
    }
    Ok(output.next())
}

fn parse(text: &str, place: &Location, output: &mut Output<'_>) -> Result<Page, Reason> {
    let mut reader = Reader::new(place, output.text_room());
    markup::events(text, Dialect::Html, &mut |event| {
        match event {
            Event::Open { name, attributes, self_closing } => reader.open(name, attributes, self_closing),
            Event::Close { name } => reader.close(name),
            Event::Text(text) => reader.text(text),
        }
        Ok(reader.next(output))
    })?;
    Ok(reader.finish())
}

/// The `charset` of a `meta` element or an XML declaration.
fn declared_charset(head: &[u8]) -> Option<String> {
    let head = head.to_ascii_lowercase();
    let head = String::from_utf8_lossy(&head);
    let (_, after) = head.split_once("charset").or_else(|| head.split_once("encoding"))?;
    let value = after.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
    let end = value.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.".contains(c)).unwrap_or(value.len());
    value.get(..end).filter(|label| !label.is_empty()).map(str::to_owned)
}

struct Page {
    title: Option<String>,
    language: Option<String>,
    /// Blocks, and whether they stand in what the page marks as its main part.
    blocks: Vec<(Block, bool)>,
}

impl Page {
    fn content(&self) -> impl Iterator<Item = &Block> {
        let size = |main_only: bool| -> usize {
            self.blocks
                .iter()
                .filter(|(_, main)| *main || !main_only)
                .map(|(block, _)| block.text.len())
                .sum()
        };
        let main = size(true);
        let main_only = main >= MAIN_ENOUGH_BYTES || (main > 0 && main * MAIN_SHARE >= size(false));
        self.blocks.iter().filter(move |(_, main)| *main || !main_only).map(|(block, _)| block)
    }
}

/// What an open element means for the text in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Inline,
    Block,
    Heading(u8),
    Item,
    Term,
    Preformatted,
    Row,
    Cell,
    Title,
    /// Everything in it is left out.
    Furniture,
}

struct Open {
    name: LocalName,
    role: Role,
    main: bool,
}

struct Reader<'p> {
    place: &'p Location,
    room: u64,
    held: u64,
    stack: Vec<Open>,
    /// Elements that are open beyond the depth limit.
    deeper: usize,
    furniture: usize,
    preformatted: usize,
    main: usize,
    text: String,
    /// Cells of the rows that are open, innermost last.
    rows: Vec<Vec<String>>,
    term: String,
    anchor: Option<String>,
    /// Last identity seen since the last block.
    identity: Option<String>,
    page: Page,
}

impl<'p> Reader<'p> {
    fn new(place: &'p Location, room: u64) -> Self {
        Self {
            place,
            room,
            held: 0,
            stack: Vec::new(),
            deeper: 0,
            furniture: 0,
            preformatted: 0,
            main: 0,
            text: String::new(),
            rows: Vec::new(),
            term: String::new(),
            anchor: None,
            identity: None,
            page: Page { title: None, language: None, blocks: Vec::new() },
        }
    }

    fn next(&self, output: &mut Output<'_>) -> Next {
        if self.held > self.room { Next::Stop } else { output.next() }
    }

    fn open(&mut self, name: &LocalName, attributes: Attributes<'_>, self_closing: bool) {
        if &**name == "html" || &**name == "body" {
            let language = attributes.get("lang").or_else(|| attributes.get("xml:lang"));
            self.page.language = self.page.language.take().or_else(|| language.map(str::to_owned));
        }
        self.end_implied(name);
        let role = if chrome::is_furniture(name, attributes) { Role::Furniture } else { role_of(name) };
        if !matches!(role, Role::Inline | Role::Title) {
            self.flush();
        }
        if self.furniture == 0
            && role != Role::Furniture
            && let Some(id) = attributes.get("id").or_else(|| attributes.get("name").filter(|_| &**name == "a"))
            // A heading's own identity is better than those of what stands in it.
            && !(role == Role::Inline && self.in_heading() && self.identity.is_some())
        {
            self.identity = Some(id.to_owned());
        }
        match &**name {
            "br" | "wbr" if self.preformatted > 0 => self.text.push('\n'),
            "br" | "hr" => self.space(),
            "sup" if self.furniture == 0 && self.text.ends_with(|c: char| c.is_alphanumeric()) => {
                self.text.push('^')
            }
            _ => {}
        }
        if self_closing || is_void(name) {
            return;
        }
        if self.stack.len() >= NESTING_DEPTH {
            self.deeper += 1;
            return;
        }
        let main = self.main == 0 && chrome::is_main(name, attributes);
        match role {
            Role::Furniture => self.furniture += 1,
            Role::Preformatted => self.preformatted += 1,
            Role::Row => self.rows.push(Vec::new()),
            Role::Cell => {
                if let Some(row) = self.rows.last_mut() {
                    row.push(String::new());
                }
            }
            _ => {}
        }
        self.main += usize::from(main);
        self.stack.push(Open { name: name.clone(), role, main });
    }

    /// Ends what the new element may not stand in (HTML standard, 13.1.2.4, as far as it changes the text).
    fn end_implied(&mut self, name: &LocalName) {
        let (ends, within): (&[&str], &[&str]) = match &**name {
            "li" => (&["li"], &["ul", "ol", "menu"]),
            "dt" | "dd" => (&["dt", "dd"], &["dl"]),
            "tr" => (&["tr"], &["table"]),
            "td" | "th" => (&["td", "th"], &["tr", "table"]),
            "option" => (&["option"], &["select"]),
            "p" | "div" | "ul" | "ol" | "table" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                (&["p"], &["td", "th", "li"])
            }
            _ => return,
        };
        let found =
            self.stack.iter().rposition(|open| ends.contains(&&*open.name) || within.contains(&&*open.name));
        if let Some(at) = found
            && self.stack.get(at).is_some_and(|open| ends.contains(&&*open.name))
        {
            self.close_to(at);
        }
    }

    fn close(&mut self, name: &LocalName) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        if let Some(at) = self.stack.iter().rposition(|open| open.name == *name) {
            self.close_to(at);
        }
    }

    fn close_to(&mut self, at: usize) {
        while self.stack.len() > at {
            let Some(role) = self.stack.last().map(|open| open.role) else { return };
            if !matches!(role, Role::Inline) {
                self.flush();
            }
            let Some(open) = self.stack.pop() else { return };
            self.main -= usize::from(open.main);
            match role {
                Role::Furniture => self.furniture -= 1,
                Role::Preformatted => self.preformatted -= 1,
                Role::Row => self.end_row(open.main),
                _ => {}
            }
        }
    }

    fn end_row(&mut self, main: bool) {
        let Some(cells) = self.rows.pop() else { return };
        let cells: Vec<&str> = cells.iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty()).collect();
        // A row of one cell is layout, or a heading over columns.
        let kind = if cells.len() > 1 { BlockKind::TableRow } else { BlockKind::Paragraph };
        self.emit(kind, cells.join(CELL_SEPARATOR), main);
    }

    fn text(&mut self, text: &str) {
        if self.furniture > 0 {
            return;
        }
        self.held += text.len() as u64;
        if self.preformatted > 0 {
            self.text.push_str(text);
            return;
        }
        for c in text.chars() {
            match c {
                '\u{ad}' | '\u{200b}' | '\u{feff}' => {}
                c if c.is_whitespace() => self.space(),
                c => self.text.push(c),
            }
        }
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(' ') {
            self.text.push(' ');
        }
    }

    fn in_heading(&self) -> bool {
        self.stack
            .iter()
            .rev()
            .take_while(|open| matches!(open.role, Role::Inline | Role::Heading(_)))
            .any(|open| matches!(open.role, Role::Heading(_)))
    }

    /// Ends the block whose text was gathered so far.
    fn flush(&mut self) {
        let preformatted = self.preformatted > 0;
        let text = std::mem::take(&mut self.text);
        if text.trim().is_empty() {
            return;
        }
        let role = self
            .stack
            .iter()
            .rev()
            .map(|open| open.role)
            .find(|role| !matches!(role, Role::Inline | Role::Block));
        match role {
            Some(Role::Title) => {
                self.page.title.get_or_insert(text);
            }
            Some(Role::Term) => self.term = text.trim().to_owned(),
            Some(Role::Heading(level)) => self.emit(BlockKind::Heading(level), text, false),
            // In a table everything is part of a cell, whatever else it is.
            _ if !self.rows.is_empty() => self.add_to_cell(text.trim()),
            _ if preformatted => self.emit(BlockKind::Code, text, false),
            Some(Role::Item) if !self.term.is_empty() => {
                let term = std::mem::take(&mut self.term);
                let term = term.trim_end_matches(':');
                self.emit(BlockKind::ListItem, format!("{term}: {}", text.trim()), false);
            }
            Some(Role::Item) => self.emit(BlockKind::ListItem, text, false),
            _ => self.emit(BlockKind::Paragraph, text, false),
        }
    }

    fn add_to_cell(&mut self, text: &str) {
        let Some(row) = self.rows.last_mut() else { return };
        match row.last_mut() {
            Some(cell) => {
                if !cell.is_empty() {
                    cell.push(' ');
                }
                cell.push_str(text);
            }
            None => row.push(text.to_owned()),
        }
    }

    fn emit(&mut self, kind: BlockKind, text: String, main: bool) {
        if !self.term.is_empty() && kind != BlockKind::ListItem {
            let term = std::mem::take(&mut self.term);
            self.emit(BlockKind::ListItem, term, main);
        }
        let text = if kind == BlockKind::Code { text } else { text.trim().to_owned() };
        if text.trim().is_empty() {
            return;
        }
        if matches!(kind, BlockKind::Heading(_)) {
            self.anchor = self.identity.take().or_else(|| self.anchor.take());
        }
        self.identity = None;
        let location = Location { anchor: self.anchor_in_place(), ..self.place.clone() };
        self.page.blocks.push((Block { kind, text, location }, main || self.main > 0));
    }

    /// The anchor, behind the path of the part that this page is.
    fn anchor_in_place(&self) -> Option<String> {
        match (&self.place.anchor, &self.anchor) {
            (Some(path), Some(anchor)) => Some(format!("{path}#{anchor}")),
            (path, anchor) => path.clone().or_else(|| anchor.clone()),
        }
    }

    fn finish(mut self) -> Page {
        self.close_to(0);
        self.flush();
        if !self.term.is_empty() {
            let term = std::mem::take(&mut self.term);
            self.emit(BlockKind::ListItem, term, false);
        }
        self.page
    }
}

fn role_of(name: &str) -> Role {
    match name {
        "h1" => Role::Heading(1),
        "h2" => Role::Heading(2),
        "h3" => Role::Heading(3),
        "h4" => Role::Heading(4),
        "h5" => Role::Heading(5),
        "h6" => Role::Heading(6),
        "li" | "dd" => Role::Item,
        "dt" => Role::Term,
        "pre" | "listing" | "xmp" | "plaintext" => Role::Preformatted,
        "tr" => Role::Row,
        "td" | "th" => Role::Cell,
        "title" => Role::Title,
        "address" | "article" | "aside" | "blockquote" | "body" | "caption" | "center" | "details"
        | "dialog" | "dir" | "div" | "dl" | "fieldset" | "figcaption" | "figure" | "form" | "head"
        | "header" | "hgroup" | "hr" | "html" | "legend" | "main" | "menu" | "ol" | "p" | "section"
        | "summary" | "table" | "tbody" | "tfoot" | "thead" | "ul" => Role::Block,
        _ => Role::Inline,
    }
}

/// Elements without content (HTML standard, 13.1.2).
fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "track"
            | "wbr"
    )
}
