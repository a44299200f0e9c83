//! Search and ask.

use std::sync::atomic::Ordering;

use serde_json::json;

use crate::{
    live::Events,
    support::{endless_world, until, world},
};

const QUESTION: &str = r#"{"text":"Boil the water for how many minutes?"}"#;
const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn a_question_gets_its_passages_first_and_then_its_answer() {
    let world = world().await;
    let keeper = world.keeper().await;
    let document = world
        .document(
            &keeper,
            None,
            "Safe water",
            "Boil the water for one minute. Above 2,000 metres boil it for three.",
        )
        .await;
    let found = world.get("/api/v1/search?q=boil%20water").send().await.ok().json();
    assert_eq!(found["hits"][0]["document"], json!(document));
    let passage =
        world.get(&format!("/api/v1/passages/{}", found["hits"][0]["passage"])).send().await.ok().json();
    assert!(passage["text"].as_str().unwrap().starts_with("Boil the water"));
    let address = world.listen().await;
    let mut events = Events::open(address, "POST", "/api/v1/ask", JSON, QUESTION).await;
    let first = events.next().await;
    assert_eq!((first.name.as_str(), &first.data["hits"][0]["document"]), ("passages", &json!(document)));
    let mut names = Vec::new();
    loop {
        let event = events.next().await;
        assert_eq!(event.data["event"], event.name.as_str());
        names.push(event.name);
        if matches!(names.last().map(String::as_str), Some("done" | "no_answer" | "no_model" | "broken")) {
            break;
        }
    }
    assert_eq!(names.first().map(String::as_str), Some("queued"), "{names:?}");
    assert!(names.contains(&"sentence".to_owned()) && names.ends_with(&["done".to_owned()]), "{names:?}");
}

#[tokio::test]
async fn whoever_leaves_cancels_the_answer() {
    let world = endless_world().await;
    let keeper = world.keeper().await;
    world.document(&keeper, None, "Safe water", "Boil the water for one minute.").await;
    let address = world.listen().await;
    let mut events = Events::open(address, "POST", "/api/v1/ask", JSON, QUESTION).await;
    while events.next().await.name != "text" {}
    assert_eq!(world.listening.load(Ordering::SeqCst), 1);
    drop(events);
    until("the cancelling", || world.listening.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn one_asker_cannot_ask_without_end() {
    let world = world().await;
    let mut last = 200;
    for _ in 0..30 {
        last = world.post("/api/v1/ask", json!({"text": "water?"})).send().await.status;
        if last != 200 {
            break;
        }
    }
    assert_eq!(last, 429);
    world.post("/api/v1/ask", json!({"text": "water?"})).peer("192.168.4.99:1").send().await.ok();
}
