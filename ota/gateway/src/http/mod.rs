//! The service: routes, and what every request and answer passes through.

pub(crate) mod answer;
mod blobs;
mod events;
mod hubs;
mod records;
mod sync;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use cairn_record_api::cors::Allowed;
use cairn_sync::{
    BlobId, CommunityId,
    http::{
        BLOBS, Code, ENROL, EVENTS, GATEWAY_HEADER, IDENTITY, KEY, PROTOCOL_HEADER, REPORT, SNAPSHOT, SYNC,
        Speaks, TIME, protocol::HERE,
    },
};
use tokio_util::sync::CancellationToken;

use crate::{
    db::Db,
    fleet,
    limits::{Gate, Limits},
    live::Live,
    metrics::Metrics,
    store::{Refused, blobs as blobs_of},
    time::TimeKey,
};
use answer::Failed;

/// The largest body that is read at all.
const MAX_BODY: usize = cairn_sync::wire::MAX_BYTES;
/// How long a request may take, streams apart.
pub(crate) const DEADLINE: Duration = Duration::from_secs(110);

/// What requests are served from.
#[derive(Debug)]
pub struct Service {
    /// The database.
    pub db: Db,
    /// Notices.
    pub live: Live,
    /// Limits.
    pub gate: Gate,
    /// Origins whose pages may use the record API.
    pub trusted: Allowed,
    /// Figures.
    pub metrics: Metrics,
    /// Signs the time.
    pub time: TimeKey,
    /// Cancelled when the instance goes away: held streams say so and end.
    pub drain: CancellationToken,
}

/// What requests are served from, shared.
pub type Shared = Arc<Service>;

impl Service {
    /// Connects everything.
    ///
    /// # Errors
    /// [`crate::db::DbError`].
    pub async fn start(
        db: Db,
        limits: Limits,
        trusted: Allowed,
        drain: CancellationToken,
    ) -> Result<Shared, crate::db::DbError> {
        let live = Live::start(&db, &drain).await?;
        let time = TimeKey::load(&db).await?;
        let (gate, metrics) = (Gate::new(limits), Metrics::default());
        Ok(Arc::new(Self { db, live, gate, trusted, metrics, time, drain }))
    }
}

/// Somebody asks for a file that is not here: hubs that have it are asked to bring it.
pub(crate) async fn ask_for(
    db: &Db,
    live: &Live,
    community: CommunityId,
    blob: BlobId,
) -> Result<(), Refused> {
    if blobs_of::want(db, community, blob).await? {
        live.files(community);
    }
    Ok(())
}

/// All routes.
pub fn router(service: Shared) -> Router {
    let hubs = Router::new()
        .route(ENROL, post(hubs::enrol))
        .route(SYNC, post(sync::round))
        .route(SNAPSHOT, post(sync::snapshot))
        .route(EVENTS, get(events::hold))
        .route(TIME, get(hubs::time))
        .route(IDENTITY, post(hubs::identity))
        .route(KEY, post(hubs::key))
        .route(REPORT, post(hubs::report))
        .route(&format!("{BLOBS}/{{hash}}"), get(blobs::get).head(blobs::head).put(blobs::put))
        .layer(from_fn(negotiate));
    Router::new()
        .merge(hubs)
        .merge(fleet::router())
        .merge(records::router(&service))
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .fallback(async || Failed::new(Code::NotFound, "there is nothing here"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(mark))
        .with_state(service)
}

/// Every answer says that it is a gateway's.
async fn mark(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers
        .insert(HeaderName::from_static(GATEWAY_HEADER), HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Hubs say what they speak; they hear what will be spoken, or one sentence on who has to be updated.
async fn negotiate(request: Request, next: Next) -> Response {
    let asked = request.headers().get(PROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    let speaks = match asked.map(str::parse::<Speaks>) {
        Some(Ok(speaks)) => speaks,
        Some(Err(error)) => return Failed::new(Code::Invalid, error.to_string()).into_response(),
        // Whoever looks by hand.
        None => HERE,
    };
    match HERE.with_hub(speaks) {
        Ok(protocol) => {
            let mut response = next.run(request).await;
            response
                .headers_mut()
                .insert(HeaderName::from_static(PROTOCOL_HEADER), HeaderValue::from(protocol));
            response
        }
        Err(error) => Failed::new(Code::Protocol, error.to_string()).into_response(),
    }
}

async fn ready(State(service): State<Shared>) -> Response {
    if service.drain.is_cancelled() {
        return Failed::busy(1, "this instance goes away").into_response();
    }
    match service.db.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Failed::busy(5, "the database does not answer as it has to").into_response()
        }
    }
}

async fn metrics(State(service): State<Shared>) -> String {
    service.metrics.render(service.gate.held(), service.gate.busy())
}
