//! Records of every kind, as the table of kinds describes them: the routes and what they do with a request.

use std::collections::BTreeMap;

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cairn_sync::{
    FieldType, Fields, Kind, RecordId, ValueError,
    shown::{Cursor, HistoryEntry, ListQuery, Order, Page, Record},
};
use serde::Deserialize;
use serde_json::{Map, Value as JsonValue};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    Asked, Server,
    extract::{ApiJson, ApiPath, IdempotencyKey, IfMatch, none_match},
    problem::{Problem, ProblemKind},
    query::{ApiQuery, Pairs},
};

/// The routes of records, with their descriptions.
pub(crate) fn routes<S: Server + Clone + 'static>() -> OpenApiRouter<S> {
    OpenApiRouter::new()
        .routes(routes!(counts))
        .routes(routes!(list, create))
        .routes(routes!(read, change, delete))
        .routes(routes!(history))
        .routes(routes!(restore))
}

/// A record to be made.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRecord {
    /// The project it belongs to; none: the hub as a whole.
    #[serde(default)]
    project: Option<RecordId>,
    /// Its fields.
    fields: Map<String, JsonValue>,
}

/// A change of a record.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordChange {
    /// The fields that change; `null` clears one.
    fields: Map<String, JsonValue>,
}

/// How many records of each kind you can see.
#[utoipa::path(get, path = "/api/v1/counts", tag = "records", operation_id = "count_records",
    responses((status = 200, description = "Number of records by kind.", body = std::collections::BTreeMap<String, u64>)))]
pub(crate) async fn counts(Asked(records): Asked) -> Result<Json<BTreeMap<Kind, u64>>, Problem> {
    Ok(Json(records.counts().await?))
}

/// Lists records, a page at a time.
#[utoipa::path(get, path = "/api/v1/records/{kind}", tag = "records", operation_id = "list_{kind}",
    params(("kind" = String, Path)),
    responses((status = 200, description = "One page.", body = ref("#/components/schemas/AnyRecordPage"))))]
pub(crate) async fn list(
    Asked(records): Asked,
    ApiPath(kind): ApiPath<Kind>,
    Pairs(pairs): Pairs,
) -> Result<Json<Page<Record>>, Problem> {
    Ok(Json(records.list(list_query(kind, pairs)?).await?))
}

/// Makes a record.
#[utoipa::path(post, path = "/api/v1/records/{kind}", tag = "records", operation_id = "create_{kind}",
    params(("kind" = String, Path), ("Idempotency-Key" = Option<String>, Header, description = "A UUID for this change: sent again, it is not made twice.", format = "uuid")),
    request_body = ref("#/components/schemas/NewAnyRecord"),
    responses((status = 201, description = "It was made.", body = ref("#/components/schemas/AnyRecord"),
        headers(("Location" = String, description = "Its address."), ("ETag" = String, description = "Its version, for If-Match.")))))]
pub(crate) async fn create(
    Asked(records): Asked,
    ApiPath(kind): ApiPath<Kind>,
    IdempotencyKey(change): IdempotencyKey,
    ApiJson(new): ApiJson<NewRecord>,
) -> Result<Response, Problem> {
    let fields = parse_fields(kind, new.fields)?;
    let record = made(kind, records.create(kind, new.project, fields, change).await?)?;
    Ok(created(&record))
}

/// Reads a record.
#[utoipa::path(get, path = "/api/v1/records/{kind}/{id}", tag = "records", operation_id = "read_{kind}",
    params(("kind" = String, Path), ("id" = String, Path, format = "uuid")),
    responses((status = 200, description = "The record.", body = ref("#/components/schemas/AnyRecord"),
            headers(("ETag" = String, description = "Its version, for If-Match."))),
        (status = 304, description = "It is as If-None-Match says.")))]
pub(crate) async fn read(
    Asked(records): Asked,
    ApiPath((kind, id)): ApiPath<(Kind, RecordId)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = of_kind(kind, records.get(id).await?)?;
    if none_match(&headers, &etag(&record)) {
        return Ok(tagged(StatusCode::NOT_MODIFIED.into_response(), &record));
    }
    Ok(tagged(Json(&record).into_response(), &record))
}

