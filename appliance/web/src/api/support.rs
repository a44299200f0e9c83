//! The support bundle: what helps somebody far away to understand this hub, and nothing that is secret or
//! personal. Everything in it is named here; nothing is taken over unseen.

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use cairn_store::Viewer;
use serde_json::{Value, json};

use super::{health, models::keeper};
use crate::{hub::Hub, problem::Problem, session::CurrentViewer};

/// Most log lines in a bundle.
const MAX_LINES: usize = 500;
/// Longest log line in a bundle, in characters.
const MAX_LINE: usize = 400;

/// Downloads the support bundle. Keepers only.
#[utoipa::path(get, path = "/api/v1/support-bundle", tag = "device", operation_id = "make_support_bundle",
    responses((status = 200, description = "The bundle.", body = Object)))]
pub(super) async fn bundle(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
) -> Result<Response, Problem> {
    let bundle = make(&hub, &viewer).await?;
    let mut response = Json(bundle).into_response();
    let name = HeaderValue::from_static("attachment; filename=\"cairn-support.json\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

/// The bundle.
///
/// # Errors
/// When `viewer` is no keeper.
pub(crate) async fn make(hub: &Hub, viewer: &Viewer) -> Result<Value, Problem> {
    keeper(viewer)?;
    let facts = hub.host.facts();
    let store = hub.store.support_facts(viewer).await?;
    let models = hub.inference.models().await.map(|models| {
        models
            .into_iter()
            .map(|model| {
                json!({
                    "name": model.name, "family": model.family, "quantization": model.quantization,
                    "parameters": model.parameters, "file_bytes": model.file_bytes, "state": model.state,
                })
            })
            .collect::<Vec<_>>()
    });
    let log: Vec<String> = hub.host.recent_log(MAX_LINES).into_iter().map(|line| shortened(&line)).collect();
    Ok(json!({
        "health": health::look(hub).await,
        "store": store,
        "index": hub.library.progress(),
        "models": models.unwrap_or_default(),
        "device": {
            "version": facts.version,
            "started_at_ms": facts.started_at_ms,
            "board": facts.board,
            "connectivity": facts.connectivity,
            "confinement": facts.confinement,
            "memory": facts.memory,
            "disk": facts.disk,
            "temperature_c": facts.temperature_c,
            "restarts": facts.restarts.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
            "opened": facts.opened,
        },
        "metrics": health::exposition(hub).await,
        "log": log,
    }))
}

fn shortened(line: &str) -> String {
    line.chars().take(MAX_LINE).collect()
}
