//! What a file is. Its bytes decide; name and declared type only choose between kinds of text.

use super::{Format, Hint, Input, Reason, encoding};

/// Bytes from the start that are looked at.
const PROBE_BYTES: usize = 8 * 1024;
/// A PDF may have other bytes before its header (PDF 1.7, appendix H, implementation note 13).
const PDF_HEADER_WITHIN: usize = 1024;
/// Control characters in text: one in this many is still text (form feeds, escapes of old terminals).
const CONTROL_ONE_IN: usize = 50;

pub(super) fn detect(input: &Input, hint: &Hint) -> Result<Format, Reason> {
    let start = input.start(PROBE_BYTES)?;
    let head = start.get(..PDF_HEADER_WITHIN).unwrap_or(&start);
    if start.starts_with(b"ZIM\x04") {
        return Ok(Format::Zim);
    }
    if find(head, b"%PDF-").is_some() {
        return Ok(Format::Pdf);
    }
    if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        return container(&start, hint);
    }
    if let Some((_, what, advice)) = FOREIGN.iter().find(|(magic, ..)| start.starts_with(magic)) {
        return Err(unsupported(what, advice));
    }
    text(&start, hint)
}

/// Containers in ZIP form.
fn container(start: &[u8], hint: &Hint) -> Result<Format, Reason> {
    // The first entry of an EPUB is an uncompressed "mimetype" (EPUB 3.3, OCF 4.3); lax writers compress or move it.
    if find(start, b"application/epub+zip").is_some()
        || find(start, b"META-INF/container.xml").is_some()
        || hint.extension() == "epub"
        || hint.media_type.as_deref().is_some_and(|declared| declared.starts_with("application/epub"))
    {
        return Ok(Format::Epub);
    }
    const SAVE_AS_PDF: &str = "Save it as PDF and upload that";
    for (part, what) in [
        (&b"word/"[..], "a Word document"),
        (b"xl/", "an Excel workbook"),
        (b"ppt/", "a PowerPoint presentation"),
        (b"application/vnd.oasis.opendocument", "an OpenDocument file"),
    ] {
        if find(start, part).is_some() {
            return Err(unsupported(what, SAVE_AS_PDF));
        }
    }
    let office = ["docx", "xlsx", "pptx", "odt", "ods", "odp"].contains(&hint.extension().as_str());
    Err(if office {
        unsupported("an office document", SAVE_AS_PDF)
    } else {
        unsupported("a ZIP archive", "Unpack it and upload the files in it")
    })
}

const OCR: &str = "Text in pictures cannot be searched; upload a document that holds the text";
const UNPACK: &str = "Unpack it and upload the files in it";
const NO_TEXT: &str = "Only documents with text can be searched";

/// First bytes of formats that people upload by mistake.
const FOREIGN: &[(&[u8], &str, &str)] = &[
    (b"\xff\xd8\xff", "a JPEG picture", OCR),
    (b"\x89PNG\r\n", "a PNG picture", OCR),
    (b"GIF8", "a GIF picture", OCR),
    (b"II*\0", "a TIFF picture", OCR),
    (b"MM\0*", "a TIFF picture", OCR),
    (b"AT&TFORM", "a DjVu book", "Convert it to PDF with text and upload that"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document", "Save it as PDF and upload that"),
    (b"{\\rtf", "a rich text document", "Save it as PDF and upload that"),
    (b"%!PS", "a PostScript file", "Convert it to PDF and upload that"),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"SQLite format 3\0", "a database", NO_TEXT),
    (b"\x7fELF", "a program", NO_TEXT),
    (b"MZ\x90", "a program", NO_TEXT),
    (b"ID3", "a sound file", NO_TEXT),
    (b"OggS", "a sound or video file", NO_TEXT),
    (b"RIFF", "a sound, picture or video file", NO_TEXT),
    (b"GGUF", "a language model", "Add it under Settings, Models instead"),
];

fn text(start: &[u8], hint: &Hint) -> Result<Format, Reason> {
    let decoded = encoding::decode(start, hint.charset()).text;
    let controls = decoded.chars().filter(|c| c.is_control() && !c.is_whitespace()).count();
    if controls * CONTROL_ONE_IN > decoded.chars().count() {
        return Err(unsupported(
            "in a format that is not known here",
            "Markdown, text, HTML, PDF, EPUB and ZIM files can be read",
        ));
    }
    let by_name = match hint.extension().as_str() {
        "md" | "markdown" | "mdown" | "mkd" => Some(Format::Markdown),
        "html" | "htm" | "xhtml" | "xht" => Some(Format::Html),
        "txt" | "text" | "log" | "rst" | "csv" => Some(Format::Text),
        _ => None,
    };
    let declared = hint.media_type.as_deref().and_then(|declared| declared.split(';').next()).map(str::trim);
    let by_type = match declared {
        Some("text/markdown" | "text/x-markdown") => Some(Format::Markdown),
        Some("text/html" | "application/xhtml+xml") => Some(Format::Html),
        _ => None,
    };
    Ok(match by_name.or(by_type) {
        // Markdown may begin with HTML of its own.
        Some(Format::Markdown) => Format::Markdown,
        _ if looks_like_html(&decoded) => Format::Html,
        Some(format) => format,
        None => Format::Text,
    })
}

/// By the rules of the WHATWG MIME sniffing standard, 7.1: a known tag after white space and comments.
fn looks_like_html(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        let end = match rest.get(..4) {
            Some("<!--") => rest.find("-->").map(|at| at + 3),
            _ if rest.starts_with("<?xml") => rest.find("?>").map(|at| at + 2),
            _ => None,
        };
        match end.and_then(|end| rest.get(end..)) {
            Some(after) => rest = after.trim_start(),
            None => break,
        }
    }
    const TAGS: &[&str] = &[
        "<!doctype html",
        "<html",
        "<head",
        "<body",
        "<title",
        "<script",
        "<style",
        "<meta",
        "<div",
        "<table",
        "<h1",
        "<p>",
        "<br",
    ];
    TAGS.iter().any(|tag| rest.get(..tag.len()).is_some_and(|start| start.eq_ignore_ascii_case(tag)))
}

fn unsupported(what: &str, advice: &str) -> Reason {
    Reason::Unsupported { what: what.to_owned(), advice: advice.to_owned() }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detected(bytes: &[u8], name: &str) -> Result<Format, Reason> {
        detect(&Input::from_bytes(bytes), &Hint::from_name(name))
    }

    #[test]
    fn bytes_beat_the_name() {
        assert_eq!(detected(b"%PDF-1.4\n", "notes.txt"), Ok(Format::Pdf));
        assert_eq!(detected(b"<!DOCTYPE html><p>x", "page.txt"), Ok(Format::Html));
        assert_eq!(detected(b"ZIM\x04rest", "x.pdf"), Ok(Format::Zim));
        assert_eq!(detected(b"plain words", "book.epub"), Ok(Format::Text));
        assert_eq!(detected(b"# Title", "a.md"), Ok(Format::Markdown));
        assert_eq!(detected(b"<!-- note --><div>x</div>", "a.md"), Ok(Format::Markdown));
    }

    #[test]
    fn a_foreign_format_is_named_with_what_to_do() {
        let Err(Reason::Unsupported { what, advice }) = detected(b"\xff\xd8\xff\xe0rest", "scan.pdf") else {
            panic!("a picture is no document");
        };
        assert_eq!(what, "a JPEG picture");
        assert!(advice.contains("upload"));
        let binary: Vec<u8> = (0..=255).collect();
        assert!(matches!(detected(&binary, "x.txt"), Err(Reason::Unsupported { .. })));
    }
}
