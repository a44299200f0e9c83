//! Answers of a whole hub: its real processes, a model that was made here, and whatever can go wrong in the middle.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test program: what is wrong must stop it"
)]

use std::{fs, path::PathBuf, time::Duration};

use cairn_tests::{
    answer::{Answer, name_of},
    http,
    hub::Hub,
    keeper::Keeper,
    model, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const QUESTION: &str = "How heavy may a vehicle be on the bridge over the mill stream?";
const DOCUMENT: &str = "# Bridge over the mill stream\n\n\
    The bridge over the mill stream carries vehicles of up to three tonnes. \
    After heavy rain it is closed until the marks on the pillar are dry.\n";

/// A claimed hub whose library holds the answer.
struct World {
    hub: Hub,
}

impl World {
    async fn new() -> Self {
        let hub = Hub::start().await.unwrap();
        let keeper = Keeper::claim(&hub).await.unwrap();
        let document = hub.folder().join("bridge.md");
        fs::write(&document, DOCUMENT).unwrap();
        hub.command(&["library", "add", document.to_str().unwrap()]).await.unwrap();
        keeper.wait_until_indexed().await.unwrap();
        Self { hub }
    }

    async fn install(&self, model: PathBuf) {
        self.hub.command(&["models", "add", model.to_str().unwrap()]).await.unwrap();
    }

    async fn ask(&self) -> Answer {
        Answer::ask(&http::client().unwrap(), self.hub.address(), QUESTION).await.unwrap()
    }

    async fn page_is_served(&self) {
        let page = http::client().unwrap().get(self.hub.address()).send().await.unwrap();
        assert!(page.status().is_success(), "{}", page.status());
    }
}

/// What the checked sentences say, and the passages they stand on.
fn sentences(events: &[Value]) -> Vec<(String, Vec<u64>, bool)> {
    let sentences = events.iter().filter(|event| name_of(event) == "sentence");
    sentences
        .map(|event| {
            let citations = event["citations"].as_array().unwrap().iter().filter_map(Value::as_u64).collect();
            let text = event["text"].as_str().unwrap().to_owned();
            (text, citations, event["supported"].as_bool().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn several_answers_stream_in_and_every_citation_is_a_passage() {
    let world = World::new().await;
    world.install(model::quoting(world.hub.folder()).unwrap()).await;
    // Several at once: each gets the whole answer, none is mixed with another's.
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(world.ask().await);
    }
    for mut answer in answers {
        let events = answer.until("done").await.unwrap();
        assert_eq!(name_of(&events[0]), "passages", "the passages come before any model is asked");
        let hits = events[0]["hits"].as_array().unwrap().len() as u64;
        let said = sentences(&events);
        // Which of its prompt's words the made model goes on with is a matter of rounding; what is said of them is not.
        assert!(!said.is_empty(), "nothing was said");
        for (text, citations, supported) in &said {
            assert!(citations.iter().all(|n| (1..=hits).contains(n)), "{text}");
            assert!(!supported || !citations.is_empty(), "supported by nothing: {text}");
        }
        assert!(
            events[0].to_string().contains("three tonnes"),
            "the passage that holds the answer is among them"
        );
    }
    let told = world.hub.command(&["ask", QUESTION]).await.unwrap();
    assert!(told.contains("three tonnes"), "{told}");
    world.hub.stop().await.unwrap();
}

#[tokio::test]
async fn a_model_killed_in_the_middle_of_its_answer_leaves_the_page_serving_and_can_be_asked_again() {
    let world = World::new().await;
    world.install(model::rambling(world.hub.folder()).unwrap()).await;
    let mut answer = world.ask().await;
    answer.until("started").await.unwrap();
    let infer = world.hub.role("infer")[0];
    kill(Pid::from_raw(infer), Signal::SIGKILL).unwrap();
    world.page_is_served().await;
    let end = answer.until("broken").await.unwrap();
    assert!(end.last().unwrap()["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{end:?}");
    assert!(answer.next().await.unwrap().is_none(), "nothing follows");

    wait::until("the question can be asked again", PATIENCE, async || {
        let mut again = world.ask().await;
        again.until("started").await.ok()
    })
    .await
    .unwrap();
    assert_ne!(world.hub.role("infer"), [infer]);
    world.hub.stop().await.unwrap();
}
