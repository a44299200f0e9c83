//! Large files by content (S6): `Range` to go on with a download, `Content-Range` to go on with an upload.

use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cairn_sync::{
    BlobId,
    http::{Code, MAX_PIECE, UPLOADED_HEADER},
};
use futures::StreamExt;

use super::{
    DEADLINE, Shared,
    answer::{Failed, Shown},
    ask_for,
};
use crate::store::{
    Refused,
    blobs::{self, PIECE, Stored},
};

fn id(text: &str) -> Result<BlobId, Failed> {
    text.parse().map_err(|_| Failed::new(Code::Invalid, "a file is named by its BLAKE3 hash in hex"))
}

fn uploaded(mut response: Response, stored: Stored) -> Response {
    response.headers_mut().insert(HeaderName::from_static(UPLOADED_HEADER), HeaderValue::from(stored.have));
    response
}

pub(super) async fn head(
    State(service): State<Shared>,
    Shown(who): Shown,
    Path(hash): Path<String>,
) -> Result<Response, Failed> {
    let _place = service.gate.enter()?;
    match blobs::stored(&service.db, &who, id(&hash)?).await? {
        Some(stored) if stored.complete => {
            let headers = [(header::CONTENT_LENGTH, HeaderValue::from(stored.size)), ranges()];
            Ok(uploaded((headers, Body::empty()).into_response(), stored))
        }
        Some(stored) => Ok(uploaded(StatusCode::NOT_FOUND.into_response(), stored)),
        None => Err(Refused::Missing("file").into()),
    }
}

const fn ranges() -> (HeaderName, HeaderValue) {
    (header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))
}

pub(super) async fn get(
    State(service): State<Shared>,
    Shown(who): Shown,
    Path(hash): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let place = service.gate.enter()?;
    let blob = id(&hash)?;
    let stored = blobs::stored(&service.db, &who, blob).await?.filter(|stored| stored.complete);
    let Some(Stored { size, .. }) = stored else {
        ask_for(&service.db, &service.live, who.community, blob).await?;
        return Err(Refused::Missing("file").into());
    };
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let (start, end) = match range.map(|text| parse_range(text, size)) {
        None => (0, size),
        Some(Some(range)) => range,
        Some(None) => {
            let content = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, content).into_response());
        }
    };
    let pieces = blobs::stream(service.db.clone(), who.community, blob, start, end - start);
    // The place is kept as long as the body is read.
    let pieces = pieces.map(move |piece| {
        let _held = &place;
        piece
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, HeaderValue::from(end - start)),
        ranges(),
    ];
    let mut response = (headers, Body::from_stream(pieces)).into_response();
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let content = format!("bytes {start}-{}/{size}", end - 1);
        if let Ok(value) = HeaderValue::from_str(&content) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

/// `bytes=A-` or `bytes=A-B` as a half-open range within `size`.
fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
    let start = start.parse().ok()?;
    let end = if end.is_empty() { size } else { end.parse::<u64>().ok()?.checked_add(1)?.min(size) };
    (start < end).then_some((start, end))
}

/// `bytes A-B/SIZE`.
fn parse_content_range(text: &str) -> Option<(u64, u64, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (start, last) = range.split_once('-')?;
    let (start, last, size) = (start.parse().ok()?, last.parse::<u64>().ok()?, size.parse().ok()?);
    (start <= last && last < size).then_some((start, last + 1, size))
}

pub(super) async fn put(
    State(service): State<Shared>,
    Shown(who): Shown,
    Path(hash): Path<String>,
    request: Request,
) -> Result<Response, Failed> {
    let _place = service.gate.enter()?;
    let blob = id(&hash)?;
    let range = request.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let (start, end, size) = range.and_then(parse_content_range).ok_or_else(|| {
        Failed::new(Code::Invalid, "say which bytes these are: Content-Range: bytes A-B/SIZE")
    })?;
    if end - start > MAX_PIECE {
        return Err(Failed::new(Code::TooLarge, "send at most 64 MiB in one request"));
    }
    let mut stored = match blobs::begin(&service.db, &who, blob, start, size).await {
        Ok(stored) => stored,
        Err(error @ Refused::Order(_)) => {
            // Where to go on from is said by HEAD as well.
            let stored = blobs::stored(&service.db, &who, blob).await?;
            let response = Failed::new(Code::Conflict, error.to_string()).into_response();
            return Ok(match stored {
                Some(stored) => uploaded(response, stored),
                None => response,
            });
        }
        Err(error) => return Err(error.into()),
    };
    let mut body = request.into_body().into_data_stream();
    let mut piece = Vec::with_capacity(PIECE);
    let mut at = start;
    while !stored.complete && at < end {
        let next = tokio::time::timeout(DEADLINE, body.next()).await;
        let data = match next {
            Ok(Some(Ok(data))) => data,
            Ok(Some(Err(_)) | None) => return Err(Failed::new(Code::Invalid, "the body is cut off")),
            Err(_) => return Err(Failed::busy(10, "the body took too long to arrive")),
        };
        let mut data = &*data;
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(PIECE - piece.len()));
            piece.extend_from_slice(now);
            data = later;
            let reached = at + piece.len() as u64;
            if reached > end {
                return Err(Failed::new(Code::Invalid, "the body is longer than its range says"));
            }
            if piece.len() == PIECE || reached == size {
                let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE));
                at = reached;
                let was_wanted;
                (stored, was_wanted) = blobs::append(&service.db, &who, blob, stored.have, full).await?;
                if was_wanted {
                    service.live.files(who.community);
                }
            } else if reached == end {
                // The rest of a piece that the next request begins anew: only whole pieces are kept.
                at = reached;
            }
        }
    }
    let status = if stored.complete { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    Ok(uploaded(status.into_response(), stored))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_and_bounded() {
        assert_eq!(parse_range("bytes=0-", 10), Some((0, 10)));
        assert_eq!(parse_range("bytes=3-4", 10), Some((3, 5)));
        assert_eq!(parse_range("bytes=3-400", 10), Some((3, 10)));
        for text in ["bytes=10-", "bytes=4-3", "bytes=-3", "3-4", "bytes=a-b"] {
            assert_eq!(parse_range(text, 10), None, "{text}");
        }
        assert_eq!(parse_content_range("bytes 0-9/10"), Some((0, 10, 10)));
        for text in ["bytes 0-10/10", "bytes 5-4/10", "bytes */10", "0-9/10"] {
            assert_eq!(parse_content_range(text), None, "{text}");
        }
    }
}
