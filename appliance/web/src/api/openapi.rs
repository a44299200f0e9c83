//! The OpenAPI 3.1 description: from the routes, completed with what stands in the table of kinds.

use std::sync::LazyLock;

use axum::Json;
use cairn_sync::Kind;
use serde_json::{Map, Value, json};
use utoipa::openapi::{Info, OpenApi, OpenApiBuilder};

use super::{documented, record_schemas};

static DOCUMENT: LazyLock<Value> = LazyLock::new(make);

/// The OpenAPI 3.1 description of the API, as JSON.
#[must_use]
pub fn openapi() -> &'static Value {
    &DOCUMENT
}

/// Describes this API.
#[utoipa::path(get, path = "/api/openapi.json", tag = "device", operation_id = "describe_api",
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = Object)))]
pub(super) async fn describe() -> Json<&'static Value> {
    Json(openapi())
}

/// What stands above the routes.
pub(super) fn head() -> OpenApi {
    let mut info = Info::new("Cairn", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "The HTTP API of a Cairn hub. Everything that the pages do can be done here, with the same rights. \
         Send a personal access token as `Authorization: Bearer TOKEN`, or use the session cookie from the \
         hub's own pages. Times are milliseconds since 1970, UTC. Errors are problem details (RFC 9457)."
            .to_owned(),
    );
    info.license = Some(utoipa::openapi::info::License::new("MIT OR Apache-2.0"));
    OpenApiBuilder::new().info(info).build()
}

fn make() -> Value {
    // The description consists of owned text and maps; an empty document could only come from a bug in its library
    // and would fail the tests of every route.
    let mut document = serde_json::to_value(documented().into_openapi()).unwrap_or_default();
    let Some(root) = document.as_object_mut() else { return document };
    root.insert("openapi".to_owned(), json!("3.1.0"));
    root.insert("servers".to_owned(), json!([{ "url": "/", "description": "This hub" }]));
    root.insert("security".to_owned(), json!([{}, { "session": [] }, { "token": [] }]));
    if let Some(Value::Object(paths)) = root.get_mut("paths") {
        *paths = for_every_kind(std::mem::take(paths));
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            with_problems(operation);
        }
    }
    let components = root.entry("components").or_insert_with(|| json!({}));
    if let Some(components) = components.as_object_mut() {
        components.insert("securitySchemes".to_owned(), security_schemes());
        components.insert("responses".to_owned(), problem_response());
        let schemas = components.entry("schemas").or_insert_with(|| json!({}));
        if let Some(schemas) = schemas.as_object_mut() {
            schemas.extend(record_schemas::all());
        }
    }
    document
}

/// One path per kind instead of one for all: a client sees exactly which fields a notice has.
fn for_every_kind(paths: Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (path, item) in paths {
        if !path.contains("{kind}") {
            out.insert(path, item);
            continue;
        }
        for kind in Kind::ALL {
            let mut item = item.clone();
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
                    parameters.retain(|parameter| parameter["name"] != "kind");
                    if method == "get" && path.ends_with("{kind}") {
                        parameters.extend(record_schemas::list_parameters(kind));
                    }
                }
            }
            let named = of_kind(item, kind);
            out.insert(path.replace("{kind}", kind.name()), named);
        }
    }
    out
}

/// `value` with every mention of "any record" replaced by the kind's own.
fn of_kind(value: Value, kind: Kind) -> Value {
    match value {
        Value::String(text) => {
            let name = record_schemas::type_name(kind);
            Value::String(text.replace("{kind}", kind.name()).replace("AnyRecord", &name))
        }
        Value::Array(items) => items.into_iter().map(|item| of_kind(item, kind)).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, of_kind(value, kind))).collect(),
        other => other,
    }
}

/// Every operation can be refused.
fn with_problems(operation: &mut Value) {
    if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Problem" }));
    }
}

fn problem_response() -> Value {
    json!({ "Problem": {
        "description": "It was refused or failed; the problem says what was kept and what to do next.",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    } })
}

fn security_schemes() -> Value {
    json!({
        "session": { "type": "apiKey", "in": "cookie", "name": crate::session::SESSION_COOKIE,
            "description": "The session of a browser on the hub's own pages." },
        "token": { "type": "http", "scheme": "bearer",
            "description": "A personal access token; the only way from pages on other origins." },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Every `$ref` in the document.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::String(name)) = map.get("$ref") {
                    found.insert(name.clone());
                }
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let mut found = BTreeSet::new();
        references(openapi(), &mut found);
        assert!(found.len() > 40, "{found:?}");
        for name in found {
            let pointer = name.strip_prefix('#').unwrap();
            assert!(openapi().pointer(pointer).is_some(), "{name} leads nowhere");
        }
    }

    #[test]
    fn every_kind_has_its_own_paths_and_every_operation_its_own_name() {
        let paths = openapi()["paths"].as_object().unwrap();
        for kind in Kind::ALL {
            assert!(paths.contains_key(&format!("/api/v1/records/{kind}/{{id}}")), "{kind}");
        }
        let operations = paths.values().flat_map(|item| item.as_object().unwrap().values());
        let ids: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert!(
            !openapi().to_string().contains("{kind}")
                && !openapi().to_string().contains("schemas/AnyRecordPage")
        );
    }
}
