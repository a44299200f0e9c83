//! The first days of a card: its page, its console, what it keeps over power cuts and restarts, and how it starts over.

use anyhow::{Context, Result, ensure};
use cairn_slots::{SlotId, boot_control::block};
use cairn_tests::{http, model, wait};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    FIRST, SECOND,
    keeper::{Kept, PASSWORD, SHOWN_WITHIN},
    machine::{CARD, Card, Machine, STARTS_WITHIN},
    serial::{plain, unexplained},
    session::Browser,
    state,
};

/// What the system may use besides models when nobody asks it anything, bytes.
const IDLE_MEMORY: u64 = 120 << 20;
pub(crate) const CLAIM: &str = "claim it with this code: ";
const PASSAGE: &str = "The bridge over the mill stream carries vehicles of up to three tonnes. \
    After heavy rain it stays closed until its marks are dry.";
/// Every kind of mistake. What is right among them is used all the same.
const MISTAKEN: &str =
    "[hub]\nname = \"Mill Valley!\"\ntitel = \"Mill\"\nclaim_code = \"short\"\nlanguage = \"en\"\n[netwrk]\n";
const MISTAKES: [&str; 4] =
    ["cairn.toml, line 2: ", "cairn.toml, line 3: ", "cairn.toml, line 4: ", "cairn.toml, line 6: "];

/// The last claim code on the console.
pub(crate) fn code_on(console: &str) -> Result<String> {
    let line = console
        .lines()
        .rev()
        .map(plain)
        .find(|line| line.contains(CLAIM))
        .context("no code on the console")?;
    Ok(line.split(CLAIM).nth(1).context("no code")?.trim().to_owned())
}

/// Memory in use, bytes, once it no longer falls: what starting takes is given back.
async fn settled_memory(machine: &Machine) -> Result<u64> {
    let client = http::builder().timeout(SHOWN_WITHIN).build()?;
    let mut before = u64::MAX;
    wait::until("memory no longer falls", SHOWN_WITHIN, async || {
        let metrics =
            client.get(format!("{}/metrics", machine.address())).send().await.ok()?.text().await.ok()?;
        let used = metrics
            .lines()
            .find_map(|line| line.strip_prefix("cairn_memory_used_bytes "))?
            .trim()
            .parse()
            .ok()?;
        let settled = before != u64::MAX && used + (1 << 20) >= before;
        before = used;
        settled.then_some(used)
    })
    .await
}

/// Mistakes of the file stand on the console, in the health check, and in the log.
async fn mistakes_are_told(machine: &Machine, health: &Value, hub: &Kept) -> Result<()> {
    let console = machine.serial();
    let findings = health["findings"].to_string();
    let log = hub.text("/api/v1/support-bundle").await?;
    for mistake in MISTAKES {
        ensure!(console.contains(mistake), "the console does not tell {mistake}");
        ensure!(findings.contains(mistake), "the page does not tell {mistake}: {findings}");
        ensure!(log.contains(mistake), "the log does not tell {mistake}");
    }
    Ok(())
}

/// What a person does on the first day, in a browser.
async fn first_day(machine: &Machine, code: &str) -> Result<()> {
    let address = machine.address();
    let browser = Browser::start_patient(SHOWN_WITHIN).await?;
    browser.open(&address).await?;
    for (field, value) in [
        ("code", code),
        ("hub_name", "Mill Valley"),
        ("name", "Keeper"),
        ("login", "keeper"),
        ("password", PASSWORD),
        ("again", PASSWORD),
    ] {
        browser.fill(&format!("input[name={field}]"), value).await?;
    }
    browser.click("form[action='/first-run'] button.primary").await?;
    browser.element("form[action='/sign-out']").await?;

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("mill-stream.md");
    std::fs::write(&file, format!("# Old crossing\n\n{PASSAGE}\n"))?;
    browser.open(&format!("{address}/library")).await?;
    let input = browser.element("form[data-upload] input[type=file]").await?;
    input.send_keys(file.to_str().context("a path that is not text")?).await?;
    browser.element("[data-uploads] a").await?;
    // Found by its words, and the way to the document.
    browser.open(&format!("{address}/ask?q=How+heavy+may+a+vehicle+be+on+the+old+bridge%3F")).await?;
    browser.shows("three tonnes").await?;
    browser.click("#passage-1 a.crumbs").await?;
    browser.shows("until its marks are dry").await
}

