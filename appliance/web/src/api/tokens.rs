//! Personal access tokens: how programs, and pages on trusted origins, act for a person.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use cairn_store::ApiTokenInfo;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::local::LocalNumber;
use crate::{
    hub::Hub,
    middleware::NeverCompress,
    problem::{Problem, ProblemKind},
    session::Identity,
};
use cairn_record_api::extract::ApiJson;

/// How long a token is valid where nobody says, in days.
const DEFAULT_DAYS: u32 = 90;
/// The longest, in days.
const MAX_DAYS: u32 = 366;
const DAY_MS: u64 = 24 * 3_600_000;

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// What its owner calls it.
    name: String,
    /// How long it is valid, in days.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 366)]
    valid_days: Option<u32>,
}

/// A token, shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenMade {
    /// To be sent as `Authorization: Bearer …`.
    token: String,
    /// How long it is valid, in days.
    valid_days: u32,
}

/// Lists one's tokens.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "session", operation_id = "list_tokens",
    responses((status = 200, description = "The tokens, without their secrets.", body = ref("#/components/schemas/Tokens"))))]
pub(super) async fn list(
    State(hub): State<Hub>,
    identity: Identity,
) -> Result<Json<Vec<ApiTokenInfo>>, Problem> {
    Ok(Json(hub.store.api_tokens(&identity.viewer).await?))
}

/// Makes a token. It takes a session: a token that could make tokens would outlive its own end.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "session", operation_id = "create_token", request_body = NewToken,
    responses((status = 201, description = "The token, shown this once.", body = TokenMade)))]
pub(super) async fn create(
    State(hub): State<Hub>,
    identity: Identity,
    ApiJson(new): ApiJson<NewToken>,
) -> Result<Response, Problem> {
    if identity.is_bearer() {
        return Err(Problem::new(ProblemKind::Forbidden, "a token cannot make another token")
            .next("Sign in on the hub's page and make it there."));
    }
    let valid_days = new.valid_days.unwrap_or(DEFAULT_DAYS).clamp(1, MAX_DAYS);
    let token =
        hub.store.create_api_token(&identity.viewer, &new.name, u64::from(valid_days) * DAY_MS).await?;
    let made = TokenMade { token: token.as_str().to_owned(), valid_days };
    let mut response = (StatusCode::CREATED, Json(made)).into_response();
    response.extensions_mut().insert(NeverCompress);
    Ok(response)
}

/// Ends a token.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "session", operation_id = "revoke_token",
    params(("id" = i64, Path, minimum = 1)), responses((status = 204, description = "It is no longer valid.")))]
pub(super) async fn revoke(
    State(hub): State<Hub>,
    identity: Identity,
    LocalNumber(id): LocalNumber,
) -> Result<StatusCode, Problem> {
    hub.store.revoke_api_token(&identity.viewer, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
