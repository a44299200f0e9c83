//! Files of the library: an upload becomes a document that can be searched when the answer comes; a download can
//! never act in the hub's name, whatever somebody uploaded.

mod disposition;
mod download;
mod kinds;

use std::time::Duration;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, header},
    response::Response,
};
use bytes::Bytes;
use cairn_library::{IndexError, IndexOutcome};
use cairn_store::{Action, BlobWriter, Record, Viewer};
use cairn_sync::{BlobId, ChangeId, Fields, Kind, RecordId, Value};
use futures::Stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::transfer::{Limit, Sink, blocking, pour};
use crate::{
    hub::Hub,
    middleware::NeverCompress,
    problem::{Problem, ProblemKind},
    session::CurrentViewer,
};
use cairn_record_api::{
    extract::{ApiPath, IdempotencyKey, IfMatch},
    query::ApiQuery,
};

/// The part of a file that `headers` ask for, without a name that tells versions apart.
pub(super) fn part_of(file: std::fs::File, size: u64, headers: &HeaderMap) -> Result<Response, Problem> {
    download::content(file, size, "", headers)
}

/// Longest file name that is kept, in bytes.
const MAX_FILE_NAME: usize = 200;
/// How long an upload's answer waits for the file to be searchable; after that it becomes so in the background.
const INDEX_WITHIN: Duration = Duration::from_secs(60);

/// What is known of an uploaded file.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct NewFile {
    /// The file's name, with its ending.
    #[param(min_length = 1, max_length = 200)]
    pub(crate) name: String,
    /// The document's title; none: the file's name without its ending.
    #[param(nullable = false)]
    pub(crate) title: Option<String>,
    /// What it holds, in Markdown.
    #[param(nullable = false)]
    pub(crate) description: Option<String>,
    /// The language, BCP 47.
    #[param(nullable = false)]
    pub(crate) language: Option<String>,
    /// Words to find it by, separated by commas.
    #[param(nullable = false)]
    pub(crate) tags: Option<String>,
    /// Where it comes from.
    #[param(nullable = false)]
    pub(crate) source: Option<String>,
    /// The project it belongs to; none: the hub as a whole.
    #[param(value_type = Option<String>, format = "uuid", nullable = false)]
    pub(crate) project: Option<RecordId>,
    /// The media type that the sender names, used where the file's ending says nothing.
    #[serde(skip)]
    #[param(ignore)]
    pub(crate) media_type: Option<String>,
}

/// A file that was received.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Received {
    /// The document.
    #[schema(schema_with = document_schema)]
    pub(crate) record: Record,
    /// Whether it can be searched.
    #[schema(value_type = Object)]
    pub(crate) index: Indexed,
}

fn document_schema() -> utoipa::openapi::Ref {
    utoipa::openapi::Ref::from_schema_name("Document")
}

/// What became of a received file in the index.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Indexed {
    /// The indexer is done with it.
    Now(IndexOutcome),
    /// It is read in the background; `GET /api/v1/index` says how far that is.
    Later {
        /// Always `later`.
        outcome: &'static str,
        /// Why, in words for people.
        reason: String,
    },
}

/// Uploads a file: it becomes a document of the library.
#[utoipa::path(post, path = "/api/v1/files", tag = "files", operation_id = "upload_file", params(NewFile,
        ("Idempotency-Key" = Option<String>, Header, description = "A UUID for this change: sent again, it is not made twice.", format = "uuid")),
    request_body(content = inline(Vec<u8>), content_type = "application/octet-stream", description = "The file's bytes; their type in Content-Type."),
    responses((status = 201, description = "The document.", body = Received),
        (status = 413, description = "It is too large.", body = cairn_record_api::Problem, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full.", body = cairn_record_api::Problem, content_type = "application/problem+json")))]
pub(super) async fn upload(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiQuery(file): ApiQuery<NewFile>,
    IdempotencyKey(change): IdempotencyKey,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let file = NewFile { media_type: media_type_of(&headers), ..file };
    let announced = crate::middleware::announced_length(&headers);
    let received = receive(&hub, &viewer, file, announced, change, body.into_data_stream()).await?;
    Ok(cairn_record_api::created_with(&received.record, &received))
}

/// Replaces the file of a document.
#[utoipa::path(put, path = "/api/v1/files/{document}", tag = "files", operation_id = "replace_file",
    params(("document" = String, Path, format = "uuid"), ("name" = Option<String>, Query, description = "The file's new name.", nullable = false),
        ("If-Match" = Option<String>, Header, description = "The version of the document that was seen, in quotes.")),
    request_body(content = inline(Vec<u8>), content_type = "application/octet-stream", description = "The file's bytes; their type in Content-Type."),
    responses((status = 200, description = "The document.", body = Received)))]
