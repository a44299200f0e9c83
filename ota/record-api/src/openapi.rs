//! An OpenAPI 3.1 description: from the routes, completed with what stands in the table of kinds.

use cairn_sync::Kind;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use crate::schemas;

/// What differs between servers.
#[derive(Debug)]
pub struct About {
    /// The server, in words.
    pub server: &'static str,
    /// Ways to say who one is, as OpenAPI lists them.
    pub security: Value,
    /// Their schemes by name.
    pub security_schemes: Value,
    /// Schemas that no route declares by itself, records apart.
    pub schemas: Map<String, Value>,
}

/// The description of routes that hold those of the record API.
#[must_use]
pub fn complete(routes: OpenApi, about: About) -> Value {
    // The description consists of owned text and maps; an empty document could only come from a bug in its library
    // and would fail the tests of every route.
    let mut document = serde_json::to_value(routes).unwrap_or_default();
    let Some(root) = document.as_object_mut() else { return document };
    root.insert("openapi".to_owned(), json!("3.1.0"));
    root.insert("servers".to_owned(), json!([{ "url": "/", "description": about.server }]));
    root.insert("security".to_owned(), about.security);
    if let Some(Value::Object(paths)) = root.get_mut("paths") {
        *paths = for_every_kind(std::mem::take(paths));
        for operation in paths.values_mut().filter_map(Value::as_object_mut).flat_map(Map::values_mut) {
            with_problems(operation);
        }
    }
    let components = root.entry("components").or_insert_with(|| json!({}));
    if let Some(components) = components.as_object_mut() {
        components.insert("securitySchemes".to_owned(), about.security_schemes);
        components.insert("responses".to_owned(), problem_response());
        let all = components.entry("schemas").or_insert_with(|| json!({}));
        if let Some(all) = all.as_object_mut() {
            all.extend(schemas::all());
            all.extend(about.schemas);
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
                        parameters.extend(schemas::list_parameters(kind));
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
            let name = schemas::type_name(kind);
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
