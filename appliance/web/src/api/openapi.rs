//! The OpenAPI 3.1 description: from the routes, completed with what stands in the table of kinds.

use std::sync::LazyLock;

use axum::Json;
use cairn_record_api::openapi::{About, complete};
use serde_json::{Value, json};
use utoipa::openapi::{Info, OpenApi, OpenApiBuilder};

use super::{documented, schemas};

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
    complete(
        documented().into_openapi(),
        About {
            server: "This hub",
            security: json!([{}, { "session": [] }, { "token": [] }]),
            security_schemes: security_schemes(),
            schemas: schemas::all(),
        },
    )
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

    use cairn_sync::Kind;

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
