//! The fleet page: hubs, versions, last contact, queues, conflicts, sync logs and keys, for the people who look after
//! them. Server-rendered, without script, behind a login of its own.

pub mod accounts;
mod pages;
mod view;

use std::time::Instant;

use axum::{
    Form, Router,
    extract::{DefaultBodyLimit, FromRequestParts, Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::{Next, from_fn},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use cairn_sync::{
    CommunityId, HubId, RecordId,
    http::{ApiToken, EnrolToken, MAX_NAME},
};
use maud::Markup;
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    db::DbError,
    http::Shared,
    store::{Refused, hubs, records},
};
use accounts::Session;

/// The session's cookie. `__Host-` would ask for HTTPS, which the load balancer ends; `Secure` is set all the same where
/// the request came by HTTPS.
const COOKIE: &str = "cairn_fleet";
/// Largest form in bytes.
const MAX_FORM: usize = 16 * 1024;
/// All attempts to sign in under one name share a bucket.
const SIGNING_IN: u128 = 0x7369_676e << 64;

pub(crate) fn router() -> Router<Shared> {
    Router::new()
        .route("/fleet", get(communities))
        .route("/fleet/sign-in", get(async || pages::sign_in(false)).post(sign_in))
        .route("/fleet/sign-out", post(sign_out))
        .route("/fleet/{community}", get(community))
        .route("/fleet/{community}/token", post(make_token))
        .route("/fleet/{community}/api-token", post(make_api_token))
        .route("/fleet/{community}/api-token/revoke", post(revoke_api_token))
        .route("/fleet/{community}/{hub}", get(hub))
        .route("/fleet/{community}/{hub}/rotate", post(rotate))
        .route("/fleet/{community}/{hub}/retire", post(retire))
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn(protect))
}

/// What browsers may do with these pages: show them, send their forms back here, nothing else.
async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A page that says why not.
struct Sorry(StatusCode, String);

impl IntoResponse for Sorry {
    fn into_response(self) -> Response {
        if self.0 == StatusCode::UNAUTHORIZED {
            return Redirect::to("/fleet/sign-in").into_response();
        }
        (self.0, pages::problem(None, &self.1)).into_response()
    }
}

impl From<Refused> for Sorry {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Missing(what) => Self(StatusCode::NOT_FOUND, format!("There is no such {what}.")),
            Refused::Db(error) => error.into(),
            other => Self(StatusCode::CONFLICT, other.to_string()),
        }
    }
}

impl From<DbError> for Sorry {
    fn from(error: DbError) -> Self {
        tracing::error!(%error, "a page failed");
        Self(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database did not answer. Try again in a minute.".to_owned(),
        )
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

impl FromRequestParts<Shared> for Session {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, service: &Shared) -> Result<Self, Response> {
        let unknown = || Sorry(StatusCode::UNAUTHORIZED, String::new()).into_response();
        let cookie = cookie(&parts.headers).ok_or_else(unknown)?;
        match accounts::session(&service.db, cookie).await {
            Ok(session) => session.ok_or_else(unknown),
            Err(error) => Err(Sorry::from(error).into_response()),
        }
    }
}

impl Session {
    /// Whether the community is in this person's care; others do not exist for them.
    fn care(&self, community: CommunityId) -> Result<(), Sorry> {
        if self.communities.contains(&community) { Ok(()) } else { Err(Refused::Missing("community").into()) }
    }

