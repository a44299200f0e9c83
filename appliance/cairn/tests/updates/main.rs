//! A whole life of updates, with real processes: maintainers publish with `cairn-publish`, a hub whose card is a few files finds, fetches,
//! writes, checks, flips, restarts, proves itself and stays; an unfit version leads back to the old one; a hub without the internet is
//! updated by an upload, a stick and another hub. The boot loader is played by its model in `cairn-slots`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::type_complexity,
    reason = "a test program: what is wrong must stop it"
)]

mod device;
mod packs;
#[path = "../running/mod.rs"]
mod running;

use std::{fs, path::PathBuf, process::Command, sync::atomic::Ordering::SeqCst};

use cairn_slots::SlotId;
use device::{BOARD, CHANGED, Machine, NOWHERE, RESTART, Workshop, ask, run, until_status, wishes};
use running::{cairn, folder, gateway::Gateway, path_in, until};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_updated_proves_itself_and_goes_back_from_what_is_unfit() {
    let gateway = Gateway::start();
    let workshop = Workshop::new().await;
    workshop.publish("1.0.0", "127.0.0.1:0");
    let machine = Machine::new(&workshop, "1.0.0");
    let url = Some(workshop.url.as_str());
    let (boot, hub) = machine.start(folder(), url, None).await;
    assert_eq!((boot.slot, boot.trial), (SlotId::A, false));
    let keeper = hub.claim().await;
    ask(&keeper, wishes(false)).await;
    let status = until_status(&keeper, "it has looked", |status| status["looked_s"].is_u64()).await;
    assert_eq!((&status["phase"], &status["running"]), (&json!("current"), &json!("1.0.0")), "{status}");
    let notice = keeper.notice("before the update").await.unwrap();
    hub.told(&["enrol", &gateway.url, &gateway.token, "--plain-loopback"]).await;

    // A new version is found and fetched; the power goes in the middle.
    workshop.publish("1.1.0", "127.0.0.1:0");
    let changed = CHANGED.len() as u64;
    let begun = workshop.wire.carried.load(SeqCst);
    workshop.wire.most.store(begun + changed / 2, SeqCst);
    ask(&keeper, json!("look")).await;
    until("half of it has come", async || workshop.wire.cut.load(SeqCst).then_some(())).await;
    hub.kill();
    let (_, data) = hub.ended().await;
    let before_cut = workshop.wire.carried.load(SeqCst) - begun;
    workshop.wire.most.store(u64::MAX, SeqCst);
    workshop.wire.cut.store(false, SeqCst);

    // It goes on from what is in the slot, and nobody restarts it by themselves.
    let (boot, hub) = machine.start(data, url, None).await;
    assert_eq!((boot.slot, boot.trial), (SlotId::A, false));
    let keeper = hub.sign_in().await;
    let status =
        until_status(&keeper, "it is written and checked", |status| status["phase"] == "ready").await;
    assert_eq!(status["next"], "1.1.0", "{status}");
    let carried = workshop.wire.carried.load(SeqCst) - begun;
    let (full, share) = (workshop.bundle("1.1.0"), changed * 115 / 100 + (160 << 10));
    println!(
        "bundle {full} bytes, changed {changed}; carried {carried}, of these before the cut {before_cut}"
    );
    assert!(full > 8_000_000 && carried < share, "{carried} bytes were fetched, at most {share} expected");
    assert!(machine.holds("b", "1.1.0", "127.0.0.1:0"));
    let page = keeper.get("/settings/updates").await.text().await.unwrap();
    assert!(page.contains("1.1.0") && page.contains("What is new in 1.1.0"), "{page}");

    // "Install now" restarts; the new system is tried, proves itself and stays.
    ask(&keeper, json!("now")).await;
    let (ended, data) = hub.ended().await;
    assert_eq!(ended.code(), Some(RESTART));
    let (boot, hub) = machine.start(data, url, None).await;
    assert_eq!((boot.slot, boot.trial), (SlotId::B, true));
    let keeper = hub.sign_in().await;
    let status = until_status(&keeper, "it stays", |status| status["confirmed"] == "1.1.0").await;
    assert_eq!((&status["slot"], &status["came_back"]), (&json!("b"), &json!(false)), "{status}");
    let health: Value = keeper.get("/api/health-check").await.json().await.unwrap();
    assert_eq!(health["updates"], "current", "{health}");
    let proved = json!({ "board": BOARD, "version": "1.1.0", "healthy": 1, "failed": 0 });
    until("the gateway hears that it stays", async || (gateway.updates() == json!([proved])).then_some(()))
        .await;
    let metrics = keeper.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("cairn_update_running{version=\"1.1.0\"} 1"), "{metrics}");
    assert_eq!(keeper.get(&format!("/api/v1/records/notice/{notice}")).await.status(), 200);

    // An unfit version, brought by an upload: it cannot serve its page.
    let photo = keeper.put("/api/v1/updates/files/photo.jpg", b"no part of a repository".to_vec()).await;
    assert_eq!(photo.status(), 422);
    workshop.publish("1.2.0", NOWHERE);
    for part in ["metadata", "targets"] {
        for file in fs::read_dir(workshop.repository().join(part)).unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            if part == "metadata" || name.contains("1.2.0") {
                let path = format!("/api/v1/updates/files/{name}");
                let sent = keeper.put(&path, fs::read(file.path()).unwrap()).await;
                assert_eq!(sent.status(), 204, "{name}");
            }
        }
    }
    ask(&keeper, json!("look_at_upload")).await;
    let status =
        until_status(&keeper, "the upload is believed", |status| status["offer"]["version"] == "1.2.0").await;
    assert_eq!((&status["offer"]["by_hand"], &status["unproven"]), (&json!(true), &json!(true)), "{status}");
    ask(&keeper, json!("now")).await;
    let (ended, data) = hub.ended().await;
    assert_eq!(ended.code(), Some(RESTART));
    let (boot, listen) = machine.boot();
    assert_eq!((boot.slot, boot.trial, listen.as_str()), (SlotId::A, true, NOWHERE));
    let mut unfit = cairn(&["run", "--listen", &listen, "--no-mdns"])
        .args(machine.words(url, None))
        .arg("--data")
        .arg(data.path())
        .spawn()
        .unwrap();
    let ended = until("it gives up", async || unfit.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(RESTART), "the supervisor itself gives the hub back");

    // The old one is back, says why, here and to the gateway, and does not try it again before somebody says so.
    let (boot, hub) = machine.start(data, url, None).await;
    assert_eq!((boot.slot, boot.trial), (SlotId::B, false));
    let keeper = hub.sign_in().await;
    let went_back = json!({ "board": BOARD, "version": "1.2.0", "healthy": 0, "failed": 1 });
    let both = json!([proved, went_back]);
    until("the gateway hears that it went back", async || (gateway.updates() == both).then_some(())).await;
    ask(&keeper, json!("look")).await;
    let status = until_status(&keeper, "it knows what failed", |status| {
        status["came_back"] == true && status["offer"]["failed_before"] == true
    });
    let status = status.await;
    assert_eq!((&status["phase"], &status["next"]), (&json!("current"), &Value::Null), "{status}");
    assert_eq!(status["failed"][0]["version"], "1.2.0");
    let reason = status["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("hub failed") && status["failed"][0]["part"] == "supervisor", "{status}");
    let page = keeper.get("/settings/updates").await.text().await.unwrap();
    assert!(page.contains("hub failed") && page.contains("Try 1.2.0 again"), "{page}");
    assert_eq!(keeper.get(&format!("/api/v1/records/notice/{notice}")).await.status(), 200);
    ask(&keeper, json!({ "try_again": "1.2.0" })).await;
    let again = until_status(&keeper, "it is ready once more", |status| status["phase"] == "ready").await;
    assert_eq!(again["failed"], json!([]), "{again}");

    // It passes on what it has verified; a hub without the internet takes it from there, and another from a stick.
    ask(&keeper, wishes(true)).await;
    until_status(&keeper, "the copy is made", |status| status["sharing"] == "ready").await;
    let stick = folder();
    fs::create_dir_all(stick.path().join("sda1")).unwrap();
    run(Command::new("cp").arg("-r").arg(workshop.repository()).arg(stick.path().join("sda1/cairn")));
    // Each as `--stick` names it: nothing; where sticks appear; one of them.
    let (stick_alone, in_its_place) = (stick.path().join("sda1/cairn"), stick.path().to_owned());
    let at_hub = json!({ "look_at_hub": hub.address().unwrap() });
    for (way, place) in [(Some(at_hub), None), (None, Some(&in_its_place)), (None, Some(&stick_alone))] {
        let other = Machine::new(&workshop, "1.0.0");
        let (_, second) = other.start(folder(), None, place.map(PathBuf::as_path)).await;
        let keeper = second.claim().await;
        if let Some(way) = &way {
            ask(&keeper, way.clone()).await;
        }
        let status =
            until_status(&keeper, "it is offered", |status| status["offer"]["version"] == "1.2.0").await;
        assert_eq!((&status["network"], &status["trouble"]), (&json!(false), &Value::Null), "{status}");
        // Whoever brings it does not install it: a keeper does.
        assert_eq!((&status["offer"]["by_hand"], &status["phase"]), (&json!(true), &json!("offered")));
        assert_eq!(status["stick"], json!(place.is_some()), "{status}");
        if place == Some(&in_its_place) {
            let (away, sda1) = (folder(), stick.path().join("sda1"));
            let pulled = away.path().join("sda1");
            fs::rename(&sda1, &pulled).unwrap();
            let gone = |status: &Value| status["offer"].is_null() && status["stick"] == false;
            until_status(&keeper, "the stick is out", gone).await;
            fs::rename(&pulled, &sda1).unwrap();
            let back = |status: &Value| status["offer"]["version"] == "1.2.0" && status["stick"] == true;
            until_status(&keeper, "the stick is in again", back).await;
        }
        ask(&keeper, json!("now")).await;
        let (ended, _) = second.ended().await;
        assert_eq!(ended.code(), Some(RESTART), "{way:?}");
        assert!(other.holds("b", "1.2.0", NOWHERE) && other.boot().0.trial, "{way:?}");
    }

    // Too many hubs have failed: the version is withdrawn, and a hub that was about to try it leaves it alone.
    let reports = path_in(workshop.folder.path(), "reports.json");
    fs::write(&reports.0, gateway.updates().to_string()).unwrap();
    run(Workshop::command(workshop.folder.path()).args([
        "watch",
        "--reports",
        &reports.1,
        "--at-least",
        "1",
        "--key",
        "release-1",
    ]));
    ask(&keeper, json!("look")).await;
    let status = until_status(&keeper, "it is withdrawn", |status| {
        status["next"].is_null() && status["offer"].is_null()
    });
    let status = status.await;
    assert_eq!((&status["phase"], &status["trouble"]), (&json!("current"), &Value::Null), "{status}");
    hub.terminate();
    hub.ended().await;
    let (boot, _) = machine.boot();
    assert_eq!((boot.slot, boot.trial), (SlotId::B, false), "the next start is none of a trial");
}
