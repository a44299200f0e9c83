//! The record API, as on a hub (S10). Whoever asks shows a personal access token; there is nothing here for the unknown.

mod files;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::LazyLock,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header, request::Parts},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use cairn_record_api::{
    Answer, MAX_BODY, Problem, ProblemKind, Records as Api, Server, cors,
    files::{FILE_PATH, UPLOAD_PATH},
    openapi::{About, complete},
    routes,
};
use cairn_sync::{
    ChangeId, Fields, Kind, RecordId,
    http::ApiToken,
    shown::{Cursor, HistoryEntry, ListQuery, Page, Record},
};
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::openapi::{Info, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::{DEADLINE, Service, Shared};
use crate::{
    db::Db,
    limits::{Gate, TooMuch},
    live::Live,
    store::records::{Asker, Changed, RecordError, Records, asker},
};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    complete(
        documented().into_openapi(),
        About {
            server: "This gateway",
            security: json!([{ "token": [] }]),
            security_schemes: json!({ "token": { "type": "http", "scheme": "bearer",
                "description": "A personal access token, made by a maintainer on the fleet page." } }),
            schemas: Map::new(),
        },
    )
});

fn documented() -> OpenApiRouter<Shared> {
    let mut info = Info::new("Cairn gateway", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "The records of a community, as its hubs have them: the same paths, requests and answers as on a hub. Send a \
         personal access token as `Authorization: Bearer TOKEN`. Times are milliseconds since 1970, UTC. Errors are problem \
         details (RFC 9457)."
            .to_owned(),
    );
    OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build()).merge(routes())
}

/// The routes and their description.
pub(super) fn router(service: &Shared) -> Router<Shared> {
    let nothing = async || Problem::new(ProblemKind::NotFound, "there is no API at this address");
    let wrong =
        async || Problem::new(ProblemKind::MethodNotAllowed, "this address does not take this method");
    documented()
        .split_for_parts()
        .0
        .route("/api/openapi.json", get(async || Json(&*DOCUMENT)))
        .route("/api/{*path}", axum::routing::any(nothing))
        .method_not_allowed_fallback(wrong)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(service.clone(), across_origins))
        .layer(from_fn(observe))
}

/// Pages on origins that this gateway was started with may use the API, with tokens, as on a hub.
async fn across_origins(State(service): State<Shared>, request: Request, next: Next) -> Response {
    let trusted = service.trusted.of(request.headers());
    let mut response = match (&trusted, cors::is_preflight(request.method(), request.headers())) {
        (Some(_), true) => cors::permission(request.headers()),
        (None, true) => cors::refusal(
            "Whoever runs the gateway can allow the origin: cairn-gateway serve --allow-origin.",
        )
        .into_response(),
        _ => next.run(request).await,
    };
    cors::mark(response.headers_mut(), trusted);
    response
}

/// Files take as long as their sender's network; each of their pieces has a deadline.
fn within(request: &Request) -> Duration {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let brings_a_file = (request.method() == Method::POST && route == Some(UPLOAD_PATH))
        || (request.method() == Method::PUT && route == Some(FILE_PATH));
    if brings_a_file { files::WITHIN } else { DEADLINE }
}

/// Every answer comes in time, and every problem has a name that the log knows too.
async fn observe(request: Request, next: Next) -> Response {
    let id = Uuid::now_v7().to_string();
    let response = match tokio::time::timeout(within(&request), next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(ProblemKind::TooSlow, "the request took too long").into_response(),
    };
    if response.status().is_server_error() {
        tracing::warn!(%id, status = response.status().as_u16(), "the record API answered");
    }
    let mut response = Problem::name_occurrence(response, &id);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Refused(refused) => refused.into(),
            RecordError::Token => Self::new(ProblemKind::SignInNeeded, error.to_string())
                .next("Ask a maintainer for a new token and send it as: Authorization: Bearer TOKEN."),
            RecordError::ReadOnly => Self::new(ProblemKind::Forbidden, error.to_string()),
            RecordError::Preparing => Self::new(ProblemKind::Busy, error.to_string()),
            RecordError::Db(error) if error.is_busy() => {
                tracing::warn!(%error, "the database is busy");
                Self::new(ProblemKind::Busy, "the database is busy")
            }
            RecordError::Db(error) => {
                tracing::error!(%error, "a request failed");
                Self::new(ProblemKind::Internal, "a fault inside the gateway ended this request")
            }
        }
    }
}