/// Changes fields of a record.
///
/// With `If-Match` a change on top of an older version is refused when somebody else changed one of the same
/// fields since; the problem then holds the current record.
#[utoipa::path(patch, path = "/api/v1/records/{kind}/{id}", tag = "records", operation_id = "change_{kind}",
    params(("kind" = String, Path), ("id" = String, Path, format = "uuid"),
        ("If-Match" = Option<String>, Header, description = "The version that was seen, in quotes."),
        ("Idempotency-Key" = Option<String>, Header, description = "A UUID for this change: sent again, it is not made twice.", format = "uuid")),
    request_body = ref("#/components/schemas/AnyRecordChange"),
    responses((status = 200, description = "The record as it is now.", body = ref("#/components/schemas/AnyRecord"),
            headers(("ETag" = String, description = "Its version, for If-Match."))),
        (status = 409, description = "Somebody changed it meanwhile.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn change(
    Asked(records): Asked,
    ApiPath((kind, id)): ApiPath<(Kind, RecordId)>,
    IfMatch(base): IfMatch,
    IdempotencyKey(change): IdempotencyKey,
    ApiJson(new): ApiJson<RecordChange>,
) -> Result<Response, Problem> {
    let fields = parse_fields(kind, new.fields)?;
    of_kind(kind, records.get(id).await?)?;
    let record = records.update(id, fields, base, change).await?;
    Ok(tagged(Json(&record).into_response(), &record))
}

/// Deletes a record. It can be brought back; its history stays.
#[utoipa::path(delete, path = "/api/v1/records/{kind}/{id}", tag = "records", operation_id = "delete_{kind}",
    params(("kind" = String, Path), ("id" = String, Path, format = "uuid"),
        ("Idempotency-Key" = Option<String>, Header, description = "A UUID for this change: sent again, it is not made twice.", format = "uuid")),
    responses((status = 204, description = "It is deleted.")))]
pub(crate) async fn delete(
    Asked(records): Asked,
    ApiPath((kind, id)): ApiPath<(Kind, RecordId)>,
    IdempotencyKey(change): IdempotencyKey,
) -> Result<StatusCode, Problem> {
    // A deletion that is sent again finds the record gone; its change id says that all is well.
    match records.get(id).await {
        Ok(record) => drop(of_kind(kind, record)?),
        Err(_) if change.is_some() => {}
        Err(problem) => return Err(problem),
    }
    records.delete(id, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a deleted record back.
#[utoipa::path(post, path = "/api/v1/records/{kind}/{id}/restore", tag = "records", operation_id = "restore_{kind}",
    params(("kind" = String, Path), ("id" = String, Path, format = "uuid"),
        ("Idempotency-Key" = Option<String>, Header, description = "A UUID for this change: sent again, it is not made twice.", format = "uuid")),
    responses((status = 200, description = "The record.", body = ref("#/components/schemas/AnyRecord"))))]
pub(crate) async fn restore(
    Asked(records): Asked,
    ApiPath((_kind, id)): ApiPath<(Kind, RecordId)>,
    IdempotencyKey(change): IdempotencyKey,
) -> Result<Response, Problem> {
    let record = records.restore(id, change).await?;
    Ok(tagged(Json(&record).into_response(), &record))
}

/// A page of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageOf {
    /// Where the page before ended: its `next`.
    #[param(nullable = false)]
    after: Option<String>,
    /// How many, at most 200.
    #[serde(default)]
    #[param(minimum = 0, maximum = 200)]
    limit: u16,
}

/// Reads the history of a record, newest first.
#[utoipa::path(get, path = "/api/v1/records/{kind}/{id}/history", tag = "records", operation_id = "read_{kind}_history",
    params(("kind" = String, Path), ("id" = String, Path, format = "uuid"), PageOf),
    responses((status = 200, description = "One page.", body = ref("#/components/schemas/HistoryPage"))))]
pub(crate) async fn history(
    Asked(records): Asked,
    ApiPath((_kind, id)): ApiPath<(Kind, RecordId)>,
    ApiQuery(page): ApiQuery<PageOf>,
) -> Result<Json<Page<HistoryEntry>>, Problem> {
    let after = page.after.map(Cursor::from_text);
    Ok(Json(records.history(id, after, page.limit).await?))
}

/// A record that was made, now or by the same change before; a change that made something else is not repeated.
///
/// # Errors
/// [`ProblemKind::ChangeReused`].
pub fn made(kind: Kind, record: Record) -> Result<Record, Problem> {
    if record.kind == kind {
        return Ok(record);
    }
    Err(Problem::new(ProblemKind::ChangeReused, format!("this change id already made a {}", record.kind)))
}

/// The answer to a record that was made.
fn created(record: &Record) -> Response {
    created_with(record, record)
}

/// The answer to a record that was made, with another body than the record itself.
pub fn created_with(record: &Record, body: &impl serde::Serialize) -> Response {
    let mut response = (StatusCode::CREATED, Json(body)).into_response();
    let location = format!("/api/v1/records/{}/{}", record.kind, record.id);
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    tagged(response, record)
}

