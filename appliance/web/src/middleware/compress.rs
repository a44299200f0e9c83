//! Compression of text. Never of event streams (a compressor would hold events back), of files (their ETag is
//! the hash of their bytes), or of answers that show a secret. Pages may be compressed, because the one secret
//! on them, the form token, is masked anew each time.

use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use cairn_record_api::files::NeverCompress;
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{Predicate, SizeAbove},
    },
};

/// Smaller bodies fit one packet anyway.
const SMALLEST: u64 = 860;

/// What gains from it.
const TYPES: [&str; 7] = [
    "text/html",
    "text/css",
    "text/plain",
    "text/javascript",
    "application/json",
    "application/problem+json",
    "image/svg+xml",
];

type Rule = fn(StatusCode, Version, &HeaderMap, &Extensions) -> bool;

pub(super) fn layer() -> CompressionLayer<impl Predicate> {
    // The fastest level: a small board gains more from a quick answer than from the last few percent.
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(SMALLEST).and(may as Rule))
}

fn may(_: StatusCode, _: Version, headers: &HeaderMap, extensions: &Extensions) -> bool {
    if extensions.get::<NeverCompress>().is_some() {
        return false;
    }
    let media_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    TYPES.contains(&essence)
}
