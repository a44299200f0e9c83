//! From one file that a stranger uploaded to text with structure.
//!
//! [`extract()`] does the work in the calling process and is meant for the confined child ([`child_main`]), for tests
//! and for measuring. The hub itself calls [`Extractor`], which runs that child, so that a hostile file costs one file
//! and an error that names it.

mod child;
mod detect;
mod document;
mod encoding;
mod epub;
mod error;
mod extractor;
mod html;
mod input;
mod language;
mod limits;
mod markdown;
mod markup;
mod output;
mod pdf;
mod plain;
mod protocol;
mod zim;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use child::child_main;
pub use document::{Block, BlockKind, CELL_SEPARATOR, Extracted, Format, Hint, Location, Notice, Summary};
pub use error::{ExtractError, Limit, Reason};
pub use extractor::{Extractor, ExtractorCommand};
pub use input::Input;
pub use limits::Limits;

use output::Output;

/// Raised whenever the same file would give other blocks than before, so that the index knows what to read again.
pub const EXTRACTOR_VERSION: u32 = 1;

/// Reads a whole document into memory.
///
/// # Errors
/// [`ExtractError`] names the file and says what is wrong with it and, where a person can do something, what.
pub fn extract(input: &Input, hint: &Hint, limits: &Limits) -> Result<Extracted, ExtractError> {
    let mut blocks = Vec::new();
    let summary = extract_to(input, hint, limits, &mut |batch| {
        blocks.extend(batch);
        Ok(())
    })?;
    Ok(Extracted { summary, blocks })
}

/// Reads a document and hands its blocks over in batches, in reading order. `sink` may stop it with a [`Reason`].
///
/// # Errors
/// As [`extract()`].
pub fn extract_to(
    input: &Input,
    hint: &Hint,
    limits: &Limits,
    sink: &mut dyn FnMut(Vec<Block>) -> Result<(), Reason>,
) -> Result<Summary, ExtractError> {
    let mut output = Output::new(limits, sink);
    // Parsers of other people's formats are trusted to be wrong now and then: a panic in one of them is an answer
    // about the file, not the end of the process.
    let read = catch_unwind(AssertUnwindSafe(|| read(input, hint, limits, &mut output)))
        .unwrap_or_else(|panic| Err(Reason::Crashed { how: error::panic_text(panic.as_ref()) }));
    read.and_then(|format| output.finish(format)).map_err(|reason| ExtractError::new(hint, reason))
}

fn read(input: &Input, hint: &Hint, limits: &Limits, output: &mut Output<'_>) -> Result<Format, Reason> {
    if input.len() == 0 {
        return Err(Reason::Empty);
    }
    let format = detect::detect(input, hint)?;
    if format == Format::Zim {
        zim::read(input, limits, output)?;
        return Ok(format);
    }
    let bytes = input.whole(limits.input_bytes)?;
    match format {
        Format::Markdown => markdown::read(&bytes, output)?,
        Format::Text => plain::read(&bytes, output)?,
        Format::Html => html::read(&bytes, hint, output)?,
        Format::Pdf => pdf::read(bytes, limits, output)?,
        Format::Epub => epub::read(&bytes, limits, output)?,
        Format::Zim => {}
    }
    Ok(format)
}
