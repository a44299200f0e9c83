//! Whether the hub is well, for people, supervisors and Prometheus.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use cairn_inference::ModelState;
use cairn_library::IndexState;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    host::{CardFacts, Confined, Connectivity, DeviceFacts, Usage},
    hub::Hub,
    metrics::Exposition,
    updates::UpdatePhase,
};

/// How long one part may take to say how it is; after that it counts as not well.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Whether the hub is well.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Everything works.
    Ok,
    /// People can use the hub, but a part is missing; `findings` say which.
    Degraded,
    /// The database does not answer.
    Down,
}

/// How the hub is.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// All in one word.
    pub(crate) status: Status,
    /// The program's version.
    pub(crate) version: String,
    /// Seconds since the hub's process started.
    pub(crate) uptime: u64,
    /// Generating models in memory.
    pub(crate) models_loaded: u64,
    /// Whether the database answers.
    pub(crate) database_connected: bool,
    /// Whether search by meaning works: the embedding model runs and every passage has its embedding.
    pub(crate) vector_store_ready: bool,
    /// Whether the inference process is connected.
    pub(crate) inference_connected: bool,
    /// Generating models installed.
    pub(crate) models_installed: u64,
    /// Documents with a file.
    pub(crate) documents: u64,
    /// Of these, searchable by words.
    pub(crate) documents_indexed: u64,
    /// Passages.
    pub(crate) passages: u64,
    /// Of these, searchable by meaning.
    pub(crate) passages_embedded: u64,
    /// Changes that wait to be sent to the gateway.
    pub(crate) outbox: u64,
    /// Schema of the database.
    pub(crate) schema_version: u32,
    /// Whether the outside world can be reached.
    pub(crate) connectivity: Connectivity,
    /// Memory of the device, in bytes.
    pub(crate) memory: Option<Usage>,
    /// Disk that holds the hub's data, in bytes.
    pub(crate) disk: Option<Usage>,
    /// Temperature of the processor, in degrees Celsius.
    pub(crate) temperature_c: Option<f32>,
    /// Whether the supply's voltage is too low, where the board tells.
    pub(crate) under_voltage: Option<bool>,
    /// The card that holds the data.
    pub(crate) card: CardFacts,
    /// Where updates of the system stand, where the hub is the device's system.
    pub(crate) updates: Option<UpdatePhase>,
    /// How well each role is confined.
    pub(crate) confinement: Vec<Confined>,
    /// What a keeper should know, in words for people.
    pub(crate) findings: Vec<String>,
}

/// Says how the hub is. 200 while people can use it, 503 when the database does not answer.
#[utoipa::path(get, path = "/api/health-check", tag = "device", operation_id = "check_health",
    responses((status = 200, description = "People can use the hub.", body = Health),
        (status = 503, description = "The database does not answer.", body = Health)))]
pub(super) async fn health(State(hub): State<Hub>) -> Response {
    let health = look(&hub).await;
    let status = match health.status {
        Status::Ok | Status::Degraded => StatusCode::OK,
        Status::Down => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health)).into_response()
}

/// How the hub is.
pub(crate) async fn look(hub: &Hub) -> Health {
    let facts = hub.host.facts();
    let inference_connected = hub.inference.connected();
    let models = async {
        if !inference_connected {
            return None;
        }
        tokio::time::timeout(ANSWER_WITHIN, hub.inference.models()).await.ok()?.ok()
    };
    let (store, models) = tokio::join!(tokio::time::timeout(ANSWER_WITHIN, hub.store.health()), models);
    let store = store.ok();
    let database_connected = store.as_ref().is_some_and(|store| store.database_connected);
    let progress = hub.library.progress();
    let waits_for_model = matches!(progress.state, IndexState::WaitingForModel { .. });
    let counts = progress.counts;
    let mut findings = Vec::new();
    if !database_connected {
        findings.push("The database does not answer.".to_owned());
    }
    if !inference_connected {
        findings.push("The inference process is not connected; search goes by words only.".to_owned());
    }
    if let IndexState::WaitingForModel { reason } = &progress.state {
        findings.push(format!("Search by meaning waits for the embedding model: {reason}"));
    }
    findings.extend(facts.device.concerns.iter().map(|(_, sentence)| (*sentence).to_owned()));
    findings.extend(facts.device.provisioning.iter().cloned());
    findings.extend(facts.opened.findings.iter().map(|finding| finding.text.clone()));
    let updates = hub.updates.as_ref().map(|updates| updates.status());
    if let Some(updates) = &updates {
        if let Some(failure) = updates.failed.last().filter(|_| updates.came_back) {
            findings.push(format!(
                "Version {} was unfit and the one before came back: {}",
                failure.version, failure.reason
            ));
        }
        if updates.phase == UpdatePhase::OnTrial {
            findings.push("This version of the system has yet to prove itself.".to_owned());
        }
    }
    let status = match (database_connected, inference_connected) {
        (false, _) => Status::Down,
        (true, true) if !waits_for_model => Status::Ok,
        (true, _) => Status::Degraded,
    };
    let models = models.unwrap_or_default();
    let loaded = models.iter().filter(|model| model.state == ModelState::Loaded).count();
    Health {
        status,
        version: facts.version,
        uptime: facts.uptime.as_secs(),
        models_loaded: loaded as u64,
        database_connected,
        vector_store_ready: database_connected
            && inference_connected
            && !waits_for_model
            && counts.embedded == counts.passages,
        inference_connected,
        models_installed: models.len() as u64,
        documents: counts.documents,
        documents_indexed: counts.indexed,
        passages: counts.passages,
        passages_embedded: counts.embedded,
        outbox: store.as_ref().map_or(0, |store| store.outbox),
        schema_version: store.as_ref().map_or(0, |store| store.schema_version),
        connectivity: facts.connectivity,
        memory: facts.memory,
        disk: facts.disk,
        temperature_c: facts.temperature_c,
        under_voltage: facts.device.under_voltage,
        card: facts.device.card,
        updates: updates.map(|updates| updates.phase),
        confinement: facts.confinement,
        findings,
    }
}

