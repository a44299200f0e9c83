//! Updates of the device's system: where they stand, what a keeper asks, what is uploaded, and what is passed on to other hubs.

use std::{fs::File, path::Path};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::Bytes;
use futures::Stream;

use super::{
    files,
    models::keeper,
    transfer::{Limit, Sink, blocking, pour},
};
use crate::{
    hub::Hub,
    middleware::NeverCompress,
    problem::{Problem, ProblemKind},
    session::CurrentViewer,
    updates::{UpdateAsk, UpdateStatus, Updates},
};
use cairn_record_api::extract::{ApiJson, ApiPath};

/// Largest file of a repository that is taken, in bytes; the disk's room limits it further.
const MAX_FILE: u64 = 4 << 30;
/// Most files of an upload.
const MAX_FILES: usize = 512;
/// Longest name of a file.
const MAX_NAME: usize = 200;

/// The updates of this device.
pub(crate) fn updates(hub: &Hub) -> Result<&dyn Updates, Problem> {
    let none = || {
        Problem::new(
            ProblemKind::NotFound,
            "this hub is a guest on a computer: its system is not its to update",
        )
    };
    hub.updates.as_deref().ok_or_else(none)
}

/// Where updates stand. Keepers only.
#[utoipa::path(get, path = "/api/v1/updates", tag = "device", operation_id = "read_updates",
    responses((status = 200, description = "Where they stand.", body = UpdateStatus)))]
pub(super) async fn read(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
) -> Result<Json<UpdateStatus>, Problem> {
    keeper(&viewer)?;
    Ok(Json(updates(&hub)?.status()))
}

/// What is asked of updates.
#[derive(serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// What.
    ask: UpdateAsk,
}

/// Asks for something: to look, to install now, to try a failed version again, to pause. Keepers only.
#[utoipa::path(post, path = "/api/v1/updates", tag = "device", operation_id = "ask_updates", request_body = Asked,
    responses((status = 202, description = "It was taken; what comes of it shows where updates stand.", body = UpdateStatus)))]
pub(super) async fn ask(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiJson(asked): ApiJson<Asked>,
) -> Result<(StatusCode, Json<UpdateStatus>), Problem> {
    keeper(&viewer)?;
    order(&hub, asked.ask)?;
    Ok((StatusCode::ACCEPTED, Json(updates(&hub)?.status())))
}

/// Passes an order on.
///
/// # Errors
/// When it makes no sense, or there are no updates here.
pub(crate) fn order(hub: &Hub, ask: UpdateAsk) -> Result<(), Problem> {
    if let UpdateAsk::Wishes(wishes) = &ask
        && (wishes.window_from > 23 || wishes.window_until > 23)
    {
        return Err(Problem::new(ProblemKind::Invalid, "an hour is a number from 0 to 23"));
    }
    updates(hub)?.ask(ask).map_err(|error| Problem::new(ProblemKind::Invalid, error.0))
}

/// Takes one file of a repository, by its name there. What was uploaded is looked at when that is asked for. Keepers only.
#[utoipa::path(put, path = "/api/v1/updates/files/{name}", tag = "device", operation_id = "upload_update_file",
    params(("name" = String, Path, description = "Its name in the repository, without folders: `3.root.json`, or that of a bundle.")),
    request_body(content = inline(Vec<u8>), content_type = "application/octet-stream", description = "The file."),
    responses((status = 204, description = "It is here.")))]
pub(super) async fn upload(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiPath(name): ApiPath<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    keeper(&viewer)?;
    let announced = crate::middleware::announced_length(&headers);
    if take(&hub, &name, announced, body.into_data_stream()).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        let told = format!(
            "{name:?} is no file of a repository: metadata end in \".json\", other names begin with a hash"
        );
        Err(Problem::new(ProblemKind::Invalid, told))
    }
}

/// Where a file of a repository belongs, by its name alone: metadata are JSON, and every other file's name begins with its hash.
fn folder_of(name: &str) -> Option<&'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.len() > MAX_NAME || name.starts_with('.') || !name.bytes().all(fits) {
        return None;
    }
    let hashed = name
        .split_once('.')
        .is_some_and(|(hash, _)| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    match (hashed, name.ends_with(".json")) {
        (true, _) => Some("targets"),
        (false, true) => Some("metadata"),
        (false, false) => None,
    }
}

