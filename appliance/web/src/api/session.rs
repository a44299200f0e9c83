//! Who am I, signing in, signing out.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use cairn_store::Viewer;
use cairn_sync::{RecordId, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    hub::Hub,
    peer::Peer,
    problem::Problem,
    session::{self, Identity, SignedIn},
};
use cairn_record_api::extract::ApiJson;

/// Who sends the request.
#[derive(Serialize, ToSchema)]
pub(super) struct Who {
    /// Whether it is a person with an account.
    signed_in: bool,
    /// The role on the hub; `guest` without an account.
    #[schema(value_type = String, pattern = "^(guest|volunteer|keeper)$")]
    role: Role,
    /// The person.
    person: Option<Myself>,
    /// The token for forms of this session; empty without a session.
    csrf: String,
}

/// The person who sends the request.
#[derive(Serialize, ToSchema)]
struct Myself {
    /// The person's record.
    #[schema(value_type = String, format = "uuid")]
    id: RecordId,
    /// The name shown to others.
    name: String,
    /// The name typed to sign in.
    login: String,
    /// The language of the pages, BCP 47; none: the hub's.
    language: Option<String>,
}

/// Name and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// The name typed to sign in.
    login: String,
    /// The password.
    #[schema(format = Password)]
    password: String,
}

/// Says who sends the request.
#[utoipa::path(get, path = "/api/v1/session", tag = "session", operation_id = "who_am_i",
    responses((status = 200, description = "Who it is.", body = Who)))]
pub(super) async fn who(State(hub): State<Hub>, identity: Identity) -> Result<Json<Who>, Problem> {
    let csrf = identity.csrf().to_string();
    describe(&hub, &identity.viewer, csrf).await.map(Json)
}

/// Signs in: the answer sets a session cookie.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", operation_id = "sign_in", request_body = Credentials,
    responses((status = 204, description = "Signed in; the session is in the cookie."),
        (status = 401, description = "Name or password is wrong.", body = cairn_record_api::Problem, content_type = "application/problem+json")))]
pub(super) async fn sign_in(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
    ApiJson(credentials): ApiJson<Credentials>,
) -> Result<Response, Problem> {
    let Credentials { login, password } = credentials;
    session::sign_in(&hub, peer, &identity, &login, password)
        .await
        .map(|signed_in| with_session(StatusCode::NO_CONTENT, signed_in))
}

/// Signs out: the session ends.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session", operation_id = "sign_out",
    responses((status = 204, description = "Signed out.")))]
pub(super) async fn sign_out(
    State(hub): State<Hub>,
    peer: Peer,
    identity: Identity,
) -> Result<Response, Problem> {
    let cookie = session::sign_out(&hub, peer, &identity).await?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// An answer without a body that gives a session.
pub(super) fn with_session(status: StatusCode, signed_in: SignedIn) -> Response {
    (status, [(header::SET_COOKIE, signed_in.cookie)]).into_response()
}

async fn describe(hub: &Hub, viewer: &Viewer, csrf: String) -> Result<Who, Problem> {
    let person = match viewer.person() {
        Some(id) => {
            let record = hub.store.get(viewer, id).await?;
            let language = Some(record.text("language").to_owned()).filter(|tag| !tag.is_empty());
            let (name, login) = (record.text("name").to_owned(), record.text("login").to_owned());
            Some(Myself { id, name, login, language })
        }
        None => None,
    };
    Ok(Who { signed_in: viewer.is_signed_in(), role: viewer.role(), person, csrf })
}
