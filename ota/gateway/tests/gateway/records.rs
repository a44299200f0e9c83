//! The record API over HTTP against a real PostgreSQL: what only the gateway has. That it answers as a hub does is compared in
//! `cairn-tests` (`sync`, `records`).

use crate::support::*;
use cairn_gateway::store::records;
use cairn_sync::{RecordId, Value, http::ApiToken};
use reqwest::Method;
use serde_json::{Value as Json, json};
use sqlx_core::{connection::Connection, query::query};
use sqlx_postgres::{PgConnection, Postgres};

struct Caller {
    url: String,
    bearer: String,
}

impl Caller {
    fn new(url: &str, token: &ApiToken) -> Self {
        Self { url: url.to_owned(), bearer: token.reveal() }
    }

    async fn send(&self, method: Method, path: &str, body: Option<Json>) -> (u16, Json) {
        self.send_with(method, path, body, &[]).await
    }

    async fn send_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Json>,
        headers: &[(&str, &str)],
    ) -> (u16, Json) {
        let mut request =
            client().request(method, format!("{}/api/v1{path}", self.url)).bearer_auth(&self.bearer);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Json::Null))
    }

    async fn ok(&self, method: Method, path: &str, body: Option<Json>) -> Json {
        let (status, json) = self.send(method, path, body).await;
        assert!((200..300).contains(&status), "{path}: {status} {json}");
        json
    }
}

