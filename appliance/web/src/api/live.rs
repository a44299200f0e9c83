//! What happens right now, and who is here.

use std::time::Instant;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
    response::Response,
};
use cairn_store::Viewer;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    events::{self, Doing, Here, Place, StreamPlace},
    hub::Hub,
    problem::{Problem, ProblemKind},
    session::{CurrentViewer, Identity, signed_in},
};
use cairn_record_api::{extract::ApiJson, query::ApiQuery};

static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What to follow.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Follow {
    /// The place whose visitors are told too: a record's id, or `hub`.
    #[param(nullable = false)]
    at: Option<String>,
}

/// Follows changes live, as server-sent events: `change` with what changed (never its content), `presence` with
/// who is at the place, `reset` when too much was missed and lists have to be read anew. `Last-Event-ID` goes on
/// where the stream broke off.
#[utoipa::path(get, path = "/api/v1/events", tag = "live", operation_id = "follow",
    params(Follow, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event seen.")),
    responses((status = 200, description = "The events.", content_type = "text/event-stream", body = ref("#/components/schemas/Event"))))]
pub(super) async fn events(
    State(hub): State<Hub>,
    identity: Identity,
    ApiQuery(follow): ApiQuery<Follow>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let place = match follow.at {
        Some(at) => Some(place_for(&hub, &identity.viewer, &at).await?),
        None => None,
    };
    let held = StreamPlace::take(&hub)?;
    let last = headers.get(&LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    Ok(events::live(hub, identity, place, last, held))
}

/// Where.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct At {
    /// A record's id, or `hub` for everywhere.
    #[serde(default = "everywhere")]
    #[param(required = false, pattern = "^(hub|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$")]
    at: String,
}

fn everywhere() -> String {
    "hub".to_owned()
}

/// Says who is here, or at a record.
#[utoipa::path(get, path = "/api/v1/presence", tag = "live", operation_id = "who_is_here", params(At),
    responses((status = 200, description = "The people, by name.", body = Vec<Here>)))]
pub(super) async fn who_is_here(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiQuery(At { at }): ApiQuery<At>,
) -> Result<Json<Vec<Here>>, Problem> {
    let place = place_for(&hub, &viewer, &at).await?;
    Ok(Json(hub.shared.presence.at(place, Instant::now())))
}

/// Being somewhere.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Present {
    /// A record's id, or `hub`.
    #[schema(pattern = "^(hub|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$")]
    at: String,
    /// What is done there.
    doing: Doing,
}

/// Says that one is somewhere. Holds for 45 seconds.
#[utoipa::path(post, path = "/api/v1/presence", tag = "live", operation_id = "be_here", request_body = Present,
    responses((status = 204, description = "Noted.")))]
pub(super) async fn say(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiJson(present): ApiJson<Present>,
) -> Result<StatusCode, Problem> {
    let place = place_for(&hub, &viewer, &present.at).await?;
    let person = signed_in(&viewer)?;
    let name = hub.store.get(&viewer, person).await?.text("name").to_owned();
    hub.shared.presence.say(place, Here { person, name, doing: present.doing }, Instant::now());
    Ok(StatusCode::NO_CONTENT)
}

/// Says that one has left a place; `hub`: every place.
#[utoipa::path(delete, path = "/api/v1/presence", tag = "live", operation_id = "leave", params(At),
    responses((status = 204, description = "Noted.")))]
pub(super) async fn leave(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiQuery(At { at }): ApiQuery<At>,
) -> Result<StatusCode, Problem> {
    let person = signed_in(&viewer)?;
    let place = place_of(&at)?;
    hub.shared.presence.leave(Some(place).filter(|place| *place != Place::Hub), person);
    Ok(StatusCode::NO_CONTENT)
}

/// A place that the viewer may know of: people are shown to people, and only at what both can read.
async fn place_for(hub: &Hub, viewer: &Viewer, at: &str) -> Result<Place, Problem> {
    signed_in(viewer)?;
    let place = place_of(at)?;
    if let Place::Record(id) = place {
        hub.store.get(viewer, id).await?;
    }
    Ok(place)
}

fn place_of(at: &str) -> Result<Place, Problem> {
    if at == "hub" {
        return Ok(Place::Hub);
    }
    let refused = |_| Problem::new(ProblemKind::Malformed, "the place is neither a record's id nor \"hub\"");
    at.parse().map(Place::Record).map_err(refused)
}
