//! The JSON API. Routes and their OpenAPI description come from the same lines; those of records are
//! the record API's, which the gateway serves too.

mod accounts;
mod ask;
pub(crate) mod backup;
pub(crate) mod files;
mod health;
mod invitations;
mod live;
mod local;
pub(crate) mod models;
mod openapi;
mod records;
mod schemas;
mod search;
mod session;
mod settings;
mod setup;
pub(crate) mod support;
mod tokens;
pub(crate) mod transfer;
pub(crate) mod updates;

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{Method, header},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use openapi::openapi;

use crate::{
    hub::Hub,
    problem::{Problem, ProblemKind},
};

/// Where the hub says whether it is well.
pub(crate) const HEALTH_PATH: &str = "/api/health-check";
/// Where Prometheus reads the hub's figures.
pub(crate) const METRICS_PATH: &str = "/metrics";

/// What this hub passes on to others, as plain files: a repository of updates, and no part of the API.
const MIRROR_PATH: &str = "/updates/mirror/{folder}/{name}";

/// Routes that move files, or wait for a model to be loaded: with limits and deadlines of their own.
const TRANSFERS: [(Method, &str); 7] = [
    (Method::POST, cairn_record_api::files::UPLOAD_PATH),
    (Method::PUT, cairn_record_api::files::FILE_PATH),
    (Method::POST, "/api/v1/models"),
    (Method::POST, "/api/v1/models/{name}/load"),
    (Method::POST, "/api/v1/backup"),
    (Method::POST, "/api/v1/restore"),
    (Method::PUT, "/api/v1/updates/files/{name}"),
];

/// Every route of the API.
pub(crate) fn routes() -> Router<Hub> {
    documented().split_for_parts().0.route(MIRROR_PATH, axum::routing::get(updates::mirror))
}

/// The routes with their descriptions, before kinds of records are filled in.
fn documented() -> OpenApiRouter<Hub> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(health::health))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::describe))
        .routes(routes!(setup::state))
        .routes(routes!(setup::claim))
        .routes(routes!(session::who, session::sign_in, session::sign_out))
        .routes(routes!(accounts::sign_up))
        .routes(routes!(accounts::change_own_password))
        .routes(routes!(accounts::set_password))
        .merge(cairn_record_api::routes())
        .routes(routes!(search::search))
        .routes(routes!(search::passage))
        .routes(routes!(search::progress))
        .routes(routes!(ask::ask))
        .routes(routes!(models::list, models::add))
        .routes(routes!(models::remove))
        .routes(routes!(models::load))
        .routes(routes!(models::unload))
        .routes(routes!(live::events))
        .routes(routes!(live::who_is_here, live::say, live::leave))
        .routes(routes!(settings::read, settings::change))
        .routes(routes!(invitations::list, invitations::create))
        .routes(routes!(invitations::revoke))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(backup::make))
        .routes(routes!(backup::restore_upload))
        .routes(routes!(support::bundle))
        .routes(routes!(updates::read, updates::ask))
        .routes(routes!(updates::upload))
}

/// The answer where there is no route.
pub(crate) async fn nothing_here() -> Problem {
    Problem::new(ProblemKind::NotFound, "there is no page and no API at this address")
}

/// The answer where a route does not take the method.
pub(crate) async fn wrong_method() -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, "this address does not take this method")
}

/// Whether a request transfers a file: such routes have limits and deadlines of their own.
pub(crate) fn is_transfer(request: &Request) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let is_form_with_file = content_type.is_some_and(|value| value.starts_with(b"multipart/form-data"));
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    is_form_with_file
        || TRANSFERS.iter().any(|(method, path)| method == request.method() && Some(*path) == route)
}