fn id(record: &Json) -> RecordId {
    record["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_changes_reaches_hubs_and_the_other_way_round() {
    let world = World::new().await;
    let (one, two) = (world.instance().await, world.instance().await);
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    let ana = world.person(&mut hub, &one.url, "Ana", "volunteer").await;
    let caller = Caller::new(&two.url, &world.api_token(ana, true).await);

    let water = json!({"fields": {"title": "Water", "level": "info"}});
    let made = caller.ok(Method::POST, "/records/notice", Some(water)).await;
    assert_eq!(made["created_by"], ana.to_string());
    hub.sync(&one.url).await;
    let title = |hub: &Hub| hub.records[&id(&made)].fields["title"].value.clone();
    assert_eq!(title(&hub), Value::from("Water"));
    assert_eq!(hub.records[&id(&made)].fields["title"].stamp.by, Some(ana));

    // The hub changes the title meanwhile: the client that saw the first version is told so and keeps its words.
    hub.write(id(&made), &[("title", Value::from("Water is back"))]);
    hub.sync(&one.url).await;
    let path = format!("/records/notice/{}", id(&made));
    let seen = format!("\"{}\"", made["version"]);
    let edit = json!({"fields": {"title": "No water"}});
    let (status, problem) =
        caller.send_with(Method::PATCH, &path, Some(edit.clone()), &[("if-match", &seen)]).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:cairn:problem:stale-edit")));
    assert_eq!(problem["current"]["fields"]["title"], "Water is back");
    // On top of it, it counts, and the hub hears of it without a conflict.
    let changed = caller.ok(Method::PATCH, &path, Some(edit)).await;
    assert_eq!(changed["sync"], "synced");
    hub.sync(&one.url).await;
    assert_eq!(title(&hub), Value::from("No water"));
    assert!(hub.records[&id(&made)].conflicts.is_empty());

    // A hub that had not seen it meets it as it would meet another hub's.
    let mut behind = hub.clone();
    caller.ok(Method::PATCH, &path, Some(json!({"fields": {"title": "Water at the mill"}}))).await;
    behind.write(id(&made), &[("title", Value::from("Water at the school"))]);
    behind.sync(&one.url).await;
    let shown = caller.ok(Method::GET, &path, None).await;
    assert_eq!(
        (&shown["sync"], &shown["fields"]["title"]),
        (&json!("conflict"), &json!("Water at the mill"))
    );

    // Its history tells all of that, by whom, with values before and after.
    let history = caller.ok(Method::GET, &format!("{path}/history"), None).await;
    let titles: Vec<_> = history["items"].as_array().unwrap().iter().map(title_change).collect();
    let expected = [
        ("No water", "Water at the mill"),
        ("Water is back", "No water"),
        ("Water", "Water is back"),
        ("", "Water"),
    ];
    assert_eq!(titles, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    let authors: Vec<_> = history["items"].as_array().unwrap().iter().map(|item| &item["by"]).collect();
    let ana = json!(ana.to_string());
    assert_eq!(authors, [&ana, &ana, &Json::Null, &ana]);
}

fn title_change(entry: &Json) -> (String, String) {
    let change = entry["changes"].as_array().unwrap().iter().find(|c| c["field"] == "title").unwrap();
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    (text(&change["before"]), text(&change["after"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_has_the_rights_of_its_person_now_and_ends() {
    let world = World::new().await;
    let one = world.instance().await;
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    let ana = world.person(&mut hub, &one.url, "Ana", "volunteer").await;
    let token = world.api_token(ana, true).await;
    let (caller, reader) = (Caller::new(&one.url, &token), world.api_token(ana, false).await);
    let notice = || Some(json!({"fields": {"title": "Water", "level": "info"}}));
    caller.ok(Method::POST, "/records/notice", notice()).await;
    let reader = Caller::new(&one.url, &reader);
    assert_eq!(reader.ok(Method::GET, "/records/notice", None).await["items"].as_array().unwrap().len(), 1);
    assert_eq!(reader.send(Method::POST, "/records/notice", notice()).await.0, 403);

    // A hub makes her a guest, and closes her account: both count with the next request.
    hub.sync(&one.url).await;
    let write = |hub: &mut Hub, fields: &[(&str, Value)]| {
        hub.write(ana, fields);
        hub.waiting.last_mut().unwrap().kind = cairn_sync::Kind::Person;
    };
    write(&mut hub, &[("role", Value::from("guest"))]);
    hub.sync(&one.url).await;
    assert_eq!(caller.send(Method::POST, "/records/notice", notice()).await.0, 403);
    write(&mut hub, &[("disabled", Value::Bool(true))]);
    hub.sync(&one.url).await;
    assert_eq!(caller.send(Method::GET, "/records/notice", None).await.0, 401);
    write(&mut hub, &[("disabled", Value::Bool(false))]);
    hub.sync(&one.url).await;
    assert_eq!(caller.send(Method::GET, "/records/notice", None).await.0, 200);

    // Nobody without a token, nobody with another community's, nobody with a revoked one.
    for bearer in ["", "nonsense", "cairn-api.x.y"] {
        let stranger = Caller { url: one.url.clone(), bearer: bearer.to_owned() };
        let (status, problem) = stranger.send(Method::GET, "/records/notice", None).await;
        assert_eq!((status, &problem["type"]), (401, &json!("urn:cairn:problem:sign-in-needed")));
    }
    let other = cairn_gateway::store::hubs::add_community(&world.db().await, "Upper Valley").await.unwrap();
    let elsewhere = ApiToken { community: other, ..token.clone() };
    assert_eq!(Caller::new(&one.url, &elsewhere).send(Method::GET, "/records/notice", None).await.0, 401);
    let hash = cairn_sync::http::time::hex(&token.secret.hash());
    records::revoke_token(&world.db().await, world.community, &hash).await.unwrap();
    assert_eq!(caller.send(Method::GET, "/records/notice", None).await.0, 401);

    // The secret itself is nowhere in the database.
    let mut owner = PgConnection::connect(&world.cluster.url("owner")).await.unwrap();
    let held = query::<Postgres>("SELECT 1 AS yes FROM cairn.api_token WHERE encode(hash, 'hex') = $1")
        .bind(token.secret.reveal())
        .fetch_optional(&mut owner)
        .await
        .unwrap();
    assert!(held.is_none());
}

/// Rows that the release before wrote while instances were exchanged one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_release_wrote_is_listed_all_the_same() {
    let world = World::new().await;
    let one = world.instance().await;
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    let ana = world.person(&mut hub, &one.url, "Ana", "volunteer").await;
    let record = RecordId::new();
    hub.write(record, &notice("Water"));
    hub.sync(&one.url).await;
    let caller = Caller::new(&one.url, &world.api_token(ana, true).await);

    let mut owner = PgConnection::connect(&world.cluster.url("owner")).await.unwrap();
    query::<Postgres>("SELECT set_config('cairn.community', $1, false)")
        .bind(world.community.to_string())
        .execute(&mut owner)
        .await
        .unwrap();
    for text in [
        "UPDATE cairn.record SET created_hlc = NULL, created_by = NULL, changed_hlc = NULL, derived = NULL",
        "DELETE FROM cairn.lookup",
        "DELETE FROM cairn.person",
    ] {
        query::<Postgres>(text).execute(&mut owner).await.unwrap();
    }
    let found = caller.ok(Method::GET, "/records/notice?is.title=Water", None).await;
    assert_eq!(found["items"][0]["id"], record.to_string());
    assert_eq!(caller.ok(Method::GET, "/counts", None).await["notice"], 1);
    // And goes on as if it had always been so.
    let path = format!("/records/notice/{record}");
    // A volunteer did not write it: only its author, owners and keepers may delete it.
    assert_eq!(caller.send(Method::DELETE, &path, None).await.0, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_describes_itself_and_knows_its_limits() {
    let world = World::new().await;
    let one = world.instance().await;
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    let ana = world.person(&mut hub, &one.url, "Ana", "keeper").await;
    let caller = Caller::new(&one.url, &world.api_token(ana, true).await);
    let url = format!("{}/api/openapi.json", one.url);
    let document: Json = client().get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    // Every operation that is described is there, for every kind.
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 30, "{}", paths.len());
    for (path, item) in paths {
        for method in item.as_object().unwrap().keys() {
            let path = path.replace("{id}", &RecordId::new().to_string());
            let path = path.replace("{document}", &RecordId::new().to_string());
            let method: Method = method.to_uppercase().parse().unwrap();
            let (status, json) =
                caller.send(method.clone(), path.strip_prefix("/api/v1").unwrap(), Some(json!({}))).await;
            assert!(![405, 500].contains(&status), "{method} {path}: {status} {json}");
            assert!(!json.to_string().contains("no API at this address"), "{method} {path}");
        }
    }
    let huge = json!({"fields": {"title": "x".repeat(cairn_record_api::MAX_BODY)}});
    assert_eq!(caller.send(Method::POST, "/records/notice", Some(huge)).await.0, 413);
    assert_eq!(caller.send(Method::GET, "/nothing", None).await.0, 404);
    assert_eq!(caller.send(Method::PUT, "/counts", None).await.0, 405);
}