/// Takes one file of a repository. Files that belong to none are passed over: `false`.
///
/// # Errors
/// When it is too large, or cannot be written.
pub(crate) async fn take<S, E>(
    hub: &Hub,
    name: &str,
    announced: Option<u64>,
    body: S,
) -> Result<bool, Problem>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
    E: std::fmt::Display,
{
    let incoming = updates(hub)?.incoming();
    let Some(folder) = folder_of(name) else { return Ok(false) };
    let limit = Limit::within_disk(hub, MAX_FILE);
    limit.check(announced)?;
    let _place = hub.upload_place()?;
    let folder = incoming.join(folder);
    let (path, name) = (folder.join(name), name.to_owned());
    let sink = blocking(move || -> Result<Incoming, Problem> {
        let failed = |error: std::io::Error| Problem::internal(&error);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        if std::fs::read_dir(&folder).map_err(failed)?.count() >= MAX_FILES {
            return Err(Problem::new(
                ProblemKind::TooLarge,
                format!("at most {MAX_FILES} files of a repository"),
            ));
        }
        let part = folder.join(format!(".{name}.part"));
        Ok(Incoming { file: File::create(&part).map_err(failed)?, part: Some(part) })
    })
    .await??;
    let (sink, _) = pour(body, limit, sink).await?;
    blocking(move || sink.finish(&path)).await??;
    Ok(true)
}

/// Forgets what was uploaded before.
pub(crate) async fn forget_upload(hub: &Hub) -> Result<(), Problem> {
    let incoming = updates(hub)?.incoming();
    blocking(move || match std::fs::remove_dir_all(&incoming) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Problem::internal(&error)),
        _ => Ok(()),
    })
    .await?
}

/// A file on its way; gone where it does not arrive whole.
struct Incoming {
    file: File,
    part: Option<std::path::PathBuf>,
}

impl Sink for Incoming {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        std::io::Write::write_all(&mut self.file, bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => Problem::new(ProblemKind::DiskFull, "the disk is full"),
            _ => Problem::internal(&error),
        })
    }
}

impl Incoming {
    fn finish(mut self, path: &Path) -> Result<(), Problem> {
        let failed = |error: std::io::Error| Problem::internal(&error);
        self.file.sync_data().map_err(failed)?;
        if let Some(part) = self.part.take() {
            std::fs::rename(part, path).map_err(failed)?;
        }
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(part) = &self.part
            && let Err(error) = std::fs::remove_file(part)
        {
            tracing::debug!(%error, "half an upload");
        }
    }
}

/// A file of the repository that this hub passes on, for other hubs; only while its keeper wants that. What is in it was signed by
/// the maintainers, and whoever reads it checks that.
pub(super) async fn mirror(
    State(hub): State<Hub>,
    ApiPath((folder, name)): ApiPath<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let none = || Problem::new(ProblemKind::NotFound, "this hub does not pass that on");
    let mirror = updates(&hub).ok().and_then(|updates| updates.mirror()).ok_or_else(none)?;
    if folder_of(&name) != Some(folder.as_str()) {
        return Err(none());
    }
    let path = mirror.join(folder).join(name);
    let (file, size) = blocking(move || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok::<_, std::io::Error>((file, size))
    })
    .await?
    .map_err(|_| none())?;
    let mut response = files::in_parts(file, size, &headers)?;
    let found = response.headers_mut();
    found.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    found.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    found.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(NeverCompress);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_where_a_file_belongs() {
        let hash = "a".repeat(64);
        assert_eq!(folder_of("3.root.json"), Some("metadata"));
        assert_eq!(folder_of("timestamp.json"), Some("metadata"));
        assert_eq!(folder_of(&format!("{hash}.system.bundle")), Some("targets"));
        assert_eq!(folder_of(&format!("{hash}.pack.json")), Some("targets"));
        for odd in ["", ".json", "../x.json", "a/b.json", "holiday.jpg", ".hidden.json", "a b.json"] {
            assert_eq!(folder_of(odd), None, "{odd}");
        }
    }
}