#[allow(clippy::too_many_arguments, reason = "each is a part of the request")]
pub(super) async fn replace(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiPath(document): ApiPath<RecordId>,
    ApiQuery(name): ApiQuery<Replacement>,
    IfMatch(base): IfMatch,
    IdempotencyKey(change): IdempotencyKey,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<Received>, Problem> {
    let before = hub.store.get(&viewer, document).await?;
    if before.kind != Kind::Document {
        return Err(Problem::new(ProblemKind::NotFound, "there is no such document"));
    }
    require(&hub, &viewer, Action::Update, &before).await?;
    let name = file_name(name.name.as_deref().unwrap_or_else(|| before.text("file_name")))?;
    let announced = crate::middleware::announced_length(&headers);
    let (blob, size) = store_file(&hub, announced, body.into_data_stream()).await?;
    let media_type = kinds::media_type(&name, media_type_of(&headers).as_deref());
    let fields = file_fields(blob, &name, media_type, size);
    let record = hub.store.update(&viewer, document, fields, base, change).await?;
    let index = index(&hub, record.id).await;
    Ok(axum::Json(Received { record, index }))
}

/// What can be said about a replaced file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Replacement {
    name: Option<String>,
}

/// Downloads the file of a document, or a part of it.
#[utoipa::path(get, path = "/api/v1/files/{document}", tag = "files", operation_id = "download_file",
    params(("document" = String, Path, format = "uuid"),
        ("download" = Option<String>, Query, description = "`1`: to be saved rather than shown.", nullable = false, pattern = "^1$"),
        ("Range" = Option<String>, Header, description = "One range of bytes, RFC 9110 section 14.")),
    responses((status = 200, description = "The file.", content_type = "application/octet-stream", body = inline(Vec<u8>)),
        (status = 206, description = "The part that Range asks for.", content_type = "application/octet-stream", body = inline(Vec<u8>)),
        (status = 304, description = "It is as If-None-Match says."),
        (status = 416, description = "There is no such part.", body = cairn_record_api::Problem, content_type = "application/problem+json")))]
pub(super) async fn download(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiPath(document): ApiPath<RecordId>,
    ApiQuery(wish): ApiQuery<download::Wish>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (file, meta) = hub.store.open_file(&viewer, document).await?;
    let mut response = download::answer(file, &meta, &wish, &headers)?;
    response.extensions_mut().insert(NeverCompress);
    Ok(response)
}

/// Receives a file and makes a document of it. Permission and room are looked at before the first byte is read.
///
/// # Errors
/// When the viewer may not add documents there, the file is too large, the disk is full, the upload breaks off or
/// what is said of the file does not fit. Nothing of the file is left behind then.
pub(crate) async fn receive<S, E>(
    hub: &Hub,
    viewer: &Viewer,
    file: NewFile,
    announced: Option<u64>,
    change: Option<ChangeId>,
    body: S,
) -> Result<Received, Problem>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    let name = file_name(&file.name)?;
    let mut fields = described(&file, &name)?;
    require(hub, viewer, Action::Create, (Kind::Document, file.project)).await?;
    let (blob, size) = store_file(hub, announced, body).await?;
    let media_type = kinds::media_type(&name, file.media_type.as_deref());
    fields.extend(file_fields(blob, &name, media_type, size));
    let record = hub.store.create(viewer, Kind::Document, file.project, fields, change).await?;
    let record = cairn_record_api::made(Kind::Document, record)?;
    let index = index(hub, record.id).await;
    Ok(Received { record, index })
}

