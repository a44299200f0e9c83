//! Who sees and does what, through every door of the API.

use cairn_sync::RecordId;
use serde_json::json;

use crate::support::world;

#[tokio::test]
async fn without_an_account_one_reads_what_is_open_and_changes_nothing() {
    let world = world().await;
    let keeper = world.keeper().await;
    let notice = world.create(&keeper, "notice", None, json!({"title": "Water", "level": "info"})).await;
    let path = format!("/api/v1/records/notice/{}", notice["id"].as_str().unwrap());
    world.get(&path).send().await.ok();
    let new = json!({"fields": {"title": "Hello", "level": "info"}});
    world.post("/api/v1/records/notice", new).send().await.refused(401, "sign-in-needed");
    world
        .call("PATCH", &path)
        .json(json!({"fields": {"title": "x"}}))
        .send()
        .await
        .refused(401, "sign-in-needed");
    world.call("DELETE", &path).send().await.refused(401, "sign-in-needed");
    for (method, path) in [
        ("GET", "/api/v1/settings"),
        ("GET", "/api/v1/tokens"),
        ("GET", "/api/v1/invitations"),
        ("GET", "/api/v1/support-bundle"),
        ("GET", "/api/v1/presence"),
        ("POST", "/api/v1/files?name=a.txt"),
        ("POST", "/api/v1/models?name=a"),
        ("POST", "/api/v1/models/a/load"),
        ("DELETE", "/api/v1/models/a"),
        ("POST", "/api/v1/restore"),
    ] {
        world.call(method, path).body("x").send().await.refused(401, "sign-in-needed");
    }
    assert!(world.get("/api/v1/records/person").send().await.json()["items"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_volunteer_does_not_keep_the_hub() {
    let world = world().await;
    let keeper = world.keeper().await;
    let ben = world.person(&keeper, "volunteer", "ben").await;
    for (method, path, body) in [
        ("GET", "/api/v1/settings", json!(null)),
        ("PATCH", "/api/v1/settings", json!({"hub_name": "Ben's"})),
        ("POST", "/api/v1/backup", json!({"passphrase": "long enough for it"})),
        ("GET", "/api/v1/support-bundle", json!(null)),
        ("POST", "/api/v1/models/a/unload", json!(null)),
        ("POST", "/api/v1/models?name=a", json!(null)),
        ("POST", "/api/v1/restore", json!(null)),
        ("POST", "/api/v1/invitations", json!({"role": "keeper"})),
    ] {
        world.call(method, path).json(body).session(&ben).send().await.refused(403, "forbidden");
    }
    let who = world.get("/api/v1/session").session(&ben).send().await.json();
    let me = format!("/api/v1/records/person/{}", who["person"]["id"].as_str().unwrap());
    let promote =
        world.call("PATCH", &me).json(json!({"fields": {"role": "keeper"}})).session(&ben).send().await;
    promote.refused(403, "forbidden");
}

#[tokio::test]
async fn what_is_in_a_closed_project_does_not_exist_for_others_at_any_door() {
    let world = world().await;
    let keeper = world.keeper().await;
    let owner = world.person(&keeper, "volunteer", "owner").await;
    let other = world.person(&keeper, "volunteer", "other").await;
    let project = world
        .create(&owner, "project", None, json!({"name": "Clinic", "status": "active", "open": false}))
        .await;
    let id: RecordId = project["id"].as_str().unwrap().parse().unwrap();
    let project = id.to_string();
    let notice =
        world.create(&owner, "notice", Some(&project), json!({"title": "Zanzibar", "level": "info"})).await;
    let document =
        world.document(&owner, Some(id), "Zanzibar plan", "The zanzibar generator needs diesel.").await;
    let notice = format!("/api/v1/records/notice/{}", notice["id"].as_str().unwrap());
    let hidden = [
        notice.clone(),
        format!("{notice}/history"),
        format!("/api/v1/records/project/{project}"),
        format!("/api/v1/records/document/{document}"),
        format!("/api/v1/files/{document}"),
    ];
    for path in &hidden {
        world.get(path).session(&owner).send().await.ok();
        world.get(path).session(&other).send().await.refused(404, "not-found");
        world.get(path).send().await.refused(404, "not-found");
    }
    let search = |session: String| {
        let world = &world;
        async move {
            world.get("/api/v1/search?q=zanzibar").session(&session).send().await.ok().json()["hits"].clone()
        }
    };
    let hits = search(owner.clone()).await;
    assert_eq!(hits.as_array().unwrap().len(), 1);
    assert_eq!(search(other.clone()).await, json!([]));
    let passage = format!("/api/v1/passages/{}", hits[0]["passage"]);
    world.get(&passage).session(&owner).send().await.ok();
    world.get(&passage).session(&other).send().await.refused(404, "not-found");
    for list in ["/api/v1/records/notice".to_owned(), format!("/api/v1/records/document?project={project}")] {
        let seen = world.get(&list).session(&other).send().await;
        assert!(!String::from_utf8_lossy(&seen.body).contains("Zanzibar"), "{list}");
    }
    let place = json!({"at": notice.rsplit('/').next().unwrap(), "doing": "viewing"});
    world.post("/api/v1/presence", place).session(&other).send().await.refused(404, "not-found");
    let body = json!({"project": project, "fields": {"title": "x", "level": "info"}});
    let status = world.post("/api/v1/records/notice", body).session(&other).send().await.status;
    assert!(matches!(status, 403 | 404), "{status}");
}
