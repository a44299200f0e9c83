//! A download: conditional requests, ranges, and headers under which a file can do nothing in the hub's name.

use std::{fs::File, io::SeekFrom};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cairn_record_api::extract::none_match;
use cairn_store::FileMeta;
use futures::StreamExt;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    disposition::disposition,
    kinds::{Shown, shown},
};
use crate::problem::{Problem, ProblemKind};

/// How much is read at a time.
const PIECE: usize = 64 * 1024;
/// An own origin without any right, for whatever a browser makes of the file.
const SANDBOX: &str = "default-src 'none'; img-src 'self' data:; media-src 'self'; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";
/// The same without the sandbox, in which browsers refuse to show a PDF.
const PDF: &str = "default-src 'none'; img-src 'self' data:; object-src 'self'; style-src 'unsafe-inline'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What somebody wants to do with the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Wish {
    download: Option<String>,
}

/// The answer to a download.
pub(super) fn answer(
    file: File,
    meta: &FileMeta,
    wish: &Wish,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let etag = format!("\"{}\"", meta.blob);
    let mut response = if none_match(headers, &etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        content(file, meta.size, &etag, headers)?
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
        // A document can be closed to somebody later, so every use asks the hub.
        (header::CACHE_CONTROL, "private, no-cache"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        let value = HeaderValue::from_str(value).map_err(|error| Problem::internal(&error))?;
        found.insert(name, value);
    }
    Ok(response)
}

pub(super) fn content(file: File, size: u64, etag: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    let wanted = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    // A part of another version would be put together with what the client has of this one.
    let is_same = headers.get(header::IF_RANGE).is_none_or(|value| value.as_bytes() == etag.as_bytes());
    let part = wanted.filter(|_| is_same).map_or(Part::Whole, |text| part(text, size));
    match part {
        Part::Whole => Ok(body(file, 0, size, StatusCode::OK)),
        Part::None => {
            Err(Problem::new(ProblemKind::RangeNotSatisfiable, format!("the file has {size} bytes"))
                .next(format!("Ask for a part of the bytes 0 to {}.", size.saturating_sub(1))))
        }
        Part::Of { first, last } => {
            let mut response = body(file, first, last - first + 1, StatusCode::PARTIAL_CONTENT);
            let range = HeaderValue::from_str(&format!("bytes {first}-{last}/{size}"));
            response
                .headers_mut()
                .insert(header::CONTENT_RANGE, range.map_err(|error| Problem::internal(&error))?);
            Ok(response)
        }
    }
}

fn body(file: File, first: u64, length: u64, status: StatusCode) -> Response {
    let stream = async_stream::try_stream! {
        let mut file = tokio::fs::File::from_std(file);
        if first > 0 {
            file.seek(SeekFrom::Start(first)).await?;
        }
        let mut pieces = ReaderStream::with_capacity(file.take(length), PIECE);
        while let Some(piece) = pieces.next().await {
            yield piece?;
        }
    };
    let stream: futures::stream::BoxStream<'static, std::io::Result<bytes::Bytes>> = Box::pin(stream);
    let mut response = (status, Body::from_stream(stream)).into_response();
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Which part of a file is wanted.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Of { first: u64, last: u64 },
    None,
}

/// One range, RFC 9110 section 14.1.2. Several ranges, other units and what cannot be read stand for the whole
/// file, as section 14.2 allows.
fn part(text: &str, size: u64) -> Part {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Part::Whole;
    };
    let number =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match (first.trim(), last.trim()) {
        ("", suffix) => match number(suffix) {
            Some(0) => Part::None,
            Some(_) if size == 0 => Part::None,
            Some(length) => Part::Of { first: size.saturating_sub(length), last: size - 1 },
            None => Part::Whole,
        },
        (first, last) => match (number(first), last, number(last)) {
            (Some(first), _, _) if first >= size => Part::None,
            (Some(first), "", _) => Part::Of { first, last: size - 1 },
            (Some(first), _, Some(last)) if last >= first => Part::Of { first, last: last.min(size - 1) },
            _ => Part::Whole,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        for (text, expected) in [
            ("bytes=0-3", Part::Of { first: 0, last: 3 }),
            ("bytes=4-", Part::Of { first: 4, last: 9 }),
            ("bytes=-3", Part::Of { first: 7, last: 9 }),
            ("bytes=-30", Part::Of { first: 0, last: 9 }),
            ("bytes=8-30", Part::Of { first: 8, last: 9 }),
            ("bytes=10-", Part::None),
            ("bytes=-0", Part::None),
            ("bytes=3-1", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("lines=0-1", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=99999999999999999999-", Part::Whole),
        ] {
            assert_eq!(part(text, 10), expected, "{text}");
        }
        assert_eq!(part("bytes=-1", 0), Part::None);
    }
}