async fn require(
    hub: &Hub,
    viewer: &Viewer,
    action: Action,
    on: impl Into<cairn_store::On>,
) -> Result<(), Problem> {
    if hub.store.may(viewer, action, on).await? {
        return Ok(());
    }
    Err(if viewer.is_signed_in() {
        Problem::new(ProblemKind::Forbidden, "you may not add files here")
    } else {
        Problem::new(ProblemKind::SignInNeeded, "sign in to add files")
    })
}

async fn store_file<S, E>(hub: &Hub, announced: Option<u64>, body: S) -> Result<(BlobId, u64), Problem>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    let limit = Limit::within_disk(hub, hub.settings().await.max_upload_bytes);
    limit.check(announced)?;
    let _place = hub.upload_place()?;
    let store = hub.store.clone();
    let writer = blocking(move || store.blob_writer(limit.bytes)).await??;
    let (writer, size) = pour(body, limit, writer).await?;
    if size == 0 {
        return Err(Problem::new(ProblemKind::Invalid, "the file is empty"));
    }
    let blob = blocking(move || writer.finish()).await??;
    Ok((blob, size))
}

impl Sink for BlobWriter {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        Ok(self.write(bytes)?)
    }
}

async fn index(hub: &Hub, document: RecordId) -> Indexed {
    let later = |reason: String| Indexed::Later { outcome: "later", reason };
    match tokio::time::timeout(INDEX_WITHIN, hub.library.index_now(document)).await {
        Ok(Ok(outcome)) => Indexed::Now(outcome),
        Ok(Err(error @ IndexError::Later(_))) => later(error.to_string()),
        Ok(Err(error)) => {
            tracing::warn!(%error, %document, "a document was saved but not indexed");
            later("the index is busy; the document is read as soon as it can be".to_owned())
        }
        Err(_) => later("the file is large; it is read in the background".to_owned()),
    }
}

fn described(file: &NewFile, name: &str) -> Result<Fields, Problem> {
    let title = file.title.as_deref().map(str::trim).filter(|title| !title.is_empty());
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut json = serde_json::Map::new();
    json.insert("title".to_owned(), title.unwrap_or(stem).into());
    let texts = [("description", &file.description), ("language", &file.language), ("source", &file.source)];
    for (field, text) in texts {
        if let Some(text) = text.as_deref().filter(|text| !text.trim().is_empty()) {
            json.insert(field.to_owned(), text.into());
        }
    }
    let tags =
        file.tags.as_deref().unwrap_or_default().split(',').map(str::trim).filter(|tag| !tag.is_empty());
    let tags: Vec<&str> = tags.collect();
    if !tags.is_empty() {
        json.insert("tags".to_owned(), tags.into());
    }
    Ok(cairn_record_api::parse_fields(Kind::Document, json)?)
}

fn file_fields(blob: BlobId, name: &str, media_type: String, size: u64) -> Fields {
    Fields::from([
        ("file".to_owned(), Value::from(blob.to_string())),
        ("file_name".to_owned(), Value::from(name)),
        ("media_type".to_owned(), Value::from(media_type)),
        ("size".to_owned(), Value::from(i64::try_from(size).unwrap_or(i64::MAX))),
    ])
}

/// The last part of a path, without what no file name should hold.
fn file_name(sent: &str) -> Result<String, Problem> {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    let name: String = last.chars().filter(|c| !c.is_control()).collect();
    if name.is_empty() || name == "." || name == ".." || name.len() > MAX_FILE_NAME {
        let detail = format!("a file name has between 1 and {MAX_FILE_NAME} bytes");
        return Err(Problem::new(ProblemKind::Invalid, detail.clone()).field("name", detail));
    }
    Ok(name)
}

fn media_type_of(headers: &HeaderMap) -> Option<String> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_is_the_last_part_of_whatever_was_sent() {
        assert_eq!(file_name("C:\\Users\\a\\Well plan.pdf").unwrap(), "Well plan.pdf");
        assert_eq!(file_name("../../etc/passwd").unwrap(), "passwd");
        assert_eq!(file_name("ماء\u{0}.md").unwrap(), "ماء.md");
        for bad in ["", "..", "a/", "\u{1}", &"x".repeat(MAX_FILE_NAME + 1)] {
            assert!(file_name(bad).is_err(), "{bad:?}");
        }
    }
}
