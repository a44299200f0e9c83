//! What extraction makes of a file: a summary and blocks in reading order.

use serde::{Deserialize, Serialize};

/// A document that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    /// What is known about the document as a whole.
    pub summary: Summary,
    /// Its text in reading order.
    pub blocks: Vec<Block>,
}

/// What is known about a document as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The format that was found, whatever the file was declared to be.
    pub format: Format,
    /// The document's own title, or its first heading.
    pub title: Option<String>,
    /// ISO 639-1 code (639-3 where there is no shorter one): guessed from the text, else what the document declares.
    pub language: Option<String>,
    /// What a person should know about how complete the text is; empty when nothing was lost.
    pub notices: Vec<Notice>,
}

/// One piece of a document that belongs together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// Its text, never empty. White space is collapsed, except in [`BlockKind::Code`]. Cells of a row are
    /// separated by [`CELL_SEPARATOR`].
    pub text: String,
    /// Where in the document it stands.
    pub location: Location,
}

/// Between the cells of a table row.
pub const CELL_SEPARATOR: &str = " | ";

/// What a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockKind {
    /// A heading, 1 (highest) to 6.
    Heading(u8),
    /// Running text.
    Paragraph,
    /// One item of a list, without its bullet or number.
    ListItem,
    /// One row of a table.
    TableRow,
    /// Preformatted text, with its line breaks.
    Code,
}

/// Where in a document something stands, as far as the format has such places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Location {
    /// Page, counted from 1 (PDF, and text with form feeds).
    pub page: Option<u32>,
    /// Fragment of the page or, in EPUB and ZIM, path of the part and fragment.
    pub anchor: Option<String>,
    /// Chapter of a book or article of an archive, by its title.
    pub chapter: Option<String>,
}

/// The formats that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    /// CommonMark with tables, footnotes and front matter.
    Markdown,
    /// Text without markup.
    Text,
    /// HTML or XHTML.
    Html,
    /// PDF 1.0 to 2.0.
    Pdf,
    /// EPUB 2 and 3.
    Epub,
    /// openZIM archive, with old and new namespaces.
    Zim,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Markdown => "Markdown",
            Self::Text => "text",
            Self::Html => "HTML",
            Self::Pdf => "PDF",
            Self::Epub => "EPUB",
            Self::Zim => "ZIM",
        })
    }
}

/// What the uploader said about a file. Never trusted where the bytes say something else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// File name as uploaded; names the file in errors.
    pub name: String,
    /// Declared media type, possibly with parameters (`text/html; charset=utf-8`).
    pub media_type: Option<String>,
}

impl Hint {
    /// A hint from a file name alone.
    pub fn from_name(name: impl Into<String>) -> Self {
        Self { name: name.into(), media_type: None }
    }

    /// Lower-case extension of the name, without the dot; empty when there is none.
    pub(crate) fn extension(&self) -> String {
        self.name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default()
    }

    /// The value of the media type's `charset` parameter.
    pub(crate) fn charset(&self) -> Option<&str> {
        let parameters = self.media_type.as_deref()?.split(';').skip(1);
        parameters
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case("charset"))
            .map(|(_, value)| value.trim().trim_matches('"'))
    }
}

/// Something that a person should know about how complete the text is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Notice {
    /// Bytes that are not valid in the file's encoding were replaced by U+FFFD.
    #[error("some characters were damaged and are shown as \u{fffd}")]
    ReplacedCharacters,
    /// The text was cut at a limit.
    #[error("only the first part was read: {0}")]
    Cut(#[from] super::Limit),
    /// Pages without text, most likely pictures of text.
    #[error(
        "{pages} pages hold no text; if they are scans, run text recognition (OCR) on them and upload the file again"
    )]
    PagesWithoutText {
        /// How many.
        pages: u32,
    },
    /// Parts that could not be read.
    #[error("{parts} parts of the file are damaged and were left out")]
    DamagedParts {
        /// How many pages, chapters or articles.
        parts: u32,
    },
}
