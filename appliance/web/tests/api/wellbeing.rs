//! Health, metrics, settings.

use serde_json::json;

use crate::support::world;

#[tokio::test]
async fn health_says_what_is_missing() {
    let world = world().await;
    let health = world.get("/api/health-check").send().await.ok().json();
    assert_eq!(health["status"], "degraded", "the inference process is away: {health}");
    assert_eq!((&health["version"], &health["uptime"]), (&json!("0.1.0"), &json!(61)));
    assert_eq!((&health["models_loaded"], &health["database_connected"]), (&json!(0), &json!(true)));
    assert_eq!(health["vector_store_ready"], false);
    assert!(health["findings"].to_string().contains("inference"));
}

#[tokio::test]
async fn metrics_can_be_read_by_prometheus_and_name_no_address() {
    let world = world().await;
    let keeper = world.keeper().await;
    let notice = world.create(&keeper, "notice", None, json!({"title": "Water", "level": "info"})).await;
    let id = notice["id"].as_str().unwrap();
    world.get(&format!("/api/v1/records/notice/{id}")).send().await.ok();
    world.get("/api/v1/search?q=private").send().await.ok();
    let answer = world.get("/metrics").send().await.ok();
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("route=\"/api/v1/records/{kind}/{id}\",status=\"2xx\""), "{text}");
    assert!(
        text.contains("cairn_store_lane_queue{lane=\"person\"} ")
            && text.contains("cairn_role_restarts_total{role=\"infer\"} 2")
    );
    assert!(!text.contains(id) && !text.contains("private"));
    let mut declared = std::collections::BTreeSet::new();
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(rest) => {
                assert!(declared.insert(rest.split(' ').next().unwrap().to_owned()), "declared twice: {line}")
            }
            None if line.starts_with('#') => {}
            None => {
                let (name, value) = line.rsplit_once(' ').unwrap();
                value.parse::<f64>().unwrap_or_else(|_| panic!("{line}"));
                let name = name.split('{').next().unwrap();
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or(name);
                assert!(declared.contains(name) || declared.contains(base), "not declared: {line}");
            }
        }
    }
}

#[tokio::test]
async fn settings_are_checked_kept_and_never_show_the_key() {
    let world = world().await;
    let keeper = world.keeper().await;
    let change =
        |body: serde_json::Value| world.call("PATCH", "/api/v1/settings").json(body).session(&keeper).send();
    let set = change(
        json!({"hub_name": "Well & Co", "cloud": {"url": "https://c.example", "model": "m", "key": "sk-1"}}),
    )
    .await
    .ok();
    assert!(!String::from_utf8_lossy(&set.body).contains("sk-1"));
    let read = world.get("/api/v1/settings").session(&keeper).send().await.ok().json();
    assert_eq!((&read["hub_name"], &read["cloud"]["has_key"]), (&json!("Well & Co"), &json!(true)));
    change(json!({"session_hours": 0})).await.refused(422, "invalid");
    change(json!({"allowed_origins": ["*"]})).await.refused(422, "invalid");
    change(json!({"cloud": {"url": "https://evil.example", "model": "m"}})).await.refused(422, "invalid");
    change(json!({"cloud": {"url": "http://c.example", "model": "m", "key": ""}}))
        .await
        .refused(422, "invalid");
    assert_eq!(world.get("/api/v1/settings").session(&keeper).send().await.json(), read);
}
