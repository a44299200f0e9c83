//! Generating models: which there are, adding, loading, unloading and removing them.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use cairn_inference::{ModelInfo, ModelState};
use cairn_store::Viewer;
use cairn_sync::Role;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::transfer::{Limit, Sink, blocking, pour};
use crate::{
    host::HostError,
    hub::Hub,
    problem::{Problem, ProblemKind},
    session::CurrentViewer,
};
use cairn_record_api::{extract::ApiPath, query::ApiQuery};

/// Largest model file, in bytes.
const MAX_MODEL: u64 = 32 << 30;
/// Longest name, in bytes.
const MAX_NAME: usize = 100;
/// How a GGUF file begins.
const MAGIC: &[u8] = b"GGUF";

/// A model.
#[derive(Serialize, ToSchema)]
pub(crate) struct Model {
    /// How it is asked for.
    pub(crate) name: String,
    /// The name that its maker gave it.
    pub(crate) title: Option<String>,
    /// Its family.
    pub(crate) family: Option<String>,
    /// The quantization of most of its weights.
    pub(crate) quantization: String,
    /// Number of weights.
    pub(crate) parameters: u64,
    /// Longest context, in tokens.
    pub(crate) context: u32,
    /// Size of its file, in bytes.
    pub(crate) file_bytes: u64,
    /// Memory that it needs when loaded, in bytes, estimated.
    pub(crate) memory_bytes: u64,
    /// What it is at the moment.
    #[serde(flatten)]
    pub(crate) state: Standing,
}

/// What a model is at the moment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum Standing {
    /// In memory.
    Loaded,
    /// Being loaded.
    Loading {
        /// How far, 0 to 100.
        percent: u8,
    },
    /// Can be loaded.
    Available,
    /// Cannot be used.
    Refused {
        /// Why, in words for people.
        reason: String,
    },
}

impl From<ModelInfo> for Model {
    fn from(info: ModelInfo) -> Self {
        let state = match info.state {
            ModelState::Loaded => Standing::Loaded,
            ModelState::Loading { percent } => Standing::Loading { percent },
            ModelState::Available => Standing::Available,
            ModelState::Refused(reason) => Standing::Refused { reason },
        };
        // The path stays here: where files lie on the device is nobody's business.
        Self {
            name: info.name,
            title: info.title,
            family: info.family.map(|family| family.to_string()),
            quantization: info.quantization,
            parameters: info.parameters,
            context: info.context,
            file_bytes: info.file_bytes,
            memory_bytes: info.memory_bytes,
            state,
        }
    }
}

/// Lists the installed models.
#[utoipa::path(get, path = "/api/v1/models", tag = "models", operation_id = "list_models",
    responses((status = 200, description = "The models.", body = Vec<Model>),
        (status = 503, description = "The inference process is being restarted.", body = cairn_record_api::Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(hub): State<Hub>) -> Result<Json<Vec<Model>>, Problem> {
    Ok(Json(hub.inference.models().await?.into_iter().map(Model::from).collect()))
}

/// What is said of a model file.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NewModel {
    /// The file's name: letters, digits, `.`, `_` and `-`; the ending `.gguf` is left out.
    #[param(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9_-][A-Za-z0-9._-]*$")]
    name: String,
}

/// Adds a model: a GGUF file, checked before it is installed. Keepers only.
#[utoipa::path(post, path = "/api/v1/models", tag = "models", operation_id = "add_model", params(NewModel),
    request_body(content = inline(Vec<u8>), content_type = "application/octet-stream", description = "The GGUF file."),
    responses((status = 201, description = "It is installed.", body = Model),
        (status = 413, description = "It is too large.", body = cairn_record_api::Problem, content_type = "application/problem+json"),
        (status = 422, description = "It cannot be used.", body = cairn_record_api::Problem, content_type = "application/problem+json"),
        (status = 507, description = "The disk is full.", body = cairn_record_api::Problem, content_type = "application/problem+json")))]
pub(super) async fn add(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiQuery(new): ApiQuery<NewModel>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Model>), Problem> {
    let announced = crate::middleware::announced_length(&headers);
    let model = receive(&hub, &viewer, &new.name, announced, body.into_data_stream()).await?;
    Ok((StatusCode::CREATED, Json(model)))
}

/// Receives a model file, checks it and installs it.
///
/// # Errors
/// When `viewer` is no keeper, the file is too large for the rule or the disk, or it is no usable model. Nothing of
/// it is left behind then.
pub(crate) async fn receive<S, E>(
    hub: &Hub,
    viewer: &Viewer,
    file_name: &str,
    announced: Option<u64>,
    body: S,
) -> Result<Model, Problem>
where
    S: futures::Stream<Item = Result<bytes::Bytes, E>> + Send,
    E: std::fmt::Display,
{
    keeper(viewer)?;
    let name = model_name(file_name)?;
    let limit = Limit::within_disk(hub, MAX_MODEL);
    limit.check(announced)?;
    let _place = hub.upload_place()?;
    let folder = hub.host.incoming_dir();
    let incoming = blocking(move || Incoming::create(&folder)).await??;
    let (incoming, _) = pour(body, limit, incoming).await?;
    let (incoming, info) = blocking(move || {
        incoming.file.sync_all().map_err(|error| incoming.failed("syncing", error))?;
        let info = cairn_inference::inspect(&incoming.path)?;
        Ok::<_, Problem>((incoming, info))
    })
    .await??;
    if let ModelState::Refused(reason) = &info.state {
        return Err(Problem::new(ProblemKind::ModelRefused, reason.clone()));
    }
    hub.host.install_model(incoming.path.clone(), name.clone()).await?;
    tracing::info!(name, "a model was installed");
    Ok(Model::from(ModelInfo { name, ..info }))
}

