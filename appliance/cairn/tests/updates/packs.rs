//! Models and packs for the library from the same repository, as the keeper chooses them: fetched in the background, gone on with after a power
//! cut, replaced by newer revisions, and the one before kept where the newer one is of no use.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    sync::atomic::Ordering::SeqCst,
};

use cairn_inference::{
    Family,
    gguf::TensorType,
    synthetic::{self, Shape},
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    device::{Machine, Workshop, ask, run, until_status, wishes},
    running::{Keeper, folder, until},
};

impl Workshop {
    fn add(&self, command: &str, name: &str, file: &str, bytes: &[u8]) {
        let path = self.folder.path().join(file);
        fs::write(&path, bytes).unwrap();
        run(Self::command(self.folder.path()).arg(command).arg(&path).args(["--name", name]));
        run(Self::command(self.folder.path()).args(["sign", "--key", "release-1"]));
    }
}

fn model(seed: u64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    synthetic::write_random(&path, &Shape::small(Family::Llama), TensorType::Q8_0, seed).unwrap();
    fs::read(path).unwrap()
}

/// Before the hub has looked.
static NOTHING: Value = Value::Null;

fn pack<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["packs"].as_array().unwrap().iter().find(|pack| pack["pack"]["name"] == name).unwrap_or(&NOTHING)
}

async fn installed(keeper: &Keeper, name: &str, revision: u64) -> Value {
    let what = format!("{name} {revision} is in place");
    until_status(keeper, &what, |status| pack(status, name)["installed"] == revision).await
}

/// Looks for a new revision, which is of no use.
async fn refused(keeper: &Keeper, name: &str, revision: u64) -> Value {
    ask(keeper, json!("look")).await;
    let what = format!("{name} {revision} is refused");
    let known = |status: &Value| {
        let pack = pack(status, name);
        pack["revision"] == revision && pack["trouble"].is_string() && pack["coming"].is_null()
    };
    let status = until_status(keeper, &what, known).await;
    assert_eq!(pack(&status, name)["installed"], revision - 1, "{status}");
    status
}

async fn models(keeper: &Keeper) -> Value {
    until("the model process answers", async || {
        let answer = keeper.get("/api/v1/models").await;
        if answer.status() == 200 { answer.json().await.ok() } else { None }
    })
    .await
}

async fn found(keeper: &Keeper, words: &str) -> String {
    keeper.get(&format!("/api/v1/search?q={words}")).await.text().await.unwrap()
}