/// Tells all figures in Prometheus' text format. Nothing in them names a person or a record.
#[utoipa::path(get, path = "/metrics", tag = "device", operation_id = "read_metrics",
    responses((status = 200, description = "The figures.", content_type = "text/plain", body = String)))]
pub(super) async fn metrics(State(hub): State<Hub>) -> Response {
    let text = exposition(&hub).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// All figures.
pub(crate) async fn exposition(hub: &Hub) -> String {
    let mut out = Exposition::default();
    let facts = hub.host.facts();
    out.head("cairn_info", "gauge", "The program's version and the board.");
    let board = facts.board.as_deref().unwrap_or_default();
    out.sample("cairn_info", &[("version", &facts.version), ("board", board)], 1);
    out.one(
        "cairn_uptime_seconds",
        "gauge",
        "Seconds since the hub's process started.",
        facts.uptime.as_secs(),
    );
    for (name, what, usage) in
        [("memory", "Memory of the device", facts.memory), ("disk", "Disk of the hub's data", facts.disk)]
    {
        if let Some(usage) = usage {
            out.one(&format!("cairn_{name}_used_bytes"), "gauge", &format!("{what}, used."), usage.used);
            out.one(&format!("cairn_{name}_total_bytes"), "gauge", &format!("{what}, all."), usage.total);
        }
    }
    if let Some(temperature) = facts.temperature_c {
        out.one("cairn_temperature_celsius", "gauge", "Temperature of the processor.", temperature);
    }
    device_figures(&facts.device, &mut out);
    out.head("cairn_role_restarts_total", "counter", "How often a role was started again.");
    for (role, restarts) in &facts.restarts {
        out.sample("cairn_role_restarts_total", &[("role", role)], restarts);
    }
    out.one("cairn_http_in_flight", "gauge", "Requests in work.", hub.in_flight());
    hub.shared.metrics.write(&mut out);
    update_figures(hub, &mut out);
    store_figures(hub, &mut out).await;
    inference_figures(hub, &mut out).await;
    out.into_text()
}

/// What the board and its card tell; nothing is said of what they do not.
fn device_figures(device: &DeviceFacts, out: &mut Exposition) {
    let mut gauge = |name: &str, help: &str, value: Option<u64>| {
        if let Some(value) = value {
            out.one(name, "gauge", help, value);
        }
    };
    gauge(
        "cairn_under_voltage",
        "Whether the supply's voltage is or was too low.",
        device.under_voltage.map(u64::from),
    );
    gauge(
        "cairn_card_worn_percent",
        "Used share of the card's life, by its own estimate.",
        device.card.worn_percent.map(u64::from),
    );
    gauge(
        "cairn_card_written_bytes",
        "Written to the hub's file system in its life.",
        device.card.written_bytes,
    );
    gauge("cairn_card_errors", "Errors that the hub's file system has met.", device.card.errors);
    if !device.concerns.is_empty() {
        out.head("cairn_concern", "gauge", "What a person should do something about.");
        for (name, _) in &device.concerns {
            out.sample("cairn_concern", &[("concern", name)], 1);
        }
    }
}

fn update_figures(hub: &Hub, out: &mut Exposition) {
    let Some(status) = hub.updates.as_ref().map(|updates| updates.status()) else { return };
    out.head("cairn_update_phase", "gauge", "Where updates of the system stand: 1 at the one that it is.");
    for phase in UpdatePhase::ALL {
        out.sample("cairn_update_phase", &[("phase", phase.name())], u8::from(phase == status.phase));
    }
    out.head("cairn_update_running", "gauge", "The version of the system that runs.");
    out.sample("cairn_update_running", &[("version", &status.running)], 1);
    out.one(
        "cairn_update_failed",
        "gauge",
        "Versions that failed here and are not tried again.",
        status.failed.len(),
    );
    if let Some(progress) = status.progress {
        out.one(
            "cairn_update_fetched_bytes",
            "gauge",
            "Fetched of the version that is being written.",
            progress.fetched,
        );
        out.one("cairn_update_to_fetch_bytes", "gauge", "To fetch of it.", progress.to_fetch);
    }
}

async fn store_figures(hub: &Hub, out: &mut Exposition) {
    let counts = hub.library.progress().counts;
    out.one("cairn_index_documents", "gauge", "Documents with a file.", counts.documents);
    out.one("cairn_index_documents_indexed", "gauge", "Of these, searchable by words.", counts.indexed);
    out.one("cairn_index_documents_failed", "gauge", "Of these, impossible to read.", counts.failed);
    out.one("cairn_index_passages", "gauge", "Passages.", counts.passages);
    out.one("cairn_index_passages_embedded", "gauge", "Of these, searchable by meaning.", counts.embedded);
    let Ok(store) = tokio::time::timeout(ANSWER_WITHIN, hub.store.health()).await else { return };
    out.head("cairn_store_lane_queue", "gauge", "Writes that wait, by lane.");
    for (lane, queued) in
        [("person", store.queued_person), ("sync", store.queued_sync), ("index", store.queued_index)]
    {
        out.sample("cairn_store_lane_queue", &[("lane", lane)], queued);
    }
    out.one("cairn_store_wal_bytes", "gauge", "Size of the write-ahead log.", store.wal_bytes);
    out.one(
        "cairn_store_slow_statements_total",
        "counter",
        "Statements interrupted because they took too long.",
        store.slow_statements,
    );
    out.one("cairn_store_outbox", "gauge", "Changes that wait to be sent to the gateway.", store.outbox);
}

async fn inference_figures(hub: &Hub, out: &mut Exposition) {
    let connected = hub.inference.connected();
    out.one(
        "cairn_inference_connected",
        "gauge",
        "Whether the inference process is connected.",
        u8::from(connected),
    );
    if !connected {
        return;
    }
    let Ok(Ok(figures)) = tokio::time::timeout(ANSWER_WITHIN, hub.inference.statistics()).await else {
        return;
    };
    out.one("cairn_inference_waiting", "gauge", "Questions that wait.", figures.waiting);
    out.one("cairn_inference_active", "gauge", "Answers being written.", figures.active);
    out.one("cairn_inference_models_loaded", "gauge", "Generating models in memory.", figures.models_loaded);
    out.one(
        "cairn_inference_threads",
        "gauge",
        "Threads that compute; fewer when the board is hot.",
        figures.threads,
    );
    out.head("cairn_inference_answers_total", "counter", "Answers by how they ended.");
    for (end, count) in
        [("completed", figures.completed), ("failed", figures.failed), ("cancelled", figures.cancelled)]
    {
        out.sample("cairn_inference_answers_total", &[("end", end)], count);
    }
    for (name, help, count) in [
        ("prompt_tokens", "Prompt tokens read.", figures.prompt_tokens),
        ("reused_tokens", "Prompt tokens that did not have to be read again.", figures.reused_tokens),
        ("generated_tokens", "Tokens written.", figures.generated_tokens),
        ("prefill_milliseconds", "Time spent reading prompts.", figures.prefill_ms),
        ("decode_milliseconds", "Time spent writing.", figures.decode_ms),
        ("first_token_milliseconds", "Sum of the times from start to first token.", figures.first_token_ms),
        ("first_tokens", "Answers that reached their first token.", figures.first_tokens),
        ("drafted_tokens", "Tokens that were drafted from the conversation.", figures.drafted_tokens),
        (
            "accepted_tokens",
            "Drafted tokens that the model would have written, too.",
            figures.accepted_tokens,
        ),
        ("embedded_texts", "Texts embedded.", figures.embedded),
        ("embed_milliseconds", "Time spent embedding.", figures.embed_ms),
    ] {
        out.one(&format!("cairn_inference_{name}_total"), "counter", help, count);
    }
}
