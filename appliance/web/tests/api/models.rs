//! Model files that are none, and who may bring them.

use serde_json::json;

use crate::support::world;

#[tokio::test]
async fn a_file_that_is_no_model_is_refused_and_not_kept() {
    let world = world().await;
    let keeper = world.keeper().await;
    let truncated =
        [b"GGUF".as_slice(), &3u32.to_le_bytes(), &u64::MAX.to_le_bytes(), &u64::MAX.to_le_bytes()].concat();
    for body in [b"PK\x03\x04 an archive".to_vec(), b"GGUF".to_vec(), truncated] {
        let call = world.call("POST", "/api/v1/models?name=tiny.gguf").session(&keeper).body(body);
        call.send().await.refused(422, "model-refused");
    }
    let call = world.call("POST", "/api/v1/models?name=..%2Fescape").session(&keeper).body("GGUF");
    assert_eq!(call.send().await.refused(422, "invalid")["errors"][0]["field"], "name");
    let call = world
        .call("POST", "/api/v1/models?name=big")
        .session(&keeper)
        .header("content-length", &(1u64 << 40).to_string());
    call.send().await.refused(413, "too-large");
    assert_eq!(world.bytes_in("incoming"), 0);
    assert!(world.host.installed.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_the_inference_process_models_are_away_and_the_hub_is_not() {
    let world = world().await;
    let keeper = world.keeper().await;
    world.call("DELETE", "/api/v1/models/none").session(&keeper).send().await.refused(404, "not-found");
    world.get("/api/v1/models").send().await.refused(503, "unavailable");
    world.get("/api/v1/session").session(&keeper).send().await.ok();
    assert_eq!(world.get("/api/v1/index").send().await.ok().json()["documents"], json!(0));
}
