//! The first day of a hub: claim it, sign in, add a document, ask, open what the answer cites, answer an assessment,
//! sign out.

use std::path::Path;

use anyhow::{Context, Result};
use cairn_tests::hub::Hub;
use fantoccini::Locator;

use crate::session::Browser;

const PASSWORD: &str = "a long enough passphrase";
const DOCUMENT: &str = "# Bridge over the mill stream\n\n\
    The bridge over the mill stream carries vehicles of up to three tonnes. \
    After heavy rain it is closed until the marks on the pillar are dry.\n\n\
    # Generator\n\n\
    The generator in the school cellar needs diesel. It runs for nine hours on one full tank.\n";

#[tokio::test]
async fn the_first_day_of_a_hub() {
    let hub = Hub::start().await.unwrap();
    let browser = Browser::start().await.unwrap();
    claim(&hub, &browser).await.unwrap();
    add_a_document(&hub, &browser).await.unwrap();
    ask_and_open_what_is_cited(&hub, &browser).await.unwrap();
    ask_for_what_is_not_there(&hub, &browser).await.unwrap();
    make_and_answer_an_assessment(&hub, &browser).await.unwrap();
    sign_out_and_in(&hub, &browser).await.unwrap();
    hub.stop().await.unwrap();
}

async fn claim(hub: &Hub, browser: &Browser) -> Result<()> {
    browser.open(hub.address()).await?;
    // Nobody has claimed this hub: every way leads to the first run.
    browser.element("input[name=code]").await?;
    browser.fill("input[name=code]", &hub.claim_code()?).await?;
    browser.fill("input[name=hub_name]", "Mill Valley").await?;
    person(browser, "Ines", "ines").await?;
    browser.click("form[action='/first-run'] button.primary").await?;
    browser.shows("Mill Valley").await?;
    browser.element("form[action='/sign-out']").await.map(drop)
}

async fn person(browser: &Browser, name: &str, login: &str) -> Result<()> {
    browser.fill("input[name=name]", name).await?;
    browser.fill("input[name=login]", login).await?;
    browser.fill("input[name=password]", PASSWORD).await?;
    browser.fill("input[name=again]", PASSWORD).await
}

async fn add_a_document(hub: &Hub, browser: &Browser) -> Result<()> {
    let file = hub.folder().join("mill-stream.md");
    std::fs::write(&file, DOCUMENT)?;
    browser.open(&format!("{}/library", hub.address())).await?;
    choose_file(browser, &file).await?;
    // The upload is done when the list links to the document; from then on its words can be found.
    browser.element("[data-uploads] a").await?;
    browser.open(&format!("{}/search?q=tonnes", hub.address())).await?;
    browser.shows("three tonnes").await
}

async fn choose_file(browser: &Browser, file: &Path) -> Result<()> {
    let input = browser.element("form[data-upload] input[type=file]").await?;
    let path = file.to_str().context("a path that is not text")?;
    Ok(input.send_keys(path).await?)
}

async fn ask_and_open_what_is_cited(hub: &Hub, browser: &Browser) -> Result<()> {
    browser.open(&format!("{}/ask", hub.address())).await?;
    browser.fill("input[name=q]", "How heavy may a vehicle be on the bridge?").await?;
    browser.click("form[role=search] button").await?;
    browser.shows("three tonnes").await?;
    browser.element("#passages mark").await?;
    browser.click("#passage-1 a.crumbs").await?;
    browser.shows("marks on the pillar").await?;
    let address = browser.address().await?;
    anyhow::ensure!(address.contains("/library/"), "the passage opened {address}");
    Ok(())
}

async fn ask_for_what_is_not_there(hub: &Hub, browser: &Browser) -> Result<()> {
    browser.open(&format!("{}/ask?q=Who+won+the+football+championship%3F", hub.address())).await?;
    browser.element(".card.answer").await?;
    let answers = browser.page().find_all(Locator::Css("[data-answer]")).await?;
    anyhow::ensure!(answers.is_empty(), "an answer is promised:\n{}", browser.text().await?);
    Ok(())
}

async fn make_and_answer_an_assessment(hub: &Hub, browser: &Browser) -> Result<()> {
    browser.open(&format!("{}/projects/new", hub.address())).await?;
    browser.fill("input[name=name]", "Wells").await?;
    browser.click("main form button.primary").await?;
    browser.shows("Wells").await?;
    let project = browser.address().await?;
    let project = project.split(['?', '#']).next().context("no address")?.to_owned();

    browser.open(&format!("{project}/assessments/new")).await?;
    browser.fill("input[name=title]", "State of the well").await?;
    browser.fill("input[name=q0_text]", "How deep is the water?").await?;
    browser.page().find(Locator::Css("select[name=status]")).await?.select_by_value("open").await?;
    browser.click("main form.form button.primary").await?;
    browser.shows("How deep is the water?").await?;

    let answer = "input[name^=a_]";
    browser.fill(answer, "Four metres").await?;
    browser.click("main form[data-queue] button.primary").await?;
    let assessment = browser.address().await?;
    let assessment = assessment.split(['?', '#']).next().context("no address")?.to_owned();
    cairn_tests::wait::until("the response is counted", std::time::Duration::from_secs(30), async || {
        browser.open(&format!("{assessment}/results")).await.ok()?;
        browser.text().await.ok()?.contains("Four metres").then_some(())
    })
    .await
}

async fn sign_out_and_in(hub: &Hub, browser: &Browser) -> Result<()> {
    browser.open(hub.address()).await?;
    browser.click("details.menu > summary").await?;
    browser.click("form[action='/sign-out'] button").await?;
    browser.element("a[href^='/sign-in']").await?;
    // What only somebody who is signed in may see is closed now.
    browser.open(&format!("{}/people", hub.address())).await?;
    anyhow::ensure!(!browser.text().await?.contains("Ines"), "people are shown to everybody");

    browser.open(&format!("{}/sign-in", hub.address())).await?;
    browser.fill("input[name=login]", "ines").await?;
    browser.fill("input[name=password]", PASSWORD).await?;
    browser.click("form[action='/sign-in'] button.primary").await?;
    browser.element("form[action='/sign-out']").await.map(drop)
}
