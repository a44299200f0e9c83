//! The OpenAPI description is true: every route is in it, and every operation in it answers.

use std::{fs, path::Path};

use serde_json::{Value as Json, json};

use crate::support::world;

/// Marks of handlers with a description, in the sources.
fn described_handlers(folder: &Path) -> usize {
    fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| {
            let path = entry.path();
            if path.is_dir() {
                described_handlers(&path)
            } else {
                fs::read_to_string(path).unwrap().matches("#[utoipa::path(").count()
            }
        })
        .sum()
}

fn operations() -> Vec<(String, String, Json)> {
    let mut found = Vec::new();
    for (path, item) in cairn_web::openapi()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

#[test]
fn every_handler_that_describes_itself_is_routed() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [here.join("src/api"), here.join("../../ota/record-api/src")];
    let marked: usize = folders.iter().map(|folder| described_handlers(folder)).sum();
    let kinds = cairn_sync::Kind::ALL.len();
    let of_kinds = operations().iter().filter(|(_, path, _)| path.starts_with("/api/v1/records/")).count();
    assert_eq!(of_kinds % kinds, 0);
    assert_eq!(operations().len() - of_kinds + of_kinds / kinds, marked);
    assert_eq!(cairn_web::openapi()["openapi"], "3.1.0");
}

#[tokio::test]
async fn every_described_operation_answers() {
    let world = world().await;
    let keeper = world.keeper().await;
    // By a token, because one of the operations ends the session.
    let made =
        world.post("/api/v1/tokens", json!({"name": "all of it"})).session(&keeper).send().await.ok().json();
    let token = made["token"].as_str().unwrap();
    for (method, path, operation) in operations() {
        let address = path
            .replace("{id}", "0192d3b4-0000-7000-8000-000000000000")
            .replace("{document}", "0192d3b4-0000-7000-8000-000000000000")
            .replace("{person}", "0192d3b4-0000-7000-8000-000000000000")
            .replace("{passage}", "1")
            .replace("{name}", "none");
        if method == "GET" && path == "/api/v1/events" {
            continue; // An answer without end; the live tests read it.
        }
        let answer = world
            .call(&method, &address)
            .bearer(token)
            .header("content-type", "application/json")
            .body("{}")
            .send()
            .await;
        assert_ne!(answer.status, 405, "{method} {path}");
        assert_ne!(answer.status, 500, "{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        let is_nowhere = String::from_utf8_lossy(&answer.body).contains("There is no page and no API");
        assert!(!is_nowhere, "{method} {path} leads nowhere");
        if (200..300).contains(&answer.status) {
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.contains_key(&answer.status.to_string()),
                "{method} {path} answered {}",
                answer.status
            );
        } else {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
        }
    }
    assert_eq!(world.get("/api/openapi.json").send().await.ok().json(), *cairn_web::openapi());
}
