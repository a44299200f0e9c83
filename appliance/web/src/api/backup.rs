//! Backup and restore. Both are streams: neither the hub's memory nor its disk has to hold a second copy.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use cairn_store::{MIN_PASSPHRASE, Progress, Secret, Viewer};
use serde::{Deserialize, Serialize};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::ToSchema;

use super::{
    models::keeper,
    transfer::{Limit, pipe_in, pipe_out, pour},
};
use crate::{
    host::HostRole,
    hub::Hub,
    middleware::NeverCompress,
    problem::{Problem, ProblemKind},
    session::CurrentViewer,
};
use cairn_record_api::extract::ApiJson;

/// Largest backup that is taken back, in bytes; the disk's room limits it further.
const MAX_BACKUP: u64 = 1 << 40;
/// Longest passphrase, in bytes.
const MAX_PASSPHRASE: usize = 256;

/// Carries the passphrase of an uploaded backup, base64 of its UTF-8: addresses end up in logs, headers do not.
static PASSPHRASE: HeaderName = HeaderName::from_static("cairn-passphrase");

/// A backup to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewBackup {
    /// What encrypts it, at least 8 characters. Without it nobody can read the backup.
    #[schema(format = Password, min_length = 8, max_length = 256)]
    passphrase: String,
}

/// A backup that was taken back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Restored {
    /// Records in it.
    pub(crate) records: u64,
    /// Files in it.
    pub(crate) files: u64,
    /// Its size, in bytes.
    pub(crate) bytes: u64,
    /// The hub is being restarted and comes back with the backup's content.
    pub(crate) restarting: bool,
}

/// Makes a backup: one encrypted file with records, files and settings. Keepers only.
#[utoipa::path(post, path = "/api/v1/backup", tag = "device", operation_id = "make_backup", request_body = NewBackup,
    responses((status = 200, description = "The file. It is whole only when the transfer ends without an error.",
        content_type = "application/octet-stream", body = inline(Vec<u8>))))]
pub(super) async fn make(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiJson(new): ApiJson<NewBackup>,
) -> Result<Response, Problem> {
    download(&hub, &viewer, new.passphrase).await
}

/// Restores a backup: it is checked whole, then the hub restarts with its content. What was on the hub before is
/// set aside. Keepers only.
#[utoipa::path(post, path = "/api/v1/restore", tag = "device", operation_id = "restore_backup",
    params(("Cairn-Passphrase" = String, Header, description = "The backup's passphrase, base64 of its UTF-8.")),
    request_body(content = inline(Vec<u8>), content_type = "application/octet-stream", description = "The backup file."),
    responses((status = 202, description = "It was accepted; the hub restarts.", body = Restored),
        (status = 422, description = "It cannot be used.", body = cairn_record_api::Problem, content_type = "application/problem+json")))]
pub(super) async fn restore_upload(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Restored>), Problem> {
    keeper(&viewer)?;
    let refused = || {
        Problem::new(ProblemKind::Malformed, "the header Cairn-Passphrase is missing or not base64 of UTF-8")
    };
    let encoded = headers.get(&PASSPHRASE).ok_or_else(refused)?;
    let passphrase =
        STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(refused)?;
    let announced = crate::middleware::announced_length(&headers);
    let restored = restore(&hub, &viewer, passphrase, announced, body.into_data_stream()).await?;
    Ok((StatusCode::ACCEPTED, Json(restored)))
}

/// A backup as a download.
///
/// # Errors
/// When `viewer` is no keeper or the passphrase is too short. What fails later breaks the download off.
pub(crate) async fn download(hub: &Hub, viewer: &Viewer, passphrase: String) -> Result<Response, Problem> {
    keeper(viewer)?;
    if passphrase.chars().count() < MIN_PASSPHRASE || passphrase.len() > MAX_PASSPHRASE {
        let detail =
            format!("a passphrase has between {MIN_PASSPHRASE} characters and {MAX_PASSPHRASE} bytes");
        return Err(Problem::new(ProblemKind::Invalid, detail.clone()).field("passphrase", detail));
    }
    let place = hub.upload_place()?;
    let (writer, pieces) = pipe_out();
    let (store, viewer, failed) = (hub.store.clone(), viewer.clone(), writer.sender());
    tokio::spawn(async move {
        let _place = place;
        let made =
            store.backup(&viewer, Box::new(writer), Secret::new(passphrase), Progress::default()).await;
        match made {
            Ok(made) => tracing::info!(records = made.records, bytes = made.bytes, "a backup was downloaded"),
            Err(error) => {
                tracing::warn!(%error, "a backup broke off");
                // Ends the transfer with an error, so that nobody keeps half a backup for a whole one.
                failed.send(Err(std::io::Error::other("the backup broke off"))).await.ok();
            }
        }
    });
    let mut response = Body::from_stream(ReceiverStream::new(pieces)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"hub.cairn-backup\""),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(NeverCompress);
    Ok(response)
}

/// Takes a backup back and restarts the hub with it.
///
/// # Errors
/// When `viewer` is no keeper, or the file is not a whole backup under this passphrase. The hub is then as before.
pub(crate) async fn restore<S, E>(
    hub: &Hub,
    viewer: &Viewer,
    passphrase: String,
    announced: Option<u64>,
    body: S,
) -> Result<Restored, Problem>
where
    S: futures::Stream<Item = Result<bytes::Bytes, E>> + Send,
    E: std::fmt::Display,
{
    keeper(viewer)?;
    let limit = Limit::within_disk(hub, MAX_BACKUP);
    limit.check(announced)?;
    let _place = hub.upload_place()?;
    let (filler, reader) = pipe_in();
    let passphrase = Secret::new(passphrase);
    let staged = hub.store.stage_restore(viewer, Box::new(reader), passphrase, Progress::default());
    let poured = async {
        let (filler, bytes) = pour(body, limit, filler).await?;
        filler.finish();
        Ok::<_, Problem>(bytes)
    };
    tokio::pin!(staged, poured);
    let staged = tokio::select! {
        // What cannot be used is refused at once, and what was read whole is whole: nobody waits for the rest.
        staged = &mut staged => staged?,
        // A broken upload makes the backup unreadable too; the first of the two is the one to tell.
        poured = &mut poured => {
            poured?;
            staged.await?
        }
    };
    tracing::info!(records = staged.records, "a backup was accepted; the hub restarts with it");
    hub.host.restart(HostRole::Hub);
    Ok(Restored { records: staged.records, files: staged.files, bytes: staged.bytes, restarting: true })
}
