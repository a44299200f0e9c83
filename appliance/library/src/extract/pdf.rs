//! PDF: text by position, put back into paragraphs.
//!
//! A PDF holds glyphs at places, not paragraphs. hayro interprets the pages (fonts, encodings, encryption, damaged cross
//! references); here glyphs become lines (`page`), right-to-left lines get their reading order back (`direction`), and
//! lines become blocks (`layout`) without running heads, page numbers and hyphens at line ends.

mod direction;
mod layout;
mod page;

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use hayro_interpret::{
    Context, InterpreterCache, InterpreterSettings, RenderContent, TransformExt,
    hayro_syntax::{DecryptionError, LoadPdfError, Pdf, page::Page},
    interpret_page,
    kurbo::Rect,
};

use super::{
    Format, Limit, Limits, Reason, encoding,
    output::{Next, Output},
};
use page::{Glyphs, PageText};

/// A document of which this share of letters cannot be told is as good as a picture.
const UNKNOWN_ONE_IN: usize = 2;
/// Titles that programs put in by themselves.
const NO_TITLES: &[&str] = &["untitled", "microsoft word", "powerpoint presentation", "document", "title"];
const NO_TITLE_ENDINGS: &[&str] =
    &[".dvi", ".tex", ".doc", ".docx", ".indd", ".qxd", ".pdf", ".ps", ".odt", ".xml"];

pub(super) fn read(bytes: Cow<'_, [u8]>, limits: &Limits, output: &mut Output<'_>) -> Result<(), Reason> {
    let pdf = Pdf::new(bytes.into_owned()).map_err(|error| match error {
        LoadPdfError::Decryption(
            DecryptionError::PasswordProtected | DecryptionError::UnsupportedAlgorithm,
        ) => Reason::Encrypted,
        LoadPdfError::Decryption(_) => Reason::damaged(Format::Pdf, "its encryption makes no sense"),
        LoadPdfError::Invalid => Reason::damaged(Format::Pdf, "it has no readable pages"),
    })?;
    if let Some(title) = pdf.metadata().title.as_deref().map(|title| encoding::decode(title, None).text)
        && is_title(&title)
    {
        output.title(&title);
    }
    let (pages, scans) = collect(&pdf, limits, output)?;
    let letters: usize = pages.iter().map(|page| page.letters).sum();
    let unknown: usize = pages.iter().map(|page| page.unknown).sum();
    if scans > 0 && letters == 0 || unknown * UNKNOWN_ONE_IN > letters + unknown {
        return Err(Reason::ImagesOnly { pages: u32::try_from(pages.len()).unwrap_or(u32::MAX) });
    }
    if unknown > 0 {
        output.replaced();
    }
    for _ in 0..scans {
        output.page_without_text();
    }
    layout::write(&pages, output)
}

/// The text of every page, and how many pages are pictures only.
fn collect(pdf: &Pdf, limits: &Limits, output: &mut Output<'_>) -> Result<(Vec<PageText>, u32), Reason> {
    let cache = InterpreterCache::new();
    let settings =
        InterpreterSettings { render_content: RenderContent::PAGE, ..InterpreterSettings::default() };
    let (mut pages, mut scans, mut held) = (Vec::new(), 0, 0_u64);
    for (page, number) in pdf.pages().iter().zip(1_u32..) {
        if number > limits.pages {
            output.leave_out(Limit::Pages(limits.pages));
            break;
        }
        if held > output.text_room() {
            output.leave_out(Limit::TextBytes(limits.text_bytes));
            break;
        }
        if output.next() == Next::Stop {
            break;
        }
        let (text, images, complete) = read_page(page, number, pdf, &cache, &settings);
        if !complete {
            output.damaged_part();
        }
        held += text.bytes() as u64;
        scans += u32::from(complete && images && text.lines.is_empty());
        pages.push(text);
    }
    Ok((pages, scans))
}

/// The text of a page, whether it draws pictures, and whether it was read to its end.
fn read_page<'a>(
    page: &'a Page<'a>,
    number: u32,
    pdf: &'a Pdf,
    cache: &InterpreterCache<'a>,
    settings: &InterpreterSettings,
) -> (PageText, bool, bool) {
    let (width, height) = page.render_dimensions();
    let transform = page.initial_transform(true).to_kurbo();
    let area = Rect::new(0.0, 0.0, f64::from(width), f64::from(height));
    let mut context = Context::new(transform, area, cache, pdf.xref(), settings.clone());
    let mut glyphs = Glyphs::new(number, area);
    // A page that the interpreter cannot cope with costs the rest of that page.
    let interpreted = catch_unwind(AssertUnwindSafe(|| interpret_page(page, &mut context, &mut glyphs)));
    let (text, images) = glyphs.finish();
    (text, images, interpreted.is_ok())
}

fn is_title(title: &str) -> bool {
    let title = title.trim().to_lowercase();
    title.chars().any(char::is_alphabetic)
        && !NO_TITLES.iter().any(|none| title == *none || title.starts_with(&format!("{none} - ")))
        && !NO_TITLE_ENDINGS.iter().any(|ending| title.ends_with(ending))
}
