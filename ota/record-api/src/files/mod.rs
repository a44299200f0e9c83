//! Files of documents: an upload becomes a document, a download can never act in the server's name, whatever somebody
//! uploaded. Routes, checks and answers are the same on hub and gateway; where bytes are kept says [`Files`].

mod disposition;
mod download;
mod kinds;

use std::pin::Pin;

use axum::{
    Json,
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::Response,
};
use cairn_sync::{BlobId, ChangeId, Fields, Kind, RecordId, Value, shown::Record};
use futures::{Stream, StreamExt, stream::BoxStream};
use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Answer, Asked, Records, Server,
    extract::{ApiPath, IdempotencyKey, IfMatch},
    problem::{Problem, ProblemKind},
    query::ApiQuery,
    records::{created_with, made, parse_fields},
};

pub use download::{Part, part_of};

/// Where a file is uploaded.
pub const UPLOAD_PATH: &str = "/api/v1/files";
/// Where a document's file is read and replaced.
pub const FILE_PATH: &str = "/api/v1/files/{document}";

/// Longest file name that is kept, in bytes.
const MAX_FILE_NAME: usize = 200;

/// A file on its way in. An error is what broke it off, in words.
pub type Upload<'a> = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send + 'a>>;

/// What a file's bytes come as.
pub type Content = BoxStream<'static, std::io::Result<Bytes>>;

/// What goes with a document's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// Its content's name, which serves as a strong `ETag`.
    pub blob: BlobId,
    /// Its name.
    pub file_name: String,
    /// Its media type as it was uploaded; not to be trusted.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A document's file, to be read.
pub struct OpenFile {
    /// What goes with it.
    pub meta: FileMeta,
    /// Gives so many bytes from one on; the part is within the file.
    pub read: Box<dyn FnOnce(u64, u64) -> Content + Send>,
}

/// Where files are kept, for whoever sent a request.
pub trait Files: Send + Sync {
    /// Refuses where they may not add documents there.
    fn may_add(&self, project: Option<RecordId>) -> Answer<'_, ()>;
    /// Refuses where they may not replace this document's file.
    fn may_replace(&self, document: RecordId) -> Answer<'_, ()>;
    /// Takes a file of this length, where one was announced, and keeps it under its content's name; gives that and its
    /// size, which is never 0.
    fn keep<'a>(&'a self, announced: Option<u64>, file: Upload<'a>) -> Answer<'a, (BlobId, u64)>;
    /// Has a document's file read for the search; says what came of it.
    fn index(&self, document: RecordId) -> Answer<'_, JsonValue>;
    /// A document's file.
    fn open_file(&self, document: RecordId) -> Answer<'_, OpenFile>;
}

/// On a response whose bytes stay as they are: a part of a compressed file is no part of the file.
#[derive(Debug, Clone, Copy)]
pub struct NeverCompress;

/// The routes of files, with their descriptions.
pub(crate) fn file_routes<S: Server + Clone + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::new().routes(routes!(upload)).routes(routes!(download, replace))
}

/// What is known of an uploaded file.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct NewFile {
    /// The file's name, with its ending.
    #[param(min_length = 1, max_length = 200)]
    pub name: String,
    /// The document's title; none: the file's name without its ending.
    #[param(nullable = false)]
    pub title: Option<String>,
    /// What it holds, in Markdown.
    #[param(nullable = false)]
    pub description: Option<String>,
    /// The language, BCP 47.
    #[param(nullable = false)]
    pub language: Option<String>,
    /// Words to find it by, separated by commas.
    #[param(nullable = false)]
    pub tags: Option<String>,
    /// Where it comes from.
    #[param(nullable = false)]
    pub source: Option<String>,
    /// The project it belongs to; none: the hub as a whole.
    #[param(value_type = Option<String>, format = "uuid", nullable = false)]
    pub project: Option<RecordId>,
    /// The media type that the sender names, used where the file's ending says nothing.
    #[serde(skip)]
    #[param(ignore)]
    pub media_type: Option<String>,
}

/// A file that was received.
#[derive(Debug, Serialize, ToSchema)]
pub struct Received {
    /// The document.
    #[schema(schema_with = document_schema)]
    pub record: Record,
    /// Whether it can be searched.
    #[schema(value_type = Object)]
    pub index: JsonValue,
}

fn document_schema() -> utoipa::openapi::Ref {
    utoipa::openapi::Ref::from_schema_name("Document")
}

