//! Reading an answer as it is written: its citations open the passages they stand on.

use anyhow::{Context, Result};
use cairn_tests::{hub::Hub, keeper::Keeper, model};

use crate::session::Browser;

const ASKED: &str = "/ask?q=How+heavy+may+a+vehicle+be+on+the+old+bridge%3F";
const PASSAGE: &str = "The bridge over the mill stream carries vehicles of up to three tonnes. \
    After heavy rain it stays closed until its marks are dry.";

async fn hub_with_a_document() -> Result<Hub> {
    let hub = Hub::start().await?;
    let keeper = Keeper::claim(&hub).await?;
    let document = hub.folder().join("bridge.md");
    std::fs::write(&document, format!("# Old crossing\n\n{PASSAGE}\n"))?;
    hub.command(&["library", "add", document.to_str().context("a path that is not text")?]).await?;
    keeper.wait_until_indexed().await?;
    Ok(hub)
}

async fn install(hub: &Hub, model: std::path::PathBuf) -> Result<()> {
    hub.command(&["models", "add", model.to_str().context("a path that is not text")?]).await.map(drop)
}

#[tokio::test]
async fn a_citation_opens_the_passage_and_the_passage_its_document() {
    let hub = hub_with_a_document().await.unwrap();
    install(&hub, model::quoting(hub.folder(), PASSAGE).unwrap()).await.unwrap();
    let browser = Browser::start().await.unwrap();
    browser.open(&format!("{}{ASKED}", hub.address())).await.unwrap();
    browser.shows("carries vehicles of up to three tonnes.").await.unwrap();
    browser.click("[data-text] a.cite").await.unwrap();
    browser.element(".passage.shown").await.unwrap();
    browser.click(".passage.shown a.crumbs").await.unwrap();
    browser.shows("until its marks are dry").await.unwrap();
    assert!(browser.address().await.unwrap().contains("/library/"));
    hub.stop().await.unwrap();
}
