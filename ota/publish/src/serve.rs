//! A static server with ranges, for trying a repository out. Any web server or store of objects does the same.

use std::{
    io::SeekFrom,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// Serves the files of a folder.
pub fn router(folder: PathBuf) -> Router {
    Router::new().fallback(file).with_state(Arc::new(folder))
}

async fn file(State(folder): State<Arc<PathBuf>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let path = Path::new(uri.path().trim_start_matches('/'));
    let visible = |part: Component<'_>| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with('.'),
        _ => false,
    };
    if !path.components().all(visible) {
        return StatusCode::NOT_FOUND.into_response();
    }
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    send(&folder.join(path), range).await.unwrap_or_else(|_| StatusCode::NOT_FOUND.into_response())
}

async fn send(path: &Path, range: Option<&str>) -> std::io::Result<Response> {
    let mut file = tokio::fs::File::open(path).await?;
    let metadata = file.metadata().await?;
    if !metadata.is_file() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let total = metadata.len();
    let (start, end, status) = match range.map(|range| parse_range(range, total)) {
        None | Some(Range::Whole) => (0, total, StatusCode::OK),
        Some(Range::Part(start, end)) => (start, end, StatusCode::PARTIAL_CONTENT),
        Some(Range::Outside) => {
            let content_range = [(header::CONTENT_RANGE, format!("bytes */{total}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, content_range).into_response());
        }
    };
    file.seek(SeekFrom::Start(start)).await?;
    let length = end - start;
    let mut response = Response::builder()
        .status(status)
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, length)
        .header(header::CONTENT_TYPE, "application/octet-stream");
    if status == StatusCode::PARTIAL_CONTENT {
        let last = end.saturating_sub(1);
        response = response.header(header::CONTENT_RANGE, format!("bytes {start}-{last}/{total}"));
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file.take(length), 64 * 1024));
    Ok(response.body(body).unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response()))
}

#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// First byte and the one after the last.
    Part(u64, u64),
    /// Not one that is understood: the whole file is the answer (RFC 9110, 14.2).
    Whole,
    /// Behind the end.
    Outside,
}

fn parse_range(text: &str, total: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Range::Whole;
    };
    match (first.trim().parse::<u64>(), last.trim()) {
        (Ok(first), _) if first >= total => Range::Outside,
        (Ok(first), "") => Range::Part(first, total),
        (Ok(first), last) => match last.parse::<u64>() {
            Ok(last) if last >= first => Range::Part(first, last.saturating_add(1).min(total)),
            _ => Range::Whole,
        },
        (Err(_), last) if first.trim().is_empty() => match last.parse::<u64>() {
            Ok(0) => Range::Outside,
            Ok(count) => Range::Part(total.saturating_sub(count), total),
            Err(_) => Range::Whole,
        },
        _ => Range::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-9", 100), Range::Part(0, 10));
        assert_eq!(parse_range("bytes=90-", 100), Range::Part(90, 100));
        assert_eq!(parse_range("bytes=90-1000", 100), Range::Part(90, 100));
        assert_eq!(parse_range("bytes=-5", 100), Range::Part(95, 100));
        assert_eq!(parse_range("bytes=100-", 100), Range::Outside);
        for odd in ["bytes=9-3", "bytes=0-3,5-9", "lines=0-3", "bytes=a-b", "bytes=-"] {
            assert_eq!(parse_range(odd, 100), Range::Whole, "{odd}");
        }
    }
}
