//! Invitations to sign up.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cairn_store::Invitation;
use cairn_sync::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::local::LocalNumber;
use crate::{
    hub::Hub,
    middleware::NeverCompress,
    problem::Problem,
    session::{CurrentViewer, signed_in},
};
use cairn_record_api::extract::ApiJson;

/// How long an invitation is valid where nobody says.
const DEFAULT_HOURS: u32 = 7 * 24;
/// The longest, in hours.
const MAX_HOURS: u32 = 90 * 24;

/// An invitation to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewInvitation {
    /// The role that it gives.
    #[schema(value_type = String, pattern = "^(guest|volunteer|keeper)$")]
    role: Role,
    /// How long it is valid, in hours.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2160)]
    valid_hours: Option<u32>,
}

/// An invitation's code, shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct InvitationMade {
    /// The code to hand out.
    code: String,
    /// The address on this hub that takes it.
    path: String,
    /// How long it is valid, in hours.
    valid_hours: u32,
}

/// Lists invitations that were not used yet.
#[utoipa::path(get, path = "/api/v1/invitations", tag = "settings", operation_id = "list_invitations",
    responses((status = 200, description = "The invitations; their codes are not kept.", body = ref("#/components/schemas/Invitations"))))]
pub(super) async fn list(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
) -> Result<Json<Vec<Invitation>>, Problem> {
    signed_in(&viewer)?;
    Ok(Json(hub.store.invitations(&viewer).await?))
}

/// Makes an invitation.
#[utoipa::path(post, path = "/api/v1/invitations", tag = "settings", operation_id = "invite", request_body = NewInvitation,
    responses((status = 201, description = "The code, shown this once.", body = InvitationMade)))]
pub(super) async fn create(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiJson(new): ApiJson<NewInvitation>,
) -> Result<Response, Problem> {
    signed_in(&viewer)?;
    let valid_hours = new.valid_hours.unwrap_or(DEFAULT_HOURS).clamp(1, MAX_HOURS);
    let code = hub.store.invite(&viewer, new.role, u64::from(valid_hours) * 3_600_000).await?;
    let code = code.as_str().to_owned();
    let made = InvitationMade { path: format!("/sign-up?invitation={code}"), code, valid_hours };
    let mut response = (StatusCode::CREATED, Json(made)).into_response();
    response.extensions_mut().insert(NeverCompress);
    Ok(response)
}

/// Takes an invitation back.
#[utoipa::path(delete, path = "/api/v1/invitations/{id}", tag = "settings", operation_id = "revoke_invitation",
    params(("id" = i64, Path, minimum = 1)), responses((status = 204, description = "It is no longer valid.")))]
pub(super) async fn revoke(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    LocalNumber(id): LocalNumber,
) -> Result<StatusCode, Problem> {
    signed_in(&viewer)?;
    hub.store.revoke_invitation(&viewer, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
