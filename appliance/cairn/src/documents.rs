//! Making a document of a file that lies on this device.

use std::{
    fs::File,
    io::{self, Read, Seek},
};

use cairn_store::{Store, StoreError};
use cairn_sync::{BlobId, Fields, Value};

/// Bytes copied at a time.
const COPY: usize = 256 * 1024;

/// Why a file was not taken among those of documents.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// It cannot be read.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies a file, at most `limit` bytes, among those of documents. Blocks.
///
/// # Errors
/// [`KeepError`]; nothing of it is left behind then.
pub(crate) fn keep_file(store: &Store, mut file: File, limit: u64) -> Result<BlobId, KeepError> {
    let mut writer = store.blob_writer(limit)?;
    let mut chunk = vec![0; COPY];
    file.rewind()?;
    loop {
        let read = file.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        writer.write(bytes)?;
    }
    Ok(writer.finish()?)
}

/// What a document says of its file.
pub(crate) fn fields(title: &str, file_name: &str, blob: BlobId, size: u64) -> Fields {
    let fields = [
        ("title", Value::Text(title.to_owned())),
        ("file", Value::Text(blob.to_string())),
        ("file_name", Value::Text(file_name.to_owned())),
        ("media_type", Value::Text(media_type(file_name).to_owned())),
        ("size", Value::Int(i64::try_from(size).unwrap_or(i64::MAX))),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A file's name as a title: without its extension, words apart.
pub(crate) fn title_of(file_name: &str) -> String {
    let stem = file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem);
    let title = stem.replace(['_', '-'], " ").split_whitespace().collect::<Vec<_>>().join(" ");
    if title.is_empty() { file_name.to_owned() } else { title }
}

/// The media type that a file's name suggests; the extractor looks at the content.
fn media_type(file_name: &str) -> &'static str {
    let extension = file_name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref().unwrap_or_default() {
        "md" | "markdown" => "text/markdown",
        "txt" | "text" => "text/plain",
        "html" | "htm" | "xhtml" => "text/html",
        "pdf" => "application/pdf",
        "epub" => "application/epub+zip",
        "zim" => "application/x-zim",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_and_types_follow_from_file_names() {
        assert_eq!(title_of("boiling_water-safely.md"), "boiling water safely");
        assert_eq!(title_of(".md"), ".md");
        assert_eq!(media_type("A.PDF"), "application/pdf");
        assert_eq!(media_type("README"), "application/octet-stream");
    }
}
