//! What a person does in a browser, in real headless Chromium against the hub as it ships.

#[tokio::test]
async fn the_hub_starts_and_says_that_it_is_well() {
    let hub = cairn_tests::hub::Hub::start().await.unwrap();
    let health = hub.health().await.unwrap();
    assert_eq!(health["status"], "ok");
    hub.stop().await.unwrap();
}
