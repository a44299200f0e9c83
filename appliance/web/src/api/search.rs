//! Searching the library, opening a passage, and how far the index is.

use axum::{Json, extract::State};
use cairn_library::{Mode, Progress, SearchQuery, SearchResults};
use cairn_store::{PassageId, StoredPassage};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    hub::Hub,
    problem::{Problem, ProblemKind},
    session::CurrentViewer,
};
use cairn_record_api::{extract::ApiPath, query::ApiQuery};

/// Hits where nobody says how many.
const DEFAULT_HITS: usize = 10;

/// A search.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Search {
    /// What to look for.
    q: String,
    /// How many hits, at most 50.
    #[param(minimum = 1, maximum = 50, nullable = false)]
    limit: Option<usize>,
    /// By words, by meaning, or both.
    #[param(value_type = Option<String>, pattern = "^(hybrid|words|meaning)$", nullable = false)]
    mode: Option<Mode>,
}

/// Searches the library for passages.
#[utoipa::path(get, path = "/api/v1/search", tag = "library", operation_id = "search", params(Search),
    responses((status = 200, description = "The passages, best first.", body = ref("#/components/schemas/SearchResults"))))]
pub(super) async fn search(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiQuery(search): ApiQuery<Search>,
) -> Result<Json<SearchResults>, Problem> {
    let limit = search.limit.unwrap_or(DEFAULT_HITS).clamp(1, 50);
    let query = SearchQuery { text: search.q, limit, mode: search.mode.unwrap_or_default() };
    Ok(Json(hub.library.search(&viewer, query).await?))
}

/// Opens a passage that a search or an answer named. Its number is valid until the index is built anew.
#[utoipa::path(get, path = "/api/v1/passages/{passage}", tag = "library", operation_id = "read_passage",
    params(("passage" = i64, Path)),
    responses((status = 200, description = "The passage.", body = ref("#/components/schemas/Passage"))))]
pub(super) async fn passage(
    State(hub): State<Hub>,
    CurrentViewer(viewer): CurrentViewer,
    ApiPath(passage): ApiPath<i64>,
) -> Result<Json<StoredPassage>, Problem> {
    let found = hub.store.passages(&viewer, &[PassageId(passage)]).await?;
    let none = || Problem::new(ProblemKind::NotFound, "there is no such passage (any more); search again");
    found.into_iter().next().map(Json).ok_or_else(none)
}

/// Says how far the index is.
#[utoipa::path(get, path = "/api/v1/index", tag = "library", operation_id = "read_index",
    responses((status = 200, description = "The progress.", body = ref("#/components/schemas/IndexProgress"))))]
pub(super) async fn progress(State(hub): State<Hub>) -> Json<Progress> {
    Json(hub.library.progress())
}
