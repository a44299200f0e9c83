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
    model,
    model_server::ModelServer,
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
const QUESTION: &str = "How heavy may a vehicle be on the old bridge?";
const PASSAGE: &str = "The bridge over the mill stream carries vehicles of up to three tonnes. \
    After heavy rain it stays closed until its marks are dry.";
/// What the passage says to the question.
const ANSWER: &str = "The bridge over the mill stream carries vehicles of up to three tonnes.";

/// A claimed hub whose library holds the answer.
struct World {
    hub: Hub,
    keeper: Keeper,
}

impl World {
    async fn new() -> Self {
        let hub = Hub::start().await.unwrap();
        let keeper = Keeper::claim(&hub).await.unwrap();
        let document = hub.folder().join("bridge.md");
        fs::write(&document, format!("# Old crossing\n\n{PASSAGE}\n")).unwrap();
        hub.command(&["library", "add", document.to_str().unwrap()]).await.unwrap();
        keeper.wait_until_indexed().await.unwrap();
        Self { hub, keeper }
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

/// Whether the answer says what the passage says, and says so of the passage.
fn assert_quoted(events: &[Value]) {
    let hits = events[0]["hits"].as_array().unwrap();
    let sentences: Vec<&Value> = events.iter().filter(|event| name_of(event) == "sentence").collect();
    let quoted = sentences.iter().find(|sentence| sentence["text"] == ANSWER);
    let quoted = quoted.unwrap_or_else(|| panic!("the passage is not quoted: {sentences:#?}"));
    assert_eq!(quoted["supported"], true, "{quoted}");
    let cited = quoted["citations"].as_array().unwrap();
    assert_eq!(cited, &[1], "{quoted}");
    assert!(hits[0].to_string().contains("three tonnes"), "{}", hits[0]);
}

#[tokio::test]
async fn several_answers_quote_the_passage_and_cite_it() {
    let world = World::new().await;
    world.install(model::quoting(world.hub.folder(), PASSAGE).unwrap()).await;
    // Several at once: each gets the whole answer, none is mixed with another's.
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(world.ask().await);
    }
    for mut answer in answers {
        let events = answer.until("done").await.unwrap();
        assert_eq!(name_of(&events[0]), "passages", "the passages come before any model is asked");
        assert_quoted(&events);
    }
    let told = world.hub.command(&["ask", QUESTION]).await.unwrap();
    assert!(told.contains(ANSWER), "{told}");
    world.hub.stop().await.unwrap();
}

#[tokio::test]
async fn a_cloud_model_answers_where_the_keeper_allows_it_and_the_hub_itself_when_it_dies_in_mid_answer() {
    let world = World::new().await;
    let quoting = model::quoting(world.hub.folder(), PASSAGE).unwrap();

    // Only the cloud has a model: its answer is checked against the passages like one of our own.
    let cloud = ModelServer::start(&quoting, "far-away").await.unwrap();
    let before = world.ask().await.until("no_model").await.unwrap();
    assert_eq!(name_of(&before[0]), "passages", "nothing is asked outside before a keeper has allowed it");
    world.keeper.set(&cloud.settings("cloud", "far-away")).await.unwrap();
    let events = world.ask().await.until("done").await.unwrap();
    let started = events.iter().find(|event| name_of(event) == "started").unwrap();
    assert_eq!(started["model"], "far-away");
    assert_quoted(&events);
    drop(cloud);

    // The cloud's model has no end; its server is killed in the middle, and the model on the device takes over.
    world.install(quoting).await;
    let endless = model::rambling(world.hub.folder()).unwrap();
    let mut cloud = ModelServer::start(&endless, "endless").await.unwrap();
    world.keeper.set(&cloud.settings("auto", "endless")).await.unwrap();
    let mut answer = world.ask().await;
    let begun = answer.until("text").await.unwrap();
    assert!(
        begun.iter().any(|event| name_of(event) == "started" && event["model"] == "endless"),
        "{begun:?}"
    );
    cloud.kill().await.unwrap();
    answer.until("restarted").await.unwrap();
    let mut rest = answer.until("done").await.unwrap();
    rest.insert(0, begun[0].clone());
    assert_quoted(&rest);

    // Nobody is there any more: the next question is answered here at once.
    assert_quoted(&world.ask().await.until("done").await.unwrap());
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
