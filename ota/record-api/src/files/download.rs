//! A download: conditional requests, ranges, and headers under which a file can do nothing in the server's name.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;

use super::{
    NeverCompress, OpenFile,
    disposition::disposition,
    kinds::{Shown, shown},
};
use crate::{
    extract::none_match,
    problem::{Problem, ProblemKind},
};

/// An own origin without any right, for whatever a browser makes of the file.
const SANDBOX: &str = "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";
/// The same without the sandbox, in which browsers refuse to show a PDF.
const PDF: &str = "default-src 'none'; img-src 'self' data:; object-src 'self'; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What somebody wants to do with the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wish {
    download: Option<String>,
}

/// The answer to a download.
pub(super) fn answer(file: OpenFile, wish: &Wish, headers: &HeaderMap) -> Result<Response, Problem> {
    let OpenFile { meta, read } = file;
    let etag = format!("\"{}\"", meta.blob);
    let mut response = if none_match(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let part = part_of(meta.size, &etag, headers)?;
        let (first, length) = part.range(meta.size);
        let mut response = Body::from_stream(read(first, length)).into_response();
        part.describe(meta.size, &mut response);
        response
    };
    let how = shown(&meta.media_type);
    let is_saved = wish.download.is_some() || how == Shown::Saved;
    let media_type = match how {
        Shown::AsText => "text/plain; charset=utf-8",
        Shown::AsIs | Shown::AsPdf => &meta.media_type,
        // Not even the name of a type that a browser would run.
        Shown::Saved => "application/octet-stream",
    };
    let named = disposition(if is_saved { "attachment" } else { "inline" }, &meta.file_name);
    let policy = if how == Shown::AsPdf && !is_saved { PDF } else { SANDBOX };
    let found = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_DISPOSITION, &named),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::ETAG, &etag),
        (header::ACCEPT_RANGES, "bytes"),
        // A document can be closed to somebody later, so every use asks again.
        (header::CACHE_CONTROL, "private, no-cache"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        let value = HeaderValue::from_str(value).map_err(|_| {
            Problem::new(ProblemKind::Internal, "the file's name or type cannot be said in a header")
        })?;
        found.insert(name, value);
    }
    response.extensions_mut().insert(NeverCompress);
    Ok(response)
}

/// The part of a file of `size` bytes that a request asks for. `etag` tells versions of it apart.
///
/// # Errors
/// [`ProblemKind::RangeNotSatisfiable`].
pub fn part_of(size: u64, etag: &str, headers: &HeaderMap) -> Result<Part, Problem> {
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    // A part of another version would be put together with what the client has of this one.
    let is_same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    match wanted.filter(|_| is_same).map_or(Asked::Whole, |text| part(text, size)) {
        Asked::Whole => Ok(Part::Whole),
        Asked::Of { first, last } => Ok(Part::Of { first, last }),
        Asked::None => {
            Err(Problem::new(ProblemKind::RangeNotSatisfiable, format!("the file has {size} bytes"))
                .next(format!("Ask for a part of the bytes 0 to {}.", size.saturating_sub(1))))
        }
    }
}

/// A part of a file that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Some of it.
    Of {
        /// The first byte.
        first: u64,
        /// The last byte.
        last: u64,
    },
}

impl Part {
    /// Its first byte and its length.
    #[must_use]
    pub const fn range(self, size: u64) -> (u64, u64) {
        match self {
            Self::Whole => (0, size),
            Self::Of { first, last } => (first, last - first + 1),
        }
    }

    /// Says in a response with this body which part it is.
    pub fn describe(self, size: u64, response: &mut Response) {
        let (_, length) = self.range(size);
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        if let Self::Of { first, last } = self {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            if let Ok(range) = HeaderValue::from_str(&format!("bytes {first}-{last}/{size}")) {
                response.headers_mut().insert(header::CONTENT_RANGE, range);
            }
        }
    }
}

/// Which part of a file is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Of { first: u64, last: u64 },
    None,
}

/// One range, RFC 9110 section 14.1.2. Several ranges, other units and what cannot be read stand for the whole
/// file, as section 14.2 allows.
fn part(text: &str, size: u64) -> Asked {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Asked::Whole;
    };
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(0) => Asked::None,
            Some(_) if size == 0 => Asked::None,
            Some(length) => Asked::Of { first: size.saturating_sub(length), last: size - 1 },
            None => Asked::Whole,
        },
        (first, last) => match (number(first), last, number(last)) {
            (Some(first), _, _) if first >= size => Asked::None,
            (Some(first), "", _) => Asked::Of { first, last: size - 1 },
            (Some(first), _, Some(last)) if last >= first => Asked::Of { first, last: last.min(size - 1) },
            _ => Asked::Whole,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, expected) in [
            ("bytes=0-3", Asked::Of { first: 0, last: 3 }),
            ("bytes=4-", Asked::Of { first: 4, last: 9 }),
            ("bytes=-3", Asked::Of { first: 7, last: 9 }),
            ("bytes=-30", Asked::Of { first: 0, last: 9 }),
            ("bytes=8-30", Asked::Of { first: 8, last: 9 }),
            ("bytes=10-", Asked::None),
            ("bytes=-0", Asked::None),
            ("bytes=3-1", Asked::Whole),
            ("bytes=0-1,3-4", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("bytes=99999999999999999999-", Asked::Whole),
        ] {
            assert_eq!(part(text, 10), expected, "{text}");
        }
        assert_eq!(part("bytes=-1", 0), Asked::None);
    }
}