fn tagged(mut response: Response, record: &Record) -> Response {
    if let Ok(etag) = HeaderValue::from_str(&etag(record)) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

fn etag(record: &Record) -> String {
    format!("\"{}\"", record.version)
}

fn of_kind(kind: Kind, record: Record) -> Result<Record, Problem> {
    if record.kind == kind {
        Ok(record)
    } else {
        Err(Problem::new(ProblemKind::NotFound, format!("there is no such {kind}")))
    }
}

/// Reads fields by the kind's table.
///
/// # Errors
/// [`ProblemKind::Invalid`] names every field that does not fit.
pub fn parse_fields(kind: Kind, json: Map<String, JsonValue>) -> Result<Fields, Problem> {
    let mut fields = Fields::new();
    let mut refused: Option<Problem> = None;
    for (name, value) in json {
        let parsed = match kind.def().field(&name) {
            Some(field) => field.parse(value),
            None => Err(ValueError::UnknownField(name.chars().take(64).collect())),
        };
        match parsed {
            Ok(value) => {
                fields.insert(name, value);
            }
            Err(error) => {
                let problem = Problem::from(error);
                refused = Some(match refused {
                    Some(mut first) => {
                        first.errors.extend(problem.errors);
                        first
                    }
                    None => problem,
                });
            }
        }
    }
    refused.map_or(Ok(fields), Err)
}

/// Prefix of parameters that ask for a field's value.
pub(crate) const EQUALS: &str = "is.";
/// Prefix of parameters that ask how a line starts.
pub(crate) const STARTS: &str = "starts.";

/// Whether lists can be asked for a field of this type.
pub(crate) const fn is_findable(ty: FieldType) -> bool {
    matches!(
        ty,
        FieldType::Bool
            | FieldType::Line
            | FieldType::Choice(_)
            | FieldType::Ref(_)
            | FieldType::Blob
            | FieldType::Set
    )
}

fn list_query(kind: Kind, pairs: Vec<(String, String)>) -> Result<ListQuery, Problem> {
    let refuse = |name: &str, what: &str| {
        let shown: String = name.chars().take(64).collect();
        Problem::new(ProblemKind::Malformed, format!("the parameter {shown:?} {what}"))
    };
    let mut query = ListQuery::of(kind);
    for (name, value) in pairs {
        match name.as_str() {
            "project" if value == "none" => query.project = Some(None),
            "project" => {
                let id = value
                    .parse()
                    .map_err(|_| refuse(&name, "is neither the id of a project nor \"none\""))?;
                query.project = Some(Some(id));
            }
            "after" => query.after = Some(Cursor::from_text(value)),
            "limit" => query.limit = value.parse().map_err(|_| refuse(&name, "is not a number"))?,
            "deleted" => {
                query.deleted = value.parse().map_err(|_| refuse(&name, "is neither true nor false"))?
            }
            "order" => {
                query.order = match value.as_str() {
                    "newest" => Order::Newest,
                    "oldest" => Order::Oldest,
                    "changed" => Order::Changed,
                    _ => return Err(refuse(&name, "is neither newest, oldest nor changed")),
                };
            }
            _ => {
                let equals = name.strip_prefix(EQUALS).map(|field| (field, true));
                let found = equals.or_else(|| name.strip_prefix(STARTS).map(|field| (field, false)));
                let (field, is_equals) = found.ok_or_else(|| refuse(&name, "is not known here"))?;
                let def = kind.def().field(field).filter(|def| is_findable(def.ty));
                let def = def.ok_or_else(|| refuse(&name, "names no field that lists can be asked for"))?;
                if is_equals {
                    let json = match (def.ty, value.as_str()) {
                        (FieldType::Bool, "true") => JsonValue::Bool(true),
                        (FieldType::Bool, "false") => JsonValue::Bool(false),
                        _ => JsonValue::String(value),
                    };
                    // Of a set, one element is asked for: plain text.
                    let parsed = if matches!(def.ty, FieldType::Set) {
                        json.as_str().unwrap_or_default().into()
                    } else {
                        def.parse(json)?
                    };
                    query.equals.push((field.to_owned(), parsed));
                } else {
                    query.text_prefix = Some((field.to_owned(), value));
                }
            }
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(pairs: &[(&str, &str)]) -> Result<ListQuery, Problem> {
        list_query(Kind::Notice, pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn a_list_is_asked_for_by_fields_of_its_kind_only() {
        let asked =
            query(&[("is.level", "urgent"), ("is.pinned", "true"), ("limit", "10"), ("order", "changed")])
                .unwrap();
        assert_eq!(asked.equals.len(), 2);
        assert_eq!((asked.limit, asked.order), (10, Order::Changed));
        assert_eq!(query(&[("project", "none")]).unwrap().project, Some(None));
        for bad in [
            ("is.level", "loud"),
            ("is.body", "x"),
            ("is.nothing", "x"),
            ("limt", "3"),
            ("limit", "-1"),
            ("order", "up"),
            ("project", "x"),
            ("deleted", "yes"),
        ] {
            assert!(query(&[bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_field_that_does_not_fit_is_named() {
        let json = serde_json::json!({"title": 3, "level": "loud", "nothing": 1, "body": "fine"});
        let problem = parse_fields(Kind::Notice, json.as_object().unwrap().clone()).unwrap_err();
        let named: Vec<_> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(named, ["title", "level", "nothing"]);
    }
}
