//! Two hubs and a gateway, and somebody who decides what their hubs could not: one of each kind of decision, and several at
//! once. With `CAIRN_SCREENSHOTS=FOLDER` the pages are also written there as pictures, for whoever looks after them.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use cairn_tests::{
    chaos::{cloud::Cloud, hubs::Station, proxy::Weather},
    wait,
};
use fantoccini::Locator;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::session::Browser;

/// What each hub makes of a title, and how the conflict is decided.
const CASES: [(&str, &str); 6] = [
    ("mine", "seven"),
    ("theirs", "eight"),
    ("both", "nine"),
    ("edit", "ten"),
    ("many", "eleven"),
    ("many", "twelve"),
];
/// How long hubs may take to agree on a busy machine.
const AGREE_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_are_decided_by_somebody_who_never_saw_a_diff() {
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let cloud = Cloud::start(folder.path(), 1, &Weather::new(1)).await.unwrap();
    let hubs = [Station::open(&cloud).await.unwrap(), Station::open(&cloud).await.unwrap()];
    let records = disagree(&cloud, &hubs).await.unwrap();
    let browser = Browser::start().await.unwrap();
    decide(&browser, &hubs, &records).await.unwrap();
    let [there, _] = &hubs;
    // Which of the two came first is up to the hubs, and with it the order of both.
    let wanted = [
        vec!["Water at seven, here"],
        vec!["Water at eight, there"],
        vec!["Water at nine, there / Water at nine, here", "Water at nine, here / Water at nine, there"],
        vec!["Water at noon"],
    ];
    for (record, wanted) in records.iter().zip(wanted) {
        wait::until("the other hub has the decision", AGREE_WITHIN, async || {
            wanted.contains(&title(there, record).await.ok()?.as_str()).then_some(())
        })
        .await
        .unwrap();
    }
}

/// The same titles changed on both hubs while they cannot hear of each other. The second hub is the one that is looked at.
async fn disagree(cloud: &Cloud, hubs: &[Station; 2]) -> Result<Vec<String>> {
    let [there, here] = hubs;
    let mut records = Vec::new();
    for (_, hour) in CASES {
        let body = json!({ "fields": { "title": format!("Water at {hour}"), "level": "info", "body": "At the school." } });
        let request = there.door.request(Method::POST, "/api/v1/records/notice").context("no address")?;
        let made: Value = request.json(&body).send().await?.error_for_status()?.json().await?;
        records.push(made.get("id").and_then(Value::as_str).context("no id")?.to_owned());
    }
    for record in &records {
        wait::until("the notices are on both hubs", AGREE_WITHIN, async || title(here, record).await.ok())
            .await?;
    }
    for way in cloud.ways() {
        way.close(true);
        way.sever();
    }
    for (hub, place) in [(there, "there"), (here, "here")] {
        for (record, (_, hour)) in records.iter().zip(CASES) {
            let path = format!("/api/v1/records/notice/{record}");
            let body = json!({ "fields": { "title": format!("Water at {hour}, {place}") } });
            let request = hub.door.request(Method::PATCH, &path).context("no address")?;
            request.json(&body).send().await?.error_for_status()?;
        }
    }
    for way in cloud.ways() {
        way.close(false);
    }
    for hub in [there, here] {
        wait::until("everything is sent", AGREE_WITHIN, async || {
            (hub.sync(true).await.ok()?.get("queue")? == &json!(0)).then_some(())
        })
        .await?;
    }
    wait::until("the conflicts have come", AGREE_WITHIN, async || {
        (here.sync(true).await.ok()?.get("conflicts")? == &json!(CASES.len())).then_some(())
    })
    .await?;
    Ok(records)
}

async fn title(hub: &Station, record: &str) -> Result<String> {
    let record = hub.door.get(&format!("/api/v1/records/notice/{record}")).await?;
    let title = record.get("fields").and_then(|fields| fields.get("title")?.as_str());
    Ok(title.context("no title")?.to_owned())
}

async fn decide(browser: &Browser, hubs: &[Station; 2], records: &[String]) -> Result<()> {
    let home = hubs[1].door.address().context("no address")?;
    browser.open(&format!("{home}/sign-in")).await?;
    browser.fill("input[name=login]", "keeper").await?;
    browser.fill("input[name=password]", "a long enough passphrase").await?;
    browser.click("form[action='/sign-in'] button.primary").await?;
    browser.element("form[action='/sign-out']").await?;
    picture(browser, &format!("{home}/conflicts"), "conflicts").await?;
    picture(browser, &format!("{home}/sync"), "sync").await?;

    for (record, (how, _)) in records.iter().zip(CASES).take(4) {
        // From the record: its badge leads to what is to be decided.
        browser.open(&format!("{home}/notices/{record}")).await?;
        browser.click(&format!("a[href='/records/{record}/conflicts']")).await?;
        browser.element("#incoming").await?;
        if how == "mine" {
            let address = browser.address().await?;
            picture(browser, &address, "conflict").await?;
        }
        match how {
            "mine" => press(browser, side(browser, true).await?).await?,
            "theirs" => press(browser, side(browser, false).await?).await?,
            "both" => press(browser, "both").await?,
            _ => {
                browser.click("main details.fold > summary").await?;
                browser.fill("input[name=title]", "Water at noon").await?;
                press(browser, "edit").await?;
            }
        }
        browser.element(".flash.info").await?;
    }
    // How many wait is told at the top of every page, and the list decides what is left at once.
    browser.open(&home).await?;
    let waiting = browser.element("a.shared[href='/conflicts']").await?.text().await?;
    anyhow::ensure!(waiting.contains('2'), "the top line says {waiting:?}");
    browser.click("a.shared[href='/conflicts']").await?;
    browser.element("input[name=pick]").await?;
    for pick in browser.page().find_all(Locator::Css("input[name=pick]")).await? {
        pick.click().await?;
    }
    browser.click("button[name=choice][value=theirs]").await?;
    wait::until("nothing waits any more", AGREE_WITHIN, async || {
        let left = browser.page().find_all(Locator::Css("a.shared[href='/conflicts']")).await.ok()?;
        left.is_empty().then_some(())
    })
    .await?;
    for (record, (_, hour)) in records.iter().zip(CASES).skip(4) {
        anyhow::ensure!(title(&hubs[1], record).await? == format!("Water at {hour}, there"));
    }
    Ok(())
}

/// The button that keeps the reader's version, or the other one.
async fn side(browser: &Browser, mine: bool) -> Result<&'static str> {
    let incoming_is_mine = browser.element("#incoming").await?.text().await? == "Your version";
    Ok(if incoming_is_mine == mine { "incoming" } else { "present" })
}

async fn press(browser: &Browser, choice: &str) -> Result<()> {
    browser.click(&format!("button[name=choice][value={choice}]")).await
}

/// The page at phone and desk size.
async fn picture(browser: &Browser, address: &str, name: &str) -> Result<()> {
    let Some(folder) = std::env::var_os("CAIRN_SCREENSHOTS").map(PathBuf::from) else { return Ok(()) };
    for width in [360, 1280] {
        browser.page().set_window_size(width, 1400).await?;
        browser.open(address).await?;
        std::fs::write(folder.join(format!("{name}-{width}.png")), browser.page().screenshot().await?)?;
    }
    browser.page().set_window_size(360, 800).await?;
    Ok(())
}
