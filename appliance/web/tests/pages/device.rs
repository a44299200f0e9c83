//! What a keeper does to the device, what its status page tells, and what phones on the hub's own Wi-Fi are told.

use crate::support::{PASSWORD, World};
use cairn_web::DeviceAct;

#[tokio::test]
async fn only_a_keeper_who_types_the_password_and_means_it_erases_the_hub() {
    let world = World::new().await;
    let keeper = world.claim().await;
    let reset = "/settings/device/reset";
    let wrong = [("password", "not my password"), ("sure", "on")];
    let careless = [("password", PASSWORD)];
    for values in [&wrong[..], &careless[..]] {
        let refused = world.fill("/settings/device", &keeper, reset, values).await;
        assert_eq!(refused.status, 422, "{}", refused.body);
        assert!(!refused.body.contains(PASSWORD), "a password never comes back");
    }
    assert!(world.acts.lock().unwrap().is_empty());
    let volunteer = world.join(&keeper, "volunteer", "Ana", "ana").await;
    assert_eq!(world.get("/settings/device", &[("cookie", &volunteer)]).await.status, 403);
    let done =
        world.fill("/settings/device", &keeper, reset, &[("password", PASSWORD), ("sure", "on")]).await;
    assert_eq!(done.status, 200, "{}", done.body);
    assert_eq!(*world.acts.lock().unwrap(), [DeviceAct::FactoryReset]);
}

#[tokio::test]
async fn the_hub_restarts_and_switches_off_when_a_keeper_says_so() {
    let world = World::new().await;
    let keeper = world.claim().await;
    for (action, act) in [
        ("/settings/device/restart", DeviceAct::Restart),
        ("/settings/device/power-off", DeviceAct::PowerOff),
    ] {
        let done = world.fill("/settings/device", &keeper, action, &[]).await;
        assert_eq!(done.status, 200, "{}", done.body);
        assert_eq!(world.acts.lock().unwrap().pop(), Some(act));
        let forged = world.post(action, &keeper, &[]).await;
        assert_eq!(forged.status, 403, "without the form's token");
    }
    assert!(world.acts.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_status_page_tells_concerns_and_mistakes_in_the_provisioning_file() {
    let world = World::new().await;
    let page = world.get("/status", &[]).await;
    for text in [
        "The processor is too hot.",
        "cairn.toml, line 3",
        "SD SC32G",
        "does not tell its wear",
        "Strong enough",
    ] {
        assert!(page.body.contains(text), "{text} in {}", page.body);
    }
    let health = world.get("/api/health-check", &[]).await;
    let health: serde_json::Value = serde_json::from_str(&health.body).unwrap();
    assert_eq!(health["under_voltage"], false);
    assert_eq!(health["card"]["errors"], 0);
    assert!(health["findings"].as_array().unwrap().iter().any(|text| text == "The processor is too hot."));
    let metrics = world.get("/metrics", &[]).await.body;
    for line in ["cairn_under_voltage 0", "cairn_card_errors 0", "cairn_concern{concern=\"hot\"} 1"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert!(!metrics.contains("cairn_card_worn_percent"), "nothing is made up");
}

#[tokio::test]
async fn a_phone_that_asks_whether_this_is_the_internet_is_led_to_the_page_and_told_no() {
    let world = World::new().await;
    let ask = async |host: &str| {
        let request = axum::http::Request::get("/generate_204").header("host", host);
        world.send(request.body(axum::body::Body::empty()).unwrap()).await
    };
    let answer = ask("captive.example").await;
    assert_eq!(answer.status, 302, "neither 204 nor a page that would be taken for the internet's");
    assert!(answer.headers["location"].to_str().unwrap().starts_with("http://192.168.73.1"));
    assert_eq!(ask("elsewhere.example").await.status, 421, "no other name is claimed");
}
