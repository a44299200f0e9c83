//! A rollout stops when its hubs fail: hubs keep what became of an update until the gateway has heard it, the gateway counts, and the
//! maintainers' tool withdraws the version, as it would from cron. Hub's client and store, gateway, PostgreSQL and tool are the real ones;
//! how a trial ends is decided by the record's own rules.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use cairn_slots::{
    SlotId,
    boot_control::Outcome,
    health::{Failure, Probe},
    record::{Record, Release},
};
use cairn_store::{OpenOptions, Store};
use cairn_tests::{
    chaos::{cloud::Cloud, proxy::Weather},
    environment, wait,
};
use cairn_uplink::{
    sync::{About, Running, Sync, Tempo, Transport},
    updates::outcomes::Outcomes,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Generous: the machine may be busy.
const WITHIN: Duration = Duration::from_secs(240);
const BOARD: &str = "rpi4";

/// A hub as far as the gateway knows it.
struct Hub {
    sync: Sync,
    outcomes: Arc<Outcomes>,
    running: Running,
    folder: TempDir,
}

impl Hub {
    async fn open(folder: TempDir) -> Self {
        let store = wait::until("the store opens", WITHIN, async || {
            let options = OpenOptions { upkeep: false, ..OpenOptions::default() };
            Store::open(folder.path(), options).ok().map(|(store, _)| store)
        });
        let store = store.await.unwrap();
        let outcomes = Arc::new(Outcomes::open(&Self::updates(&folder)));
        let about = About {
            version: "1.0.0".to_owned(),
            board: BOARD.to_owned(),
            free_bytes: Arc::new(|| Some(12_345_000_000)),
            outcomes: Some(Arc::clone(&outcomes)),
        };
        let (sync, running) =
            Sync::start_with(store, "a hub".to_owned(), None, about, Tempo::default()).await.unwrap();
        Self { sync, outcomes, running, folder }
    }

    fn updates(folder: &TempDir) -> PathBuf {
        folder.path().join("updates")
    }

    /// As after a restart.
    async fn again(self) -> Self {
        let Self { sync, outcomes, running, folder } = self;
        drop((running, sync, outcomes));
        Self::open(folder).await
    }

    async fn enrol(&self, cloud: &Cloud, url: &str) {
        self.sync.enrol(&cloud.token().await.unwrap(), url, Transport::PlainLoopback, "a hub").await.unwrap();
    }

    async fn heard(&self) {
        self.sync.has_news();
        wait::until("the gateway has heard it", WITHIN, async || {
            self.outcomes.waiting().is_empty().then_some(())
        })
        .await
        .unwrap();
    }
}

/// A hub's record after it tried 1.1.0.
fn tried(fit: bool) -> Record {
    let release =
        Release { version: "1.1.0".parse().unwrap(), manifest: cairn_bundle::Digest::of(b"manifest") };
    let record = Record::default().with_attempt(release, SlotId::B);
    if fit {
        return record.confirmed();
    }
    let failure = Failure { probe: Some(Probe::Page), reason: "the health check does not answer".to_owned() };
    record.failing(failure).at_start(Outcome::CameBack { from: SlotId::B }, SlotId::A).0
}

/// Runs the maintainers' tool and gives what it says to scripts.
fn publish(workshop: &Path, words: &[&str]) -> Value {
    let output = Command::new(environment::publish().unwrap())
        .args(["--json", "--folder"])
        .arg(workshop)
        .args(words)
        .env("CAIRN_PUBLISH_PASSPHRASE", "correct horse battery")
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn version<'a>(command: &'a str, version: &'a str) -> [&'a str; 5] {
    [command, "--board", BOARD, "--version", version]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_whose_hubs_fail_is_withdrawn() {
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let calm = Weather::new(1);
    let cloud = Cloud::start(folder.path(), 1, &calm).await.unwrap();
    let (_whole, port) = cloud.plain(&calm).await.unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let shop = TempDir::new().unwrap();
    let tool = |words: &[&str]| publish(shop.path(), words);
    tool(&["init", "--work", "1"]);
    for (name, size) in [("boot.img", 100_000_u32), ("root.img", 400_000)] {
        let bytes: Vec<u8> = (0..size).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect();
        fs::write(shop.path().join(name), bytes).unwrap();
    }
    let image = |name: &str| shop.path().join(name).to_str().unwrap().to_owned();
    let images = ["--boot".to_owned(), image("boot.img"), "--root".to_owned(), image("root.img")];
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    tool(&[&version("add-system", "1.1.0"), images.as_slice()].concat());
    tool(&[version("rollout", "1.1.0").as_slice(), &["--over-hours", "100"]].concat());
    tool(&["sign", "--key", "release-1"]);
    // The next version lies there, and nobody has signed it.
    tool(&[&version("add-system", "1.2.0"), images.as_slice()].concat());
    tool(&[version("rollout", "1.2.0").as_slice(), &["--over-hours", "0"]].concat());
    let wants = || {
        let words = ["verify", "--board", BOARD, "--installed", "1.0.0", "--in-hours", "200"];
        tool(&words)["data"].clone()
    };
    assert_eq!(wants(), json!({ "decision": "Install", "version": "1.1.0" }));

    // One hub goes back before there is a gateway, and is restarted; another one after it was enrolled.
    let one = Hub::open(TempDir::new().unwrap()).await;
    one.outcomes.take_over(&tried(false), 1);
    let one = one.again().await;
    let told = fs::read(Hub::updates(&one.folder).join("outcomes.json")).unwrap();
    one.enrol(&cloud, &url).await;
    let two = Hub::open(TempDir::new().unwrap()).await;
    two.enrol(&cloud, &url).await;
    one.heard().await;
    two.outcomes.take_over(&tried(false), 2);
    two.heard().await;
    let line = |healthy, failed| json!([{ "board": BOARD, "version": "1.1.0", "healthy": healthy, "failed": failed }]);
    let heard = async || serde_json::from_str::<Value>(&cloud.updates().await.unwrap()).unwrap();
    assert_eq!(heard().await, line(0, 2));
    let reports = shop.path().join("reports.json");
    let reports_name = reports.to_str().unwrap().to_owned();
    let watch = async || {
        // A hub can say what it likes.
        let mut lines = heard().await;
        lines.as_array_mut().unwrap().push(json!({ "board": "a board!", "version": "one", "failed": -1 }));
        fs::write(&reports, lines.to_string()).unwrap();
        tool(&["watch", "--reports", &reports_name, "--key", "release-1"])["data"]["halted"].clone()
    };
    assert_eq!(watch().await, json!([]), "two hubs say nothing yet");

    // What was heard without the hub hearing so is told again, and counts once.
    let lost = Hub::updates(&one.folder).join("outcomes.json");
    let Hub { sync, outcomes, running, folder: kept } = one;
    drop((running, sync, outcomes));
    fs::write(&lost, told).unwrap();
    let one = Hub::open(kept).await;
    assert_eq!(one.outcomes.waiting().len(), 1);
    one.heard().await;
    assert_eq!(heard().await, line(0, 2));
    let rows = cloud
        .query("SELECT board, software, free_bytes, updates::json->0->>'note' FROM cairn.hub_status")
        .await
        .unwrap();
    let row = format!("{BOARD}|1.0.0|12345000000|page: the health check does not answer");
    assert_eq!(rows, [row.clone(), row]);

    // The third report passes the threshold: what is published is withdrawn, and what waits goes on waiting.
    let three = Hub::open(TempDir::new().unwrap()).await;
    three.enrol(&cloud, &url).await;
    three.outcomes.take_over(&tried(true), 3);
    three.heard().await;
    assert_eq!(heard().await, line(1, 2));
    assert_eq!(watch().await, json!([format!("system-{BOARD}-1.1.0.cairn")]));
    assert_eq!(wants(), json!({ "decision": "nothing" }));
    assert_eq!(watch().await, json!([]), "once is enough");
    let status = tool(&["status", "--reports", &reports_name]);
    assert_eq!(status["data"]["waiting"], true, "{status}");
    let system = &status["data"]["systems"][0];
    assert_eq!(
        (&system["state"], &system["hubs"]),
        (&json!("withdrawn, or not started"), &json!({ "healthy": 1, "failed": 2 })),
        "{status}"
    );
    tool(&["sign", "--key", "release-1"]);
    assert_eq!(wants(), json!({ "decision": "Install", "version": "1.2.0" }), "what waited was not lost");
    let status = tool(&["status"]);
    assert_eq!(status["data"]["systems"][0]["state"], "withdrawn, or not started", "{status}");
}
