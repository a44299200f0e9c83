//! Files of the library on this hub: in the store's folder, read for the search as soon as they came. Routes and answers are the
//! record API's, which the gateway serves too.

use std::{fs::File, io::SeekFrom, time::Duration};

use axum::{
    body::Body,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use cairn_library::{IndexError, IndexOutcome};
use cairn_record_api::{
    Answer,
    files::{Content, FileMeta, Files, NewFile, OpenFile, Received, Upload, may_not_add, part_of},
};
use cairn_store::{Action, BlobWriter, On, StoreError, Viewer};
use cairn_sync::{BlobId, ChangeId, Kind, RecordId};
use futures::StreamExt;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::{
    records::Seen,
    transfer::{Limit, Sink, blocking, pour},
};
use crate::{
    hub::Hub,
    problem::{Problem, ProblemKind},
};

/// How long an upload's answer waits for the file to be searchable; after that it becomes so in the background.
const INDEX_WITHIN: Duration = Duration::from_secs(60);
/// How much is read at a time.
const PIECE: usize = 64 * 1024;

/// The part of a file that `headers` ask for, without a name that tells versions apart.
pub(super) fn in_parts(file: File, size: u64, headers: &HeaderMap) -> Result<Response, Problem> {
    let part = part_of(size, "", headers)?;
    let (first, length) = part.range(size);
    let mut response = Body::from_stream(read(file, first, length)).into_response();
    part.describe(size, &mut response);
    Ok(response)
}

fn read(file: File, first: u64, length: u64) -> Content {
    Box::pin(async_stream::try_stream! {
        let mut file = tokio::fs::File::from_std(file);
        if first > 0 {
            file.seek(SeekFrom::Start(first)).await?;
        }
        let mut pieces = ReaderStream::with_capacity(file.take(length), PIECE);
        while let Some(piece) = pieces.next().await {
            yield piece?;
        }
    })
}

/// Receives a file from a form.
///
/// # Errors
/// As [`cairn_record_api::files::receive`].
pub(crate) async fn receive(
    hub: &Hub,
    viewer: &Viewer,
    file: NewFile,
    announced: Option<u64>,
    change: Option<ChangeId>,
    body: Upload<'_>,
) -> Result<Received, Problem> {
    let seen = Seen { hub: hub.clone(), viewer: viewer.clone() };
    Ok(cairn_record_api::files::receive(&seen, file, announced, change, body).await?)
}

/// What became of a received file in the index.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Indexed {
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

impl Seen {
    async fn require(&self, action: Action, on: On) -> Result<(), Problem> {
        if self.hub.store.may(&self.viewer, action, on).await? {
            return Ok(());
        }
        Err(may_not_add(self.viewer.is_signed_in()).into())
    }

    async fn store_file(&self, announced: Option<u64>, body: Upload<'_>) -> Result<(BlobId, u64), Problem> {
        let hub = &self.hub;
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

    async fn read_for_search(&self, document: RecordId) -> Indexed {
        let later = |reason: String| Indexed::Later { outcome: "later", reason };
        match tokio::time::timeout(INDEX_WITHIN, self.hub.library.index_now(document)).await {
            Ok(Ok(outcome)) => Indexed::Now(outcome),
            Ok(Err(error @ IndexError::Later(_))) => later(error.to_string()),
            Ok(Err(error)) => {
                tracing::warn!(%error, %document, "a document was saved but not indexed");
                later("the index is busy; the document is read as soon as it can be".to_owned())
            }
            Err(_) => later("the file is large; it is read in the background".to_owned()),
        }
    }

    async fn open(&self, document: RecordId) -> Result<OpenFile, Problem> {
        let opened = self.hub.store.open_file(&self.viewer, document).await;
        let (file, meta) = opened.map_err(|error| match error {
            StoreError::BlobMissing => Problem::new(
                ProblemKind::FileElsewhere,
                "this hub knows the document, and its file is on another hub or at the gateway",
            ),
            other => other.into(),
        })?;
        let cairn_store::FileMeta { blob, file_name, media_type, size, .. } = meta;
        let read = Box::new(move |first, length| read(file, first, length));
        Ok(OpenFile { meta: FileMeta { blob, file_name, media_type, size }, read })
    }
}

impl Files for Seen {
    fn may_add(&self, project: Option<RecordId>) -> Answer<'_, ()> {
        Box::pin(async move { Ok(self.require(Action::Create, On::Place(Kind::Document, project)).await?) })
    }

    fn may_replace(&self, document: RecordId) -> Answer<'_, ()> {
        Box::pin(async move { Ok(self.require(Action::Update, On::Record(document)).await?) })
    }

    fn keep<'a>(&'a self, announced: Option<u64>, file: Upload<'a>) -> Answer<'a, (BlobId, u64)> {
        Box::pin(async move { Ok(self.store_file(announced, file).await?) })
    }

    fn index(&self, document: RecordId) -> Answer<'_, serde_json::Value> {
        Box::pin(async move {
            let indexed = self.read_for_search(document).await;
            Ok(serde_json::to_value(indexed).map_err(|error| Problem::internal(&error))?)
        })
    }

    fn open_file(&self, document: RecordId) -> Answer<'_, OpenFile> {
        Box::pin(async move { Ok(self.open(document).await?) })
    }
}

impl Sink for BlobWriter {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        Ok(self.write(bytes)?)
    }
}