/// A written answer that cites the document, by a model made on the spot and the guest's own arithmetic.
async fn a_cited_answer(machine: &Machine, hub: &Kept) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = std::fs::read(model::quoting(folder.path(), PASSAGE)?)?;
    let add = hub.request(Method::POST, "/api/v1/models?name=quoting");
    add.header("Content-Type", "application/octet-stream").body(file).send().await?.error_for_status()?;
    let browser = Browser::start_patient(SHOWN_WITHIN).await?;
    let asked = "/ask?q=How+heavy+may+a+vehicle+be+on+the+old+bridge%3F";
    browser.open(&format!("{}{asked}", machine.address())).await?;
    browser.click("[data-text] a.cite").await?;
    browser.element(".passage.shown").await?;
    browser.shows("three tonnes").await
}

#[tokio::test]
async fn a_new_card_boots_to_its_page_and_keeps_what_is_written() {
    let card = Card::new().unwrap();
    card.put_on_boot_partition("cairn.toml", MISTAKEN).unwrap();
    let before = [card.read(FIRST, 512).unwrap(), card.read(SECOND, 512).unwrap()];

    let mut machine = card.start("first-boot").unwrap();
    let health = machine.until_healthy().await.unwrap();
    let to_page = machine.age();
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(health["database_connected"], true, "{health}");
    let serial = machine.until_it_says(CLAIM, STARTS_WITHIN).await.unwrap();
    assert!(serial.contains("cairn: slot=a trial=0 copies=10"), "the boot script chose otherwise");
    assert!(serial.contains("the data partition is new"), "the data partition was not formatted");
    let idle = settled_memory(&machine).await.unwrap();
    println!(
        "FIGURE first start: page after {:.1} s; {:.1} MiB of memory used when idle",
        to_page.as_secs_f64(),
        mib(idle)
    );
    // The data partition reaches to the end of the card, less than what is not worth growing for.
    let data = card.partition(7).unwrap();
    assert!(CARD - (data.start + data.size) <= 16 << 20, "{data:?}");

    first_day(&machine, &code_on(&serial).unwrap()).await.unwrap();
    let hub = Kept::signed_in(&machine).await.unwrap();
    mistakes_are_told(&machine, &health, &hub).await.unwrap();
    hub.until_indexed().await.unwrap();
    a_cited_answer(&machine, &hub).await.unwrap();
    assert_eq!(unexplained(&machine.serial(), &["cairn.toml, line"]), Vec::<String>::new());
    assert!(idle <= IDLE_MEMORY, "{idle} bytes are used when idle");

    // The power is cut right after something was acknowledged; the same card starts again.
    let renamed = hub.request(Method::PATCH, "/api/v1/settings").json(&json!({ "hub_name": "Upper Mill" }));
    renamed.send().await.unwrap().error_for_status().unwrap();
    drop(machine);
    let mut machine = card.start("after-a-power-cut").unwrap();
    machine.until_healthy().await.unwrap();
    println!("FIGURE second start: page after {:.1} s", machine.age().as_secs_f64());
    let hub = hub.at(&machine);
    kept(&hub).await.unwrap();
    assert!(!machine.serial().contains("formatting"), "a card in use was formatted");
    assert!(machine.serial().contains("copies=10"));

    assert!(
        !machine.serial().contains("file system grows"),
        "a file system that fills its partition was grown"
    );

    // A keeper restarts it from the page: everything ends in order.
    let from = machine.serial().len();
    let browser = sign_in(&machine).await.unwrap();
    browser.click("form[action='/settings/device/restart'] button").await.unwrap();
    machine
        .until_it_says_after(
            from,
            &["Reached target", "reboot.target", "cairn: slot=a trial=0"],
            STARTS_WITHIN,
        )
        .await
        .unwrap();
    machine.until_healthy().await.unwrap();
    kept(&hub).await.unwrap();
    assert!(
        !machine.serial_since(from).contains("recovering journal"),
        "the data partition was not closed in order"
    );

    // And starts over: what the community wrote is gone, nobody keeps the hub.
    let from = machine.serial().len();
    let browser = sign_in(&machine).await.unwrap();
    browser.fill("input[name=password]", PASSWORD).await.unwrap();
    browser.click("input[name=sure]").await.unwrap();
    browser.click("form[action='/settings/device/reset'] button.danger").await.unwrap();
    let told = ["factory reset: everything of the community was erased", CLAIM];
    machine.until_it_says_after(from, &told, STARTS_WITHIN * 2).await.unwrap();
    machine.until_healthy().await.unwrap();
    let refused = hub.request(Method::GET, "/api/v1/settings").send().await.unwrap();
    assert!(refused.status().is_client_error(), "a token of before is good: {}", refused.status());
    let setup = hub.client.get(format!("{}/api/v1/setup", machine.address())).send().await.unwrap();
    assert_eq!(setup.json::<Value>().await.unwrap()["claimed"], false);
    assert_eq!(unexplained(&machine.serial(), &["cairn.toml, line"]), Vec::<String>::new());

    drop(machine);
    let after = [card.read(FIRST, 512).unwrap(), card.read(SECOND, 512).unwrap()];
    assert_eq!(before, after, "a normal boot wrote to the boot state");
    assert_eq!(card.partition(7).unwrap(), data, "a grown card was grown again");
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What was written before is there: the name, the document by its words, the model.
async fn kept(hub: &Kept) -> Result<()> {
    ensure!(hub.text("/api/v1/settings").await?.contains("Upper Mill"), "the name is another");
    ensure!(hub.text("/search?q=tonnes").await?.contains("three"), "the document is not found");
    ensure!(hub.text("/api/v1/models").await?.contains("quoting"), "the model is gone");
    Ok(())
}

async fn sign_in(machine: &Machine) -> Result<Browser> {
    let browser = Browser::start_patient(SHOWN_WITHIN).await?;
    browser.open(&format!("{}/sign-in", machine.address())).await?;
    browser.fill("input[name=login]", "keeper").await?;
    browser.fill("input[name=password]", PASSWORD).await?;
    browser.click("form[action='/sign-in'] button.primary").await?;
    browser.element("form[action='/sign-out']").await?;
    browser.open(&format!("{}/settings/device", machine.address())).await?;
    Ok(browser)
}

#[tokio::test]
async fn the_hub_runs_from_slot_b_as_well() {
    let card = Card::new().unwrap();
    card.fill_slot_b().unwrap();
    card.write(FIRST, &block::encode(&state(4, SlotId::B, None))).unwrap();
    // A file without a mistake: a board without a screen is claimed with the code in it.
    let file = "[hub]\nname = \"mill\"\ntitle = \"Mill Valley\"\nclaim_code = \"PAPERBOAT7421\"\n";
    card.put_on_boot_partition("cairn.toml", file).unwrap();
    let mut machine = card.start("settled-on-slot-b").unwrap();
    let health = machine.until_healthy().await.unwrap();
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(health["findings"], json!([]), "{health}");
    assert!(machine.serial().contains("cairn: slot b (trial: 0) is whole"), "slot B did not start");
    let wanted = [&format!("{CLAIM}PAPERBOAT7421"), "http://mill.local"];
    machine.until_it_says_after(0, &wanted, STARTS_WITHIN).await.unwrap();
    let hub = Kept::by_code(&machine, "PAPERBOAT7421").await.unwrap();
    let home = hub.client.get(machine.address()).send().await.unwrap().text().await.unwrap();
    assert!(home.contains("Mill Valley"), "the page does not bear the hub's name");
    assert_eq!(unexplained(&machine.serial(), &[]), Vec::<String>::new());

    // Copied to a larger card, it uses all of it. Whoever holds the card resets the hub without a password, once.
    drop(machine);
    card.set_size(CARD + (512 << 20)).unwrap();
    card.put_on_boot_partition("reset", "").unwrap();
    let mut machine = card.start("reset-by-file").unwrap();
    let told =
        ["the data partition grows", "the data file system grows by 51", "factory reset: everything", CLAIM];
    machine.until_it_says_after(0, &told, STARTS_WITHIN).await.unwrap();
    assert!(!card.boot_partition().unwrap().contains("reset"), "the file is still there");
    assert_eq!(unexplained(&machine.serial(), &[]), Vec::<String>::new());
}