/// Uploads a file: it becomes a document of the library.
#[utoipa::path(post, path = "/api/v1/files", tag = "files", operation_id = "upload_file", params(NewFile,
        ("Idempotency-Key" = Option<String>, Header, description = "A UUID for this change: sent again, it is not made twice.", format = "uuid")),
    request_body(content = inline(Vec<u8>), content_type = "application/octet-stream", description = "The file's bytes; their type in Content-Type."),
    responses((status = 201, description = "The document.", body = Received),
        (status = 413, description = "It is too large.", body = Problem, content_type = "application/problem+json"),
        (status = 507, description = "There is no room for it.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn upload(
    Asked(records): Asked,
    ApiQuery(file): ApiQuery<NewFile>,
    IdempotencyKey(change): IdempotencyKey,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let file = NewFile { media_type: media_type_of(&headers), ..file };
    let received = receive(&*records, file, announced_length(&headers), change, sent(body)).await?;
    Ok(created_with(&received.record, &received))
}

/// Replaces the file of a document.
#[utoipa::path(put, path = "/api/v1/files/{document}", tag = "files", operation_id = "replace_file",
    params(("document" = String, Path, format = "uuid"), ("name" = Option<String>, Query, description = "The file's new name.", nullable = false),
        ("If-Match" = Option<String>, Header, description = "The version of the document that was seen, in quotes.")),
    request_body(content = inline(Vec<u8>), content_type = "application/octet-stream", description = "The file's bytes; their type in Content-Type."),
    responses((status = 200, description = "The document.", body = Received)))]
#[allow(clippy::too_many_arguments, reason = "each is a part of the request")]
pub(crate) async fn replace(
    Asked(records): Asked,
    ApiPath(document): ApiPath<RecordId>,
    ApiQuery(name): ApiQuery<Replacement>,
    IfMatch(base): IfMatch,
    IdempotencyKey(change): IdempotencyKey,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Received>, Problem> {
    let before = records.get(document).await?;
    if before.kind != Kind::Document {
        return Err(Problem::new(ProblemKind::NotFound, "there is no such document"));
    }
    records.may_replace(document).await?;
    let name = file_name(name.name.as_deref().unwrap_or_else(|| before.text("file_name")))?;
    let (blob, size) = records.keep(announced_length(&headers), sent(body)).await?;
    let media_type = kinds::media_type(&name, media_type_of(&headers).as_deref());
    let fields = file_fields(blob, &name, media_type, size);
    let record = records.update(document, fields, base, change).await?;
    let index = records.index(record.id).await?;
    Ok(Json(Received { record, index }))
}

/// What can be said about a replaced file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replacement {
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
        (status = 404, description = "There is no such document, or its file is not here.", body = Problem, content_type = "application/problem+json"),
        (status = 416, description = "There is no such part.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn download(
    Asked(records): Asked,
    ApiPath(document): ApiPath<RecordId>,
    ApiQuery(wish): ApiQuery<download::Wish>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    download::answer(records.open_file(document).await?, &wish, &headers)
}

/// Receives a file and makes a document of it. Permission and room are looked at before the first byte is read.
///
/// # Errors
/// When whoever asks may not add documents there, the file is too large, there is no room for it, the upload breaks off or
/// what is said of the file does not fit. Nothing of the file is left behind then.
pub async fn receive(
    records: &dyn Records,
    file: NewFile,
    announced: Option<u64>,
    change: Option<ChangeId>,
    body: Upload<'_>,
) -> Result<Received, Problem> {
    let name = file_name(&file.name)?;
    let mut fields = described(&file, &name)?;
    records.may_add(file.project).await?;
    let (blob, size) = records.keep(announced, body).await?;
    let media_type = kinds::media_type(&name, file.media_type.as_deref());
    fields.extend(file_fields(blob, &name, media_type, size));
    let record = records.create(Kind::Document, file.project, fields, change).await?;
    let record = made(Kind::Document, record)?;
    let index = records.index(record.id).await?;
    Ok(Received { record, index })
}

/// Said to those who may not add files, or not there.
#[must_use]
pub fn may_not_add(is_signed_in: bool) -> Problem {
    if is_signed_in {
        Problem::new(ProblemKind::Forbidden, "you may not add files here")
    } else {
        Problem::new(ProblemKind::SignInNeeded, "sign in to add files")
    }
}

/// Said of an upload that ended before its end.
#[must_use]
pub fn broke_off(why: &str) -> Problem {
    Problem::new(ProblemKind::Malformed, format!("the upload broke off: {why}"))
        .kept("Nothing was saved, and what had arrived was removed.")
        .next("Check the connection and send it again.")
}

/// What the header `Content-Length` says.
#[must_use]
pub fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn sent(body: Body) -> Upload<'static> {
    Box::pin(body.into_data_stream().map(|piece| piece.map_err(|error| error.to_string())))
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
    parse_fields(Kind::Document, json)
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
