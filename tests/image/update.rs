//! A card is updated: over HTTPS, into the other slot, tried, confirmed; and again, back into the first one.

use std::time::{Duration, Instant};

use cairn_tests::times::spread;
use serde_json::{Value, json};

use crate::{
    FIRST, SECOND, in_force,
    keeper::Kept,
    life::{CLAIM, code_on},
    machine::{Card, Machine, STARTS_WITHIN},
    repository::Repository,
    serial::unexplained,
};

/// How long a whole update may take until it is confirmed: fetched, written, checked, started, proved.
pub(crate) const UPDATES_WITHIN: Duration = Duration::from_secs(2400);

/// Requests from which the time of a page is told.
const PAGES: usize = 200;

/// Wishes under which nothing restarts by itself: a keeper says when.
pub(crate) fn by_hand() -> Value {
    json!({ "wishes": { "paused": true, "metered": false, "window_from": 2, "window_until": 4, "share": false } })
}

/// Whether updates say that this version runs and stays.
pub(crate) fn stays(status: &Value, version: &str) -> bool {
    status["running"] == version && status["confirmed"] == version && status["phase"] != "on_trial"
}

/// A new card in a machine, claimed; nothing is updated by itself.
pub(crate) async fn claimed(machine: &mut Machine) -> anyhow::Result<Kept> {
    machine.until_healthy().await?;
    let serial = machine.until_it_says(CLAIM, STARTS_WITHIN).await?;
    let hub = Kept::by_code(machine, &code_on(&serial)?).await?;
    hub.ask(by_hand()).await?;
    Ok(hub)
}

/// How long the first page takes, asked for again and again by one phone until `over`, at most `most` times, or until nobody answers any more.
async fn page_times(hub: &Kept, over: impl Fn() -> bool, most: usize) -> Vec<Duration> {
    let (mut times, deadline) = (Vec::new(), Instant::now() + UPDATES_WITHIN);
    while times.len() < most && Instant::now() < deadline && !over() {
        let begun = Instant::now();
        match hub.text("/").await {
            Ok(_) => times.push(begun.elapsed()),
            Err(_) => break,
        }
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_updates_itself_over_https_and_comes_back() {
    let repository = Repository::serve().await.unwrap();
    let versions = repository.versions().unwrap();
    let card = Card::new().unwrap();
    let mut machine = card.start("update").unwrap();
    let hub = claimed(&mut machine).await.unwrap();
    let status = hub.updates().await.unwrap();
    assert_eq!((&status["running"], &status["network"]), (&json!(versions[0]), &json!(true)), "{status}");
    let mut kept = Vec::new();

    for (version, slot) in [(&versions[1], "b"), (&versions[2], "a")] {
        let title = format!("before {version}");
        kept.push((hub.notice(&title).await.unwrap(), title));
        repository.publish(version).unwrap();
        let (carried, begun, from) = (repository.carried(), Instant::now(), machine.serial().len());
        hub.ask(json!("look")).await.unwrap();
        let offered = |status: &Value| status["offer"]["version"] == version.as_str();
        hub.until_updates("it is offered", UPDATES_WITHIN, offered).await.unwrap();
        let mut idle = page_times(&hub, || false, PAGES).await;
        hub.ask(json!("now")).await.unwrap();
        // It restarts into the other slot, on trial, and says so to whoever looks. Until then people read its page.
        let tried = format!("cairn: slot {slot} (trial: 1) is whole");
        let restarts = || machine.serial_since(from).contains("Reached target");
        let mut installing = page_times(&hub, restarts, usize::MAX).await;
        machine.until_it_says_after(from, &[&tried], UPDATES_WITHIN).await.unwrap();
        let restarted = begun.elapsed();
        println!(
            "FIGURE page while {version} is installed: {}; before: {}",
            spread(&mut installing),
            spread(&mut idle)
        );
        let status = hub.until_updates("it stays", UPDATES_WITHIN, |status| stays(status, version));
        let status = status.await.unwrap();
        assert_eq!((&status["slot"], &status["failed"]), (&json!(slot), &json!([])), "{status}");
        println!(
            "FIGURE update to {version}: {} KiB fetched of {} MiB, {:.0} s until the restart, {:.0} s until it stays",
            (repository.carried() - carried) >> 10,
            repository.bundle(version).unwrap() >> 20,
            restarted.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        let state = in_force(&card);
        assert_eq!((state.default.letter(), state.trial), (slot, None), "the boot state is another");
        for (id, title) in &kept {
            assert!(hub.has_notice(id, title).await.unwrap(), "{title}: gone");
        }
    }
    let page = hub.text("/settings/updates").await.unwrap();
    assert!(page.contains(&versions[2]), "the page does not say its version");
    assert_eq!(unexplained(&machine.serial(), &[]), Vec::<String>::new());

    // Settled: one more start writes nothing to the boot state.
    let before = [card.read(FIRST, 512).unwrap(), card.read(SECOND, 512).unwrap()];
    drop(machine);
    let mut machine = card.start("update-settled").unwrap();
    machine.until_healthy().await.unwrap();
    assert!(machine.serial().contains("cairn: slot=a trial=0 copies=11"), "another slot");
    assert_eq!(before, [card.read(FIRST, 512).unwrap(), card.read(SECOND, 512).unwrap()]);
}
