//! Records: reading, writing, stale and repeated edits, pages of lists.

use std::collections::BTreeSet;

use cairn_sync::ChangeId;
use serde_json::{Value as Json, json};

use crate::support::world;

#[tokio::test]
async fn a_record_is_made_read_changed_deleted_and_brought_back() {
    let world = world().await;
    let keeper = world.keeper().await;
    let body = json!({"fields": {"title": "Water", "level": "info", "body": "Well 3 is open."}});
    let made = world.post("/api/v1/records/notice", body).session(&keeper).send().await;
    assert_eq!((made.status, made.header("etag")), (201, "\"1\""));
    let path = made.header("location").to_owned();
    let record = made.json();
    assert_eq!(
        (&record["kind"], &record["version"], &record["sync"]),
        (&json!("notice"), &json!(1), &json!("pending"))
    );
    let read = world.get(&path).send().await;
    assert_eq!(read.json(), record);
    assert_eq!(world.get(&path).header("if-none-match", "\"1\"").send().await.status, 304);
    let changed = world
        .call("PATCH", &path)
        .json(json!({"fields": {"body": null}}))
        .session(&keeper)
        .send()
        .await
        .ok()
        .json();
    assert!(changed["fields"].get("body").is_none());
    assert_eq!(changed["version"], 2);
    assert_eq!(world.call("DELETE", &path).session(&keeper).send().await.status, 204);
    world.get(&path).send().await.refused(404, "not-found");
    let deleted = world.get("/api/v1/records/notice?deleted=true").session(&keeper).send().await.ok().json();
    assert_eq!(deleted["items"][0]["id"], record["id"]);
    let back = world.post(&format!("{path}/restore"), json!(null)).session(&keeper).send().await.ok().json();
    assert_eq!(back["deleted"], false);
    let history = world.get(&format!("{path}/history")).send().await.ok().json();
    let kinds: Vec<_> =
        history["items"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(BTreeSet::from_iter(kinds), BTreeSet::from(["created", "changed", "deleted", "restored"]));
    assert_eq!(world.get("/api/v1/counts").send().await.ok().json()["notice"], 1);
    world.get(&path.replace("notice", "team")).session(&keeper).send().await.refused(404, "not-found");
}

#[tokio::test]
async fn a_stale_edit_is_refused_with_the_current_record_and_others_pass() {
    let world = world().await;
    let keeper = world.keeper().await;
    let record = world.create(&keeper, "notice", None, json!({"title": "Water", "level": "info"})).await;
    let path = format!("/api/v1/records/notice/{}", record["id"].as_str().unwrap());
    let edit = |fields: Json, base: &str| {
        world.call("PATCH", &path).json(json!({"fields": fields})).header("if-match", base).session(&keeper)
    };
    edit(json!({"title": "Water is back"}), "\"1\"").send().await.ok();
    let problem = edit(json!({"title": "No water"}), "\"1\"").send().await.refused(409, "stale-edit");
    assert_eq!(problem["current"]["fields"]["title"], "Water is back");
    assert_eq!(problem["current"]["version"], 2);
    assert_eq!(problem["errors"][0]["field"], "title");
    let other = edit(json!({"level": "urgent"}), "\"1\"").send().await.ok().json();
    assert_eq!(
        (&other["fields"]["title"], &other["fields"]["level"]),
        (&json!("Water is back"), &json!("urgent"))
    );
    edit(json!({"title": "Fine"}), "\"3\"").send().await.ok();
    edit(json!({"title": "x"}), "3").send().await.refused(400, "malformed");
}

#[tokio::test]
async fn a_queued_edit_that_is_sent_again_takes_effect_once() {
    let world = world().await;
    let keeper = world.keeper().await;
    let key = ChangeId::new().to_string();
    let send = || {
        let body = json!({"fields": {"title": "Water", "level": "info"}});
        world.post("/api/v1/records/notice", body).header("idempotency-key", &key).session(&keeper).send()
    };
    let (first, again) = (send().await.ok().json(), send().await.ok().json());
    assert_eq!(first["id"], again["id"]);
    assert_eq!(world.get("/api/v1/counts").send().await.json()["notice"], 1);
    let ben = world.person(&keeper, "volunteer", "ben").await;
    let taken = world
        .post("/api/v1/records/notice", json!({"fields": {"title": "Mine", "level": "info"}}))
        .header("idempotency-key", &key)
        .session(&ben)
        .send()
        .await;
    taken.refused(409, "change-reused");
    let team = world.post("/api/v1/records/team", json!({"fields": {"name": "Water team"}}));
    let team = team.header("idempotency-key", &key).session(&keeper).send().await;
    team.refused(409, "change-reused");
    let path = format!("/api/v1/records/notice/{}", first["id"].as_str().unwrap());
    let key = ChangeId::new().to_string();
    let edit = || {
        let call = world.call("PATCH", &path).json(json!({"fields": {"title": "Water, again"}}));
        call.header("idempotency-key", &key).header("if-match", "\"1\"").session(&keeper).send()
    };
    assert_eq!(edit().await.ok().json()["version"], 2);
    assert_eq!(edit().await.ok().json()["version"], 2, "not refused as stale: it is the same change");
    let key = ChangeId::new().to_string();
    for _ in 0..2 {
        let deleted =
            world.call("DELETE", &path).header("idempotency-key", &key).session(&keeper).send().await;
        assert_eq!(deleted.status, 204);
    }
    let bad = world
        .post("/api/v1/records/notice", json!({"fields": {}}))
        .header("idempotency-key", "1")
        .session(&keeper);
    bad.send().await.refused(400, "malformed");
}

#[tokio::test]
async fn what_does_not_fit_is_named_field_by_field() {
    let world = world().await;
    let keeper = world.keeper().await;
    let body = json!({"fields": {"title": "", "level": "loud", "colour": "red"}});
    let problem =
        world.post("/api/v1/records/notice", body).session(&keeper).send().await.refused(422, "invalid");
    let named: BTreeSet<_> =
        problem["errors"].as_array().unwrap().iter().map(|e| e["field"].as_str().unwrap()).collect();
    assert_eq!(named, BTreeSet::from(["title", "level", "colour"]));
    let missing = world.post("/api/v1/records/notice", json!({"fields": {}})).session(&keeper).send().await;
    missing.refused(422, "invalid");
    world
        .post("/api/v1/records/notice", json!({"felds": {}}))
        .session(&keeper)
        .send()
        .await
        .refused(422, "invalid");
    world.get("/api/v1/records/nothing").send().await.refused(404, "not-found");
    world.get("/api/v1/records/notice/42").send().await.refused(404, "not-found");
    world.get("/api/v1/records/notice?limt=3").send().await.refused(400, "malformed");
    world.get("/api/v1/records/notice?after=nonsense").send().await.refused(422, "invalid");
}

#[tokio::test]
async fn pages_of_a_list_hold_every_record_once() {
    let world = world().await;
    let keeper = world.keeper().await;
    for number in 0..25 {
        let level = if number % 2 == 0 { "info" } else { "urgent" };
        world
            .create(&keeper, "notice", None, json!({"title": format!("Notice {number}"), "level": level}))
            .await;
    }
    for (filter, expected) in [("", 25), ("&is.level=urgent", 12)] {
        let (mut seen, mut after) = (BTreeSet::new(), String::new());
        for _ in 0..20 {
            let page =
                world.get(&format!("/api/v1/records/notice?limit=4{filter}{after}")).send().await.ok().json();
            for item in page["items"].as_array().unwrap() {
                assert!(seen.insert(item["id"].as_str().unwrap().to_owned()), "a record came twice");
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen.len(), expected);
    }
    let starts = world.get("/api/v1/records/notice?starts.title=notice%2020").send().await.ok().json();
    assert_eq!(starts["items"].as_array().unwrap().len(), 1);
}