fn too_much(TooMuch(seconds): TooMuch) -> Problem {
    Problem::new(ProblemKind::TooManyRequests, "too much at once")
        .retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// The records for one request, which has a place among what uses the database as long as it lasts.
struct Asked {
    records: Records,
    /// Where files lie, how many may come at once, and who hears of them.
    db: Db,
    gate: Gate,
    live: Live,
    asker: Asker,
    _place: OwnedSemaphorePermit,
}

impl Server for Service {
    fn open<'a>(&'a self, request: &'a Parts) -> Answer<'a, Box<dyn Api>> {
        Box::pin(async move {
            let shown = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
            let (scheme, token) = shown.and_then(|shown| shown.split_once(' ')).unwrap_or_default();
            let token: ApiToken = token.parse().map_err(|_| RecordError::Token)?;
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(RecordError::Token.into());
            }
            let [low @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = token.secret.hash();
            self.gate.count_call(Uuid::from_bytes(low), Instant::now()).map_err(too_much)?;
            let place = self.gate.enter().map_err(too_much)?;
            let asker = asker(&self.db, &token).await?;
            let records = Records::of(self.db.clone(), asker);
            let (db, gate, live) = (self.db.clone(), self.gate.clone(), self.live.clone());
            let asked = Asked { records, db, gate, live, asker, _place: place };
            Ok(Box::new(asked) as Box<dyn Api>)
        })
    }
}

/// The store's answer as the record API's.
fn answer<'a, T>(call: impl Future<Output = Result<T, RecordError>> + Send + 'a) -> Answer<'a, T> {
    Box::pin(async move { Ok(call.await?) })
}

impl Asked {
    /// A change that was made is told to the hubs.
    fn made<'a>(
        &'a self,
        call: impl Future<Output = Result<Changed, RecordError>> + Send + 'a,
    ) -> Answer<'a, Record> {
        answer(async move {
            let changed = call.await?;
            if let Some(version) = changed.raised {
                self.live.newer(self.asker.community, version);
            }
            Ok(changed.record)
        })
    }
}

impl Api for Asked {
    fn counts(&self) -> Answer<'_, BTreeMap<Kind, u64>> {
        answer(self.records.counts())
    }

    fn list(&self, query: ListQuery) -> Answer<'_, Page<Record>> {
        answer(async move { self.records.list(&query).await })
    }

    fn get(&self, id: RecordId) -> Answer<'_, Record> {
        answer(self.records.get(id))
    }

    fn create(
        &self,
        kind: Kind,
        project: Option<RecordId>,
        fields: Fields,
        change: Option<ChangeId>,
    ) -> Answer<'_, Record> {
        self.made(self.records.create(kind, project, fields, change))
    }

    fn update(
        &self,
        id: RecordId,
        fields: Fields,
        base: Option<u64>,
        change: Option<ChangeId>,
    ) -> Answer<'_, Record> {
        self.made(self.records.update(id, fields, base, change))
    }

    fn delete(&self, id: RecordId, change: Option<ChangeId>) -> Answer<'_, ()> {
        let deleting = self.made(self.records.delete(id, change));
        Box::pin(async move { deleting.await.map(drop) })
    }

    fn restore(&self, id: RecordId, change: Option<ChangeId>) -> Answer<'_, Record> {
        self.made(self.records.restore(id, change))
    }

    fn history(&self, id: RecordId, after: Option<Cursor>, limit: u16) -> Answer<'_, Page<HistoryEntry>> {
        answer(async move { self.records.history(id, after.as_ref(), limit).await })
    }
}
