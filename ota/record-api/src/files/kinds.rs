//! Media types: what a file is, by its ending first, because browsers guess and people do not send headers.

/// Endings and their media types (IANA registry).
const BY_ENDING: [(&str, &str); 24] = [
    ("md", "text/markdown"),
    ("markdown", "text/markdown"),
    ("txt", "text/plain"),
    ("text", "text/plain"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("xhtml", "application/xhtml+xml"),
    ("pdf", "application/pdf"),
    ("epub", "application/epub+zip"),
    ("zim", "application/x-zim"),
    ("zip", "application/zip"),
    ("json", "application/json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
    ("mp4", "video/mp4"),
    ("webm", "video/webm"),
    ("gguf", "application/x-gguf"),
];

/// What nobody knows anything of.
const UNKNOWN: &str = "application/octet-stream";
/// Longest media type that is believed, in bytes.
const MAX_LEN: usize = 100;

/// The media type of a file, by its name's ending, else as the sender says, where that is one.
pub(super) fn media_type(name: &str, said: Option<&str>) -> String {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    let known = ending.and_then(|ending| BY_ENDING.into_iter().find(|(known, _)| *known == ending));
    if let Some((_, media_type)) = known {
        return media_type.to_owned();
    }
    let said = said.and_then(|said| said.split(';').next()).map(|said| said.trim().to_ascii_lowercase());
    said.filter(|said| is_media_type(said)).unwrap_or_else(|| UNKNOWN.to_owned())
}

/// `type/subtype` of the characters that RFC 6838 section 4.2 allows.
fn is_media_type(text: &str) -> bool {
    let name = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.len() <= MAX_LEN && text.split_once('/').is_some_and(|(ty, subtype)| name(ty) && name(subtype))
}

/// How a file may be shown by a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// As what it is: nothing in it can act.
    AsIs,
    /// As plain text.
    AsText,
    /// As a PDF, whose scripts the browser's viewer keeps to itself.
    AsPdf,
    /// Not: it is saved. Whatever could run in a page of ours (HTML, SVG, XML) and whatever is unknown.
    Saved,
}

/// How a file of this type may be shown.
pub(super) fn shown(media_type: &str) -> Shown {
    match media_type {
        "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "audio/mpeg" | "audio/ogg"
        | "video/mp4" | "video/webm" => Shown::AsIs,
        "text/plain" | "text/markdown" | "text/csv" => Shown::AsText,
        "application/pdf" => Shown::AsPdf,
        _ => Shown::Saved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_what_a_file_is_and_headers_are_believed_only_when_they_are_types() {
        assert_eq!(media_type("Plan.PDF", Some("text/html")), "application/pdf");
        assert_eq!(media_type("plan", Some("Text/Plain; charset=utf-8")), "text/plain");
        for said in
            [None, Some(""), Some("text"), Some("a/b\r\nX: y"), Some("text/html, text/plain"), Some("/")]
        {
            assert_eq!(media_type("plan.xyz", said), UNKNOWN, "{said:?}");
        }
    }

    #[test]
    fn nothing_that_can_run_scripts_is_shown() {
        for media_type in [
            "text/html",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/xml",
            "application/javascript",
            UNKNOWN,
        ] {
            assert_eq!(shown(media_type), Shown::Saved, "{media_type}");
        }
    }
}
