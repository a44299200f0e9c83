//! Why a file could not be read, in words for the person who uploaded it.

use std::any::Any;

use serde::{Deserialize, Serialize};

use super::{Format, Hint};

/// A file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("“{file}” could not be read: {reason}")]
pub struct ExtractError {
    /// Name of the file as uploaded.
    pub file: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Longest file name that is repeated in an error.
const NAME_CHARS: usize = 120;

impl ExtractError {
    pub(crate) fn new(hint: &Hint, reason: Reason) -> Self {
        let shown = |c: &char| !c.is_control();
        let mut file: String = hint.name.chars().filter(shown).take(NAME_CHARS).collect();
        if file.is_empty() {
            file.push_str("unnamed file");
        }
        Self { file, reason }
    }

    /// Whether the same file may be read another time: the cause was this machine, not the file.
    pub fn is_transient(&self) -> bool {
        matches!(self.reason, Reason::NotRun { .. })
    }
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Reason {
    /// The file has no bytes.
    #[error("it is empty")]
    Empty,
    /// A format that is not read.
    #[error("it is {what}. {advice}")]
    Unsupported {
        /// The format, with its article: "a Word document".
        what: String,
        /// What a person can do.
        advice: String,
    },
    /// A password or rights management is in the way.
    #[error(
        "it is protected. Remove the password or copy protection with the program that made it, and upload it again"
    )]
    Encrypted,
    /// Every page is a picture.
    #[error(
        "its {pages} pages are pictures without text. Run text recognition (OCR) on it, for example with OCRmyPDF, and upload the result"
    )]
    ImagesOnly {
        /// How many pages there are.
        pages: u32,
    },
    /// Readable as a format, but there is no text in it.
    #[error("there is no text in it")]
    NoText,
    /// The file contradicts its format.
    #[error("it is a damaged {format} file ({detail}). Upload it again from the original")]
    Damaged {
        /// The format that it claims to be.
        format: Format,
        /// What was found.
        detail: String,
    },
    /// A limit was passed before anything useful was read.
    #[error("{0}")]
    TooLarge(#[from] Limit),
    /// Reading took too long and was stopped.
    #[error("reading it took longer than {seconds} s and was stopped")]
    TimedOut {
        /// The limit that was passed.
        seconds: u64,
    },
    /// Reading needed too much memory and was stopped.
    #[error("reading it needs more than {mebibytes} MiB of memory and was stopped")]
    OutOfMemory {
        /// The limit that was passed.
        mebibytes: u64,
    },
    /// The reader did something that only a hijacked reader would do, and was killed.
    #[error(
        "it made the reader attempt something forbidden, and the reader was stopped. The file may be an attack"
    )]
    Forbidden,
    /// The reader broke down.
    #[error("the reader broke down on it ({how})")]
    Crashed {
        /// Last words of the reader.
        how: String,
    },
    /// The reader could not be started or heard; nothing is known about the file.
    #[error("the reader could not be run ({how})")]
    NotRun {
        /// What failed.
        how: String,
    },
}

/// A bound that a file passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Limit {
    /// Size of the file.
    #[error("it is larger than {0} bytes")]
    InputBytes(u64),
    /// Size of what is packed in it.
    #[error("it unpacks to more than {0} bytes")]
    UnpackedBytes(u64),
    /// Compression that no honest file has.
    #[error("it unpacks to more than {0} times its size, as an archive bomb does")]
    UnpackRatio(u64),
    /// Entries of a container.
    #[error("it holds more than {0} entries")]
    Entries(u64),
    /// Pages.
    #[error("it has more than {0} pages")]
    Pages(u32),
    /// Blocks.
    #[error("it has more than {0} paragraphs")]
    Blocks(u64),
    /// Text.
    #[error("it holds more than {0} bytes of text")]
    TextBytes(u64),
    /// Time.
    #[error("reading it takes longer than {0} s")]
    Seconds(u64),
}

impl Reason {
    pub(crate) fn damaged(format: Format, detail: impl Into<String>) -> Self {
        Self::Damaged { format, detail: detail.into() }
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_owned())
}