/// Loads a model into memory; answers when it is there. Keepers only.
#[utoipa::path(post, path = "/api/v1/models/{name}/load", tag = "models", operation_id = "load_model",
    params(("name" = String, Path)), responses((status = 204, description = "It is loaded.")))]
pub(super) async fn load(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiPath(name): ApiPath<String>,
) -> Result<StatusCode, Problem> {
    keeper(&viewer)?;
    hub.inference.load(&model_name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Frees a model's memory. Keepers only.
#[utoipa::path(post, path = "/api/v1/models/{name}/unload", tag = "models", operation_id = "unload_model",
    params(("name" = String, Path)), responses((status = 204, description = "Its memory is free.")))]
pub(super) async fn unload(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiPath(name): ApiPath<String>,
) -> Result<StatusCode, Problem> {
    keeper(&viewer)?;
    hub.inference.unload(&model_name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a model. Keepers only.
#[utoipa::path(delete, path = "/api/v1/models/{name}", tag = "models", operation_id = "remove_model",
    params(("name" = String, Path)), responses((status = 204, description = "It is gone.")))]
pub(super) async fn remove(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiPath(name): ApiPath<String>,
) -> Result<StatusCode, Problem> {
    keeper(&viewer)?;
    hub.host.remove_model(model_name(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Models belong to the device, not to the records, so the store has no say in who changes them.
pub(crate) fn keeper(viewer: &Viewer) -> Result<(), Problem> {
    match (viewer.role(), viewer.is_signed_in()) {
        (Role::Keeper, _) => Ok(()),
        (_, true) => Err(Problem::new(ProblemKind::Forbidden, "only keepers of the hub may do this")
            .next("Ask a keeper of the hub.")),
        (_, false) => Err(Problem::new(ProblemKind::SignInNeeded, "sign in as a keeper to do this")),
    }
}

/// The name of a model from its file's name.
fn model_name(file_name: &str) -> Result<String, Problem> {
    let name = file_name.strip_suffix(".gguf").unwrap_or(file_name);
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.bytes().all(fits) {
        let detail =
            "a model's name consists of letters, digits, '.', '_' and '-', and does not start with '.'";
        return Err(Problem::new(ProblemKind::Invalid, detail).field("name", detail));
    }
    Ok(name.to_owned())
}

/// A file that is being received. Removed when it is dropped, unless it was moved away before.
struct Incoming {
    file: File,
    path: PathBuf,
    started: bool,
}

impl Incoming {
    fn create(folder: &Path) -> Result<Self, Problem> {
        fs::create_dir_all(folder).map_err(|error| refused("making", folder, error))?;
        let path = folder.join(format!("{}.gguf", Uuid::now_v7()));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.map_err(|error| refused("making", &path, error))?;
        Ok(Self { file, path, started: false })
    }

    fn failed(&self, doing: &'static str, error: std::io::Error) -> Problem {
        refused(doing, &self.path, error)
    }
}

impl Sink for Incoming {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Problem> {
        // What is no model at all is refused before gigabytes of it are written.
        if !self.started && !bytes.starts_with(MAGIC) {
            return Err(Problem::new(ProblemKind::ModelRefused, "this is not a GGUF file"));
        }
        self.started = true;
        self.file.write_all(bytes).map_err(|error| refused("writing", &self.path, error))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %self.path.display(), "an incoming file could not be removed");
            }
            _ => {}
        }
    }
}

fn refused(doing: &'static str, path: &Path, error: std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Problem::new(ProblemKind::DiskFull, "the disk is full")
        }
        std::io::ErrorKind::ReadOnlyFilesystem => {
            Problem::new(ProblemKind::ReadOnlyDisk, "the disk cannot be written to")
        }
        _ => Problem::internal(&HostError::io(doing, path, error)),
    }
}

impl From<HostError> for Problem {
    fn from(error: HostError) -> Self {
        let detail = error.to_string();
        match error {
            HostError::Exists(_) => {
                Self::new(ProblemKind::NameTaken, detail).next("Choose another name for the model.")
            }
            HostError::Missing(_) => Self::new(ProblemKind::NotFound, detail),
            HostError::Refused(_) => Self::new(ProblemKind::ModelRefused, detail),
            HostError::Io { doing, path, source } => refused(doing, &path, source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_cannot_leave_its_folder() {
        assert_eq!(model_name("SmolLM2-360M.Q8_0.gguf").unwrap(), "SmolLM2-360M.Q8_0");
        for bad in
            ["", ".gguf", "..", "../x.gguf", "a/b", "a\\b", ".hidden", "a b", "ä", &"x".repeat(MAX_NAME + 1)]
        {
            assert!(model_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_received_is_gone_unless_it_was_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut incoming = Incoming::create(folder.path()).unwrap();
        incoming.put(b"GGUF....").unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(incoming);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut other = Incoming::create(folder.path()).unwrap();
        assert_eq!(other.put(b"PK\x03\x04").unwrap_err().kind, ProblemKind::ModelRefused);
    }
}
