//! The first run: whoever holds the device claims the hub.

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::session::with_session;
use crate::{
    hub::Hub,
    peer::Peer,
    problem::Problem,
    session::{self, Identity, NewPerson},
};
use cairn_record_api::extract::ApiJson;

/// Whether the hub has a keeper.
#[derive(Serialize, ToSchema)]
pub(super) struct SetupState {
    /// Whether it was claimed.
    claimed: bool,
    /// The hub's name.
    hub_name: String,
    /// The language of the pages for whoever has not chosen one, BCP 47.
    language: String,
    /// Whether anyone may sign up without an invitation.
    open_sign_up: bool,
}

/// A claim.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    /// The claim code that the device shows.
    code: String,
    /// The hub's name from now on.
    hub_name: String,
    /// The hub's language, BCP 47.
    #[schema(example = "en")]
    language: String,
    /// The first keeper's name, as shown to others.
    name: String,
    /// The first keeper's name to sign in with.
    login: String,
    /// The first keeper's password, at least 8 characters.
    #[schema(format = Password)]
    password: String,
}

/// Says whether the hub was claimed.
#[utoipa::path(get, path = "/api/v1/setup", tag = "setup", operation_id = "read_setup",
    responses((status = 200, description = "Its state.", body = SetupState)))]
pub(super) async fn state(State(hub): State<Hub>) -> Result<Json<SetupState>, Problem> {
    let state = hub.store.setup_state().await?;
    let settings = hub.settings().await;
    Ok(Json(SetupState {
        claimed: state.claimed,
        hub_name: settings.hub_name.clone(),
        language: settings.language.clone(),
        open_sign_up: settings.open_sign_up,
    }))
}

/// Claims a new hub and signs its first keeper in.
#[utoipa::path(post, path = "/api/v1/setup/claim", tag = "setup", operation_id = "claim_hub", request_body = Claim,
    responses((status = 204, description = "Claimed; the keeper's session is in the cookie."),
        (status = 403, description = "The code is wrong.", body = cairn_record_api::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The hub has a keeper already.", body = cairn_record_api::Problem, content_type = "application/problem+json")))]
pub(super) async fn claim(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    ApiJson(claim): ApiJson<Claim>,
) -> Result<Response, Problem> {
    let Claim { code, hub_name, language, name, login, password } = claim;
    let keeper = NewPerson { name, login, password, language: Some(language.clone()) };
    let signed_in = session::claim(&hub, peer, &identity, &code, keeper, &hub_name, &language).await?;
    Ok(with_session(StatusCode::NO_CONTENT, signed_in))
}
