//! A stream of tags and text from HTML, XHTML or the XML of book containers.
//!
//! Only the tokenizer of html5ever is used, not its tree: a tree costs a hundred bytes for each byte of some hostile
//! files and, where nesting is deep, time by the square. Neither entities of a document's own nor external ones are
//! ever expanded, because HTML knows none.

use std::cell::RefCell;

use html5ever::{
    Attribute, LocalName, TokenizerResult,
    buffer_queue::BufferQueue,
    tendril::StrTendril,
    tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts, states::RawKind},
};

use super::{Reason, output::Next};

/// Text goes to the tokenizer in pieces of this size; between them reading can be stopped.
const FEED_BYTES: usize = 32 * 1024;

/// Which rules hold for elements whose content is not markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `script`, `style`, `title` and the like hold text.
    Html,
    /// Every element holds markup.
    Xml,
}

/// One step through a document. Names are in lower case, with their prefix (`dc:title`).
pub(super) enum Event<'e> {
    Open { name: &'e LocalName, attributes: Attributes<'e>, self_closing: bool },
    Close { name: &'e LocalName },
    Text(&'e str),
}

/// Attributes of a tag.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'e>(&'e [Attribute]);

impl<'e> Attributes<'e> {
    pub(super) fn get(self, name: &str) -> Option<&'e str> {
        self.0.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| &*attribute.value)
    }
}

/// Calls `on` for each step, until it says stop.
pub(super) fn events(
    text: &str,
    dialect: Dialect,
    on: &mut dyn FnMut(Event<'_>) -> Result<Next, Reason>,
) -> Result<(), Reason> {
    let sink = Sink { dialect, state: RefCell::new(State { on, outcome: Ok(Next::Continue) }) };
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let queue = BufferQueue::default();
    let mut rest = text;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(FEED_BYTES));
        rest = after;
        queue.push_back(StrTendril::from_slice(piece));
        while !matches!(tokenizer.feed(&queue), TokenizerResult::Done) {}
        if !matches!(tokenizer.sink.state.borrow().outcome, Ok(Next::Continue)) {
            break;
        }
    }
    tokenizer.end();
    tokenizer.sink.state.into_inner().outcome.map(|_| ())
}

struct Sink<'a> {
    dialect: Dialect,
    state: RefCell<State<'a>>,
}

struct State<'a> {
    on: &'a mut dyn FnMut(Event<'_>) -> Result<Next, Reason>,
    outcome: Result<Next, Reason>,
}

impl State<'_> {
    fn step(&mut self, event: Event<'_>) {
        if matches!(self.outcome, Ok(Next::Continue)) {
            self.outcome = (self.on)(event);
        }
    }
}

impl TokenSink for Sink<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut state = self.state.borrow_mut();
        match token {
            Token::TagToken(Tag { kind: TagKind::StartTag, name, self_closing, attrs, .. }) => {
                state.step(Event::Open { name: &name, attributes: Attributes(&attrs), self_closing });
                if self.dialect == Dialect::Html && !self_closing {
                    return content_of(&name);
                }
            }
            Token::TagToken(Tag { kind: TagKind::EndTag, name, .. }) => {
                state.step(Event::Close { name: &name })
            }
            Token::CharacterTokens(text) => state.step(Event::Text(&text)),
            _ => {}
        }
        TokenSinkResult::Continue
    }

    // CDATA sections are text in XML; HTML takes them for comments.
    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.dialect == Dialect::Xml
    }
}

fn content_of(name: &LocalName) -> TokenSinkResult<()> {
    match &**name {
        "script" => TokenSinkResult::RawData(RawKind::ScriptData),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" => TokenSinkResult::RawData(RawKind::Rawtext),
        "title" | "textarea" => TokenSinkResult::RawData(RawKind::Rcdata),
        "plaintext" => TokenSinkResult::Plaintext,
        _ => TokenSinkResult::Continue,
    }
}