async fn until_found(keeper: &Keeper, words: &str, passage: &str) {
    until(passage, async || found(keeper, words).await.contains(passage).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_and_packs_come_when_they_are_chosen_and_the_old_one_stays_until_the_new_one_works() {
    let workshop = Workshop::new().await;
    let machine = Machine::new(&workshop, "1.0.0");
    let url = Some(workshop.url.as_str());
    let first = model(1);
    workshop.add("add-model", "helper", "helper.gguf", &first);
    workshop.add("add-content", "wells", "wells.md", b"# Wells\n\nChlorine tablets clean a flooded well.\n");
    let (_, hub) = machine.start(folder(), url, None).await;
    let keeper = hub.claim().await;
    ask(&keeper, wishes(false)).await;
    let status =
        until_status(&keeper, "both are offered", |status| status["packs"].as_array().unwrap().len() == 2);
    let status = status.await;
    assert!(status["packs"].as_array().unwrap().iter().all(|pack| pack["chosen"] == false), "{status}");
    let page = keeper.get("/settings/updates").await.text().await.unwrap();
    assert!(page.contains("helper") && page.contains("wells"), "{page}");

    // A pack for the library is found by its words.
    let choose = |kind: &str, name: &str| json!({ "choose": { "kind": kind, "name": name } });
    let unknown = keeper.post("/api/v1/updates", &json!({ "ask": choose("model", "nobody") })).await;
    assert_eq!(unknown.status(), 422);
    ask(&keeper, choose("content", "wells")).await;
    installed(&keeper, "wells", 1).await;
    until_found(&keeper, "flooded+well", "Chlorine tablets").await;

    // The power goes in the middle of a model; it goes on from there.
    let begun = workshop.wire.carried.load(SeqCst);
    workshop.wire.most.store(begun + first.len() as u64 / 2, SeqCst);
    ask(&keeper, choose("model", "helper")).await;
    until("half of it has come", async || workshop.wire.cut.load(SeqCst).then_some(())).await;
    hub.kill();
    let (_, data) = hub.ended().await;
    workshop.wire.most.store(u64::MAX, SeqCst);
    workshop.wire.cut.store(false, SeqCst);
    let (_, hub) = machine.start(data, url, None).await;
    let keeper = hub.sign_in().await;
    installed(&keeper, "helper", 1).await;
    let carried = workshop.wire.carried.load(SeqCst) - begun;
    let most = first.len() as u64 * 110 / 100 + (200 << 10);
    println!("a model of {} bytes, {carried} carried", first.len());
    assert!(carried < most, "{carried} bytes were fetched of {}", first.len());
    let place = hub.folder.path().join("models/helper.gguf");
    assert!(fs::read(&place).unwrap() == first);
    assert_eq!(keeper.post("/api/v1/models/helper/load", &Value::Null).await.status(), 204);

    // A newer revision of each takes the place of the first.
    let second = model(2);
    workshop.add("add-model", "helper", "helper.gguf", &second);
    workshop.add("add-content", "wells", "wells.md", b"# Wells\n\nBoil what comes from a flooded well.\n");
    ask(&keeper, json!("look")).await;
    installed(&keeper, "helper", 2).await;
    installed(&keeper, "wells", 2).await;
    assert!(fs::read(&place).unwrap() == second);
    let loaded = models(&keeper).await;
    assert_eq!((&loaded[0]["name"], &loaded[0]["state"]), (&json!("helper"), &json!("loaded")), "{loaded}");
    until_found(&keeper, "flooded+well", "Boil what comes").await;
    assert!(!found(&keeper, "flooded+well").await.contains("Chlorine"));
    let resting = || -> Vec<PathBuf> {
        let folders = ["models/incoming", "hub/updates/packs"];
        let files = folders.iter().flat_map(|name| fs::read_dir(hub.folder.path().join(name)).unwrap());
        files.flatten().map(|file| file.path()).collect()
    };
    assert_eq!(resting(), Vec::<PathBuf>::new(), "nothing is left of the old ones");

    // One that does not load, although its header is whole, and one that cannot be read: what was there stays, and works.
    let mut broken = model(3);
    let name = b"blk.1.attn_q.weight";
    let at = broken.windows(name.len()).position(|window| window == name).unwrap();
    broken[at + 6] = b'x';
    workshop.add("add-model", "helper", "helper.gguf", &broken);
    let status = refused(&keeper, "helper", 3).await;
    println!("{}", pack(&status, "helper")["trouble"]);
    assert!(fs::read(&place).unwrap() == second);
    let loaded = models(&keeper).await;
    assert_eq!((&loaded[0]["name"], &loaded[0]["state"]), (&json!("helper"), &json!("loaded")), "{loaded}");
    workshop.add("add-content", "wells", "wells.pdf", b"%PDF-1.7\nthis is no PDF at all");
    refused(&keeper, "wells", 3).await;
    until_found(&keeper, "flooded+well", "Boil what comes").await;
    assert_eq!(resting(), Vec::<PathBuf>::new());

    // Left alone, it is not followed any more, and stays.
    ask(&keeper, json!({ "leave": { "kind": "content", "name": "wells" } })).await;
    until_status(&keeper, "it is left alone", |status| pack(status, "wells")["chosen"] == false).await;
    assert!(found(&keeper, "flooded+well").await.contains("Boil what comes"));

    // A model that has not been here before and does not load: refused with the reason, and not offered to anybody.
    workshop.add("add-model", "stranger", "stranger.gguf", &broken);
    ask(&keeper, json!("look")).await;
    until_status(&keeper, "it is offered", |status| pack(status, "stranger")["revision"] == 1).await;
    ask(&keeper, choose("model", "stranger")).await;
    let known = |status: &Value| pack(status, "stranger")["trouble"].is_string();
    let status = until_status(&keeper, "it is refused", known).await;
    let (why, stranger) = (pack(&status, "stranger")["trouble"].as_str().unwrap(), "models/stranger.gguf");
    println!("{why}");
    assert!(why.contains("blk.1.attn_") && pack(&status, "stranger")["installed"] == 0, "{status}");
    assert!(!hub.folder.path().join(stranger).exists());
    assert_eq!(models(&keeper).await.as_array().unwrap().len(), 1, "one model is offered");
    assert_eq!(resting(), Vec::<PathBuf>::new());

    // It passes on what is in place, a model and a pack: the next hub has them from there, and hears of the rest that it is not to be had.
    let fourth = model(4);
    workshop.add("add-model", "helper", "helper.gguf", &fourth);
    let tides = b"# Tides\n\nNobody crosses the ford while the tide comes in.\n";
    workshop.add("add-content", "tides", "tides.md", tides);
    ask(&keeper, json!("look")).await;
    installed(&keeper, "helper", 4).await;
    ask(&keeper, choose("content", "tides")).await;
    installed(&keeper, "tides", 1).await;
    ask(&keeper, wishes(true)).await;
    until_status(&keeper, "the copy is made", |status| status["sharing"] == "ready").await;
    let passed_on = fs::read_dir(hub.folder.path().join("hub/updates/mirror/targets")).unwrap();
    let passed_on: Vec<PathBuf> = passed_on.flatten().map(|file| file.path()).collect();
    assert_eq!(passed_on.len(), 2, "{passed_on:?}");
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert!(passed_on.iter().any(|path| inode(path) == inode(&place)), "the model takes room of its own");
    let next = Machine::new(&workshop, "1.0.0");
    let (_, other) = next.start(folder(), None, None).await;
    let others = other.claim().await;
    let carried = workshop.wire.carried.load(SeqCst);
    ask(&others, json!({ "look_at_hub": hub.address().unwrap() })).await;
    until_status(&others, "packs are offered", |status| pack(status, "helper")["revision"] == 4).await;
    ask(&others, choose("model", "stranger")).await;
    let status = until_status(&others, "it is not to be had there", known).await;
    println!("{}", pack(&status, "stranger")["trouble"]);
    ask(&others, json!({ "leave": { "kind": "model", "name": "stranger" } })).await;
    ask(&others, choose("model", "helper")).await;
    installed(&others, "helper", 4).await;
    assert!(fs::read(other.folder.path().join("models/helper.gguf")).unwrap() == fourth);
    ask(&others, choose("content", "tides")).await;
    installed(&others, "tides", 1).await;
    until_found(&others, "cross+ford", "while the tide comes in").await;
    assert_eq!(workshop.wire.carried.load(SeqCst), carried, "something came from the repository");
    assert_eq!(others.post("/api/v1/models/helper/load", &Value::Null).await.status(), 204);
    other.terminate();
    other.ended().await;

    // The power goes between the exchange of two models and loading: first of one that loads, then of one that does not. There is no
    // repository when the hub is back.
    hub.kill();
    let (_, mut data) = hub.ended().await;
    let offline = Some(NOWHERE_AT_ALL);
    for (revision, bytes, stays) in [(5, model(5), true), (6, broken, false)] {
        let place = data.path().join("models/helper.gguf");
        let before = fs::read(&place).unwrap();
        let owner = fs::metadata(&place).unwrap();
        for (name, bytes) in [
            (format!("models/incoming/pack-{revision}-helper.gguf"), &before),
            ("models/helper.gguf".to_owned(), &bytes),
            (
                "hub/updates/pack-begun.json".to_owned(),
                &on_its_way(revision, &bytes).to_string().into_bytes(),
            ),
        ] {
            let path = data.path().join(name);
            fs::write(&path, bytes).unwrap();
            chown(path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        let (_, hub) = machine.start(data, offline, None).await;
        let keeper = hub.sign_in().await;
        let incoming = hub.folder.path().join("models/incoming");
        until("it is settled", async || {
            (!hub.folder.path().join("hub/updates/pack-begun.json").exists()).then_some(())
        })
        .await;
        assert_eq!(fs::read_dir(&incoming).unwrap().count(), 0);
        assert!(
            fs::read(&place).unwrap() == if stays { bytes } else { before },
            "another model than expected"
        );
        let answer = keeper.post("/api/v1/models/helper/load", &Value::Null).await;
        let (status, said) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 204, "after revision {revision} a model that works is in place: {said}");
        hub.kill();
        data = hub.ended().await.1;
    }
}

/// A repository that is not there.
const NOWHERE_AT_ALL: &str = "http://127.0.0.1:1";

/// What a hub writes down when the way of the model `helper` begins.
fn on_its_way(revision: u64, bytes: &[u8]) -> Value {
    let sha256: [u8; 32] = Sha256::digest(bytes).into();
    json!({ "model": true, "name": "helper", "revision": revision, "title": "", "memory": 0, "ending": "gguf",
        "target": "targets/helper.gguf", "length": bytes.len(), "sha256": sha256 })
}
