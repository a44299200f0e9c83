//! Backup and restore through the API, and the support bundle.

use base64::{Engine, engine::general_purpose::STANDARD};
use cairn_web::HostRole;
use serde_json::json;

use crate::support::world;

const PASSPHRASE: &str = "wasser für alle im dorf";

#[tokio::test]
async fn a_backup_comes_back_under_its_passphrase_only() {
    let world = world().await;
    let keeper = world.keeper().await;
    world.create(&keeper, "notice", None, json!({"title": "Remember me", "level": "info"})).await;
    let short = world.post("/api/v1/backup", json!({"passphrase": "short"})).session(&keeper).send().await;
    assert_eq!(short.refused(422, "invalid")["errors"][0]["field"], "passphrase");
    let file =
        world.post("/api/v1/backup", json!({"passphrase": PASSPHRASE})).session(&keeper).send().await.ok();
    assert!(file.header("content-disposition").starts_with("attachment"));
    assert!(!file.body.windows(8).any(|part| part == b"Remember"), "a backup is encrypted");
    let restore = |body: Vec<u8>, passphrase: &str| {
        let call = world.call("POST", "/api/v1/restore").session(&keeper).body(body);
        call.header("cairn-passphrase", &STANDARD.encode(passphrase)).send()
    };
    restore(file.body.clone(), "another passphrase").await.refused(422, "backup-refused");
    restore(file.body[..file.body.len() - 20].to_vec(), PASSPHRASE).await.refused(422, "backup-refused");
    restore(b"no backup at all".to_vec(), PASSPHRASE).await.refused(422, "backup-refused");
    world.call("POST", "/api/v1/restore").session(&keeper).body("x").send().await.refused(400, "malformed");
    assert!(world.host.restarted.lock().unwrap().is_empty());
    let restored = restore(file.body, PASSPHRASE).await;
    assert_eq!((restored.status, &restored.json()["restarting"]), (202, &json!(true)));
    assert_eq!(*world.host.restarted.lock().unwrap(), [HostRole::Hub]);
}

#[tokio::test]
async fn the_support_bundle_holds_no_secret_and_no_person() {
    let world = world().await;
    let keeper = world.keeper().await;
    world.create(&keeper, "notice", None, json!({"title": "Private matter", "level": "info"})).await;
    let cloud = json!({"url": "https://cloud.example/v1", "model": "m", "key": "sk-very-secret"});
    world.set(&keeper, json!({"cloud": cloud})).await;
    let bundle = world.get("/api/v1/support-bundle").session(&keeper).send().await.ok();
    let text = String::from_utf8(bundle.body.clone()).unwrap();
    for secret in ["sk-very-secret", "Private matter", "Amina", "amina", keeper.as_str(), "argon2"] {
        assert!(!text.contains(secret), "{secret} is in the bundle");
    }
    let json = bundle.json();
    assert_eq!(json["health"]["database_connected"], true);
    assert_eq!(json["log"][0], "a line of the log");
    assert!(json["metrics"].as_str().unwrap().contains("cairn_http_request_duration_seconds"));
}