    fn checked(&self, form_token: &str) -> Result<(), Sorry> {
        if self.form_token == form_token {
            Ok(())
        } else {
            Err(Sorry(
                StatusCode::FORBIDDEN,
                "This form is too old. Go back, reload the page, and try again.".to_owned(),
            ))
        }
    }
}

#[derive(Deserialize)]
struct SignIn {
    login: String,
    password: String,
}

async fn sign_in(
    State(service): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Result<Response, Sorry> {
    let name = u128::from_le_bytes(
        *blake3::hash(form.login.as_bytes()).as_bytes().first_chunk().unwrap_or(&[0; 16]),
    );
    if service.gate.count(Uuid::from_u128(name ^ SIGNING_IN), Instant::now()).is_err() {
        return Err(Sorry(StatusCode::TOO_MANY_REQUESTS, "Too many attempts. Wait a minute.".to_owned()));
    }
    let signed_in = accounts::sign_in(&service.db, form.login, form.password).await.map_err(|error| {
        tracing::error!(%error, "signing in failed");
        Sorry(
            StatusCode::SERVICE_UNAVAILABLE,
            "Signing in does not work now. Try again in a minute.".to_owned(),
        )
    })?;
    let Some(secret) = signed_in else {
        return Ok((StatusCode::UNAUTHORIZED, pages::sign_in(true)).into_response());
    };
    let https = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if https { "; Secure" } else { "" };
    let max_age = accounts::SESSION_MS / 1000;
    let set = format!("{COOKIE}={secret}; Path=/fleet; HttpOnly; SameSite=Strict; Max-Age={max_age}{secure}");
    Ok(([(header::SET_COOKIE, set)], Redirect::to("/fleet")).into_response())
}

#[derive(Deserialize)]
struct Confirmed {
    form_token: String,
}

async fn sign_out(
    State(service): State<Shared>,
    session: Session,
    headers: HeaderMap,
    Form(form): Form<Confirmed>,
) -> Result<Response, Sorry> {
    session.checked(&form.form_token)?;
    if let Some(cookie) = cookie(&headers) {
        accounts::sign_out(&service.db, cookie).await?;
    }
    let clear = format!("{COOKIE}=; Path=/fleet; HttpOnly; SameSite=Strict; Max-Age=0");
    Ok(([(header::SET_COOKIE, clear)], Redirect::to("/fleet/sign-in")).into_response())
}

async fn communities(State(service): State<Shared>, session: Session) -> Result<Markup, Sorry> {
    let mut fleets = Vec::new();
    for community in &session.communities {
        match view::fleet(&service.db, *community, None).await {
            Ok(fleet) => fleets.push(fleet),
            Err(Refused::Missing(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(pages::communities(&session, &fleets))
}

async fn community(
    State(service): State<Shared>,
    session: Session,
    Path(community): Path<String>,
) -> Result<Markup, Sorry> {
    let community = parsed(&community)?;
    session.care(community)?;
    show(&service, &session, community, None).await
}

/// A community's page; `made` is a token that was just made.
async fn show(
    service: &Shared,
    session: &Session,
    community: CommunityId,
    made: Option<Made>,
) -> Result<Markup, Sorry> {
    let fleet = view::fleet(&service.db, community, None).await?;
    let people = records::people(&service.db, community).await?;
    let tokens = records::tokens(&service.db, community).await?;
    Ok(pages::community(session, &fleet, &people, &tokens, made.as_ref()))
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Sorry> {
    text.parse().map_err(|_| Sorry(StatusCode::NOT_FOUND, "There is no such page.".to_owned()))
}

#[derive(Deserialize)]
struct TokenForm {
    form_token: String,
    label: String,
}

async fn make_token(
    State(service): State<Shared>,
    session: Session,
    Path(community): Path<String>,
    Form(form): Form<TokenForm>,
) -> Result<Markup, Sorry> {
    let community = parsed(&community)?;
    session.care(community)?;
    session.checked(&form.form_token)?;
    let label: String = form.label.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let token = hubs::add_token(&service.db, community, &label, None, hubs::TOKEN_DAYS).await?;
    show(&service, &session, community, Some(Made::Enrol(token))).await
}

/// A token that is shown now and never again.
enum Made {
    Enrol(EnrolToken),
    Api(ApiToken),
}

#[derive(Deserialize)]
struct ApiTokenForm {
    form_token: String,
    person: RecordId,
    label: String,
    days: u32,
    /// Present where the token may change records.
    write: Option<String>,
}

async fn make_api_token(
    State(service): State<Shared>,
    session: Session,
    Path(community): Path<String>,
    Form(form): Form<ApiTokenForm>,
) -> Result<Markup, Sorry> {
    let community = parsed(&community)?;
    session.care(community)?;
    session.checked(&form.form_token)?;
    let new = records::NewToken {
        person: form.person,
        label: &form.label,
        may_write: form.write.is_some(),
        days: form.days,
    };
    let token = records::add_token(&service.db, community, &new).await?;
    show(&service, &session, community, Some(Made::Api(token))).await
}

#[derive(Deserialize)]
struct RevokeForm {
    form_token: String,
    token: String,
}

async fn revoke_api_token(
    State(service): State<Shared>,
    session: Session,
    Path(community): Path<String>,
    Form(form): Form<RevokeForm>,
) -> Result<Redirect, Sorry> {
    let community = parsed(&community)?;
    session.care(community)?;
    session.checked(&form.form_token)?;
    records::revoke_token(&service.db, community, &form.token).await?;
    Ok(Redirect::to(&format!("/fleet/{community}")))
}

async fn hub(
    State(service): State<Shared>,
    session: Session,
    Path((community, hub)): Path<(String, String)>,
) -> Result<Markup, Sorry> {
    let (community, hub) = (parsed(&community)?, parsed::<HubId>(&hub)?);
    session.care(community)?;
    let fleet = view::fleet(&service.db, community, Some(hub)).await?;
    let hub = fleet.hubs.first().ok_or(Refused::Missing("hub"))?;
    Ok(pages::hub(&session, &fleet, hub))
}

async fn rotate(
    State(service): State<Shared>,
    session: Session,
    Path((community, hub)): Path<(String, String)>,
    Form(form): Form<Confirmed>,
) -> Result<Redirect, Sorry> {
    let (community, hub) = (parsed(&community)?, parsed::<HubId>(&hub)?);
    session.care(community)?;
    session.checked(&form.form_token)?;
    hubs::ask_for_new_key(&service.db, community, hub).await?;
    Ok(Redirect::to(&format!("/fleet/{community}/{hub}")))
}

async fn retire(
    State(service): State<Shared>,
    session: Session,
    Path((community, hub)): Path<(String, String)>,
    Form(form): Form<Confirmed>,
) -> Result<Redirect, Sorry> {
    let (community, hub) = (parsed(&community)?, parsed::<HubId>(&hub)?);
    session.care(community)?;
    session.checked(&form.form_token)?;
    hubs::retire(&service.db, community, hub).await?;
    Ok(Redirect::to(&format!("/fleet/{community}")))
}
