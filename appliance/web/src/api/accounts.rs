//! Signing up and passwords.

use axum::{extract::State, http::StatusCode, response::Response};
use cairn_sync::RecordId;
use serde::Deserialize;
use utoipa::ToSchema;

use super::session::with_session;
use crate::{
    hub::Hub,
    peer::Peer,
    problem::Problem,
    session::{self, CurrentViewer, Identity, NewPerson},
};
use cairn_record_api::extract::{ApiJson, ApiPath};

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignUp {
    /// The name shown to others.
    name: String,
    /// The name typed to sign in.
    login: String,
    /// The password, at least 8 characters.
    #[schema(format = Password)]
    password: String,
    /// The language of the pages, BCP 47; none: the hub's.
    #[serde(default)]
    language: Option<String>,
    /// The invitation, where the hub asks for one.
    #[serde(default)]
    invitation: Option<String>,
}

/// A change of one's own password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordChange {
    /// The current password.
    #[schema(format = Password)]
    current: String,
    /// The new password, at least 8 characters.
    #[schema(format = Password)]
    new: String,
}

/// A new password for somebody.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    /// The new password, at least 8 characters.
    #[schema(format = Password)]
    new: String,
}

/// Makes an account and signs it in.
#[utoipa::path(post, path = "/api/v1/accounts", tag = "session", operation_id = "sign_up", request_body = SignUp,
    responses((status = 204, description = "Signed up; the session is in the cookie.")))]
pub(super) async fn sign_up(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    ApiJson(new): ApiJson<SignUp>,
) -> Result<Response, Problem> {
    let SignUp { name, login, password, language, invitation } = new;
    let person = NewPerson { name, login, password, language };
    let signed_in = session::sign_up(&hub, peer, &identity, person, invitation.as_deref()).await?;
    Ok(with_session(StatusCode::NO_CONTENT, signed_in))
}

/// Changes one's own password. All other sessions end.
#[utoipa::path(put, path = "/api/v1/accounts/me/password", tag = "session", operation_id = "change_own_password",
    request_body = PasswordChange,
    responses((status = 204, description = "Changed; a fresh session is in the cookie.")))]
pub(super) async fn change_own_password(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    ApiJson(change): ApiJson<PasswordChange>,
) -> Result<Response, Problem> {
    let signed_in = session::change_password(&hub, peer, &identity, change.current, change.new).await?;
    Ok(with_session(StatusCode::NO_CONTENT, signed_in))
}

/// Sets the password of somebody who forgot it; keepers only. The person's sessions end.
#[utoipa::path(put, path = "/api/v1/accounts/{person}/password", tag = "session", operation_id = "set_password",
    params(("person" = String, Path, format = "uuid")), request_body = NewPassword,
    responses((status = 204, description = "Set.")))]
pub(super) async fn set_password(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiPath(person): ApiPath<RecordId>,
    ApiJson(password): ApiJson<NewPassword>,
) -> Result<StatusCode, Problem> {
    session::set_password_of(&hub, &viewer, person, password.new).await?;
    Ok(StatusCode::NO_CONTENT)
}
