//! A board without a clock wakes in 1970 and finds a certificate that was renewed while it slept (A9): it learns the time from the
//! gateway's signed statement, and only then sends anything else. Whoever has no certificate of the right authority learns nothing.
//!
//! A process cannot have a clock of its own, so the hub's client runs in a child of this test, under `faketime`.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use cairn_store::{Fact, OpenOptions, Part, Store, Viewer};
use cairn_sync::{Fields, Kind};
use cairn_tests::{
    chaos::{
        cloud::{Cloud, authority},
        proxy::Weather,
    },
    wait,
};
use cairn_uplink::sync::{Sync, Transport};
use tempfile::TempDir;
use tokio::process::Command;

const ALL: Viewer = Viewer::system(Part::Console);
const WITHIN: Duration = Duration::from_secs(240);
const TEST: &str = "clock::a_hub_that_wakes_in_1970_learns_the_time_before_it_trusts_a_renewed_certificate";
/// Where the child's store lies.
const STORE: &str = "CAIRN_CLOCK_TEST_STORE";
/// The address and the token with which it enrols.
const ENROL: &str = "CAIRN_CLOCK_TEST_ENROL";
/// What it expects: `reached` or `refused`.
const EXPECTED: &str = "CAIRN_CLOCK_TEST_EXPECTED";
/// 2001.
const LONG_AFTER_1970: u64 = 1_000_000_000;

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Runs the hub's client in a child of its own; `clock` is how `faketime` says a time.
async fn child(store: &Path, trusted: &Path, clock: Option<&str>, enrol: &str, expected: &str) {
    let own = std::env::current_exe().unwrap();
    let mut words: Vec<&OsStr> = Vec::new();
    if let Some(clock) = clock {
        words.extend(["faketime", "-m", "--exclude-monotonic", "-f", clock].map(OsStr::new));
    }
    words.push(own.as_os_str());
    words.extend(["--exact", TEST, "--nocapture", "--test-threads=1"].map(OsStr::new));
    let (program, arguments) = words.split_first().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .env(STORE, store)
        .env(ENROL, enrol)
        .env(EXPECTED, expected)
        .env("SSL_CERT_FILE", trusted)
        .env("TZ", "UTC")
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{expected}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

/// What the child does: writes a notice and sees whether the gateway takes it.
async fn hub(store: PathBuf) {
    let expected = std::env::var(EXPECTED).unwrap();
    let options = OpenOptions { upkeep: false, ..OpenOptions::default() };
    let (store, _) = Store::open(&store, options).unwrap();
    let (sync, _running) = Sync::start(store.clone(), "a hub".to_owned(), None).await.unwrap();
    let woke_in_1970 = if let Some((url, token)) = std::env::var(ENROL).unwrap().split_once(' ') {
        sync.enrol(token, url, Transport::Https, "a hub").await.unwrap();
        false
    } else {
        assert!(unix_seconds() < LONG_AFTER_1970, "the clock is right");
        true
    };
    let fields = Fields::from([("title".to_owned(), "Water".into()), ("level".to_owned(), "info".into())]);
    store.create(&ALL, Kind::Notice, None, fields, None).await.unwrap();
    sync.now();
    let status = wait::until("a round has an end", WITHIN, async || {
        let status = sync.status();
        let queue = store.sync_figures().await.ok()?.queue;
        (if expected == "reached" { queue == 0 } else { status.trouble.is_some() }).then_some(status)
    })
    .await
    .unwrap();
    if expected == "reached" {
        assert!(sync.clock().is_stated());
        assert!(sync.clock().now_ms() / 1000 > LONG_AFTER_1970);
        assert_eq!(unix_seconds() < LONG_AFTER_1970, woke_in_1970, "the system's clock is as it was");
    } else {
        assert!(!sync.clock().is_stated(), "nothing is learnt from a stranger");
        assert_eq!(store.sync_figures().await.unwrap().queue, 1, "and nothing is lost");
        let trouble = status.trouble.unwrap();
        assert!(trouble.contains("certificate"), "{trouble}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_wakes_in_1970_learns_the_time_before_it_trusts_a_renewed_certificate() {
    if let Some(store) = std::env::var_os(STORE) {
        return hub(store.into()).await;
    }
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let mut cloud = Cloud::start(folder.path(), 1, &Weather::new(1)).await.unwrap();
    let store = TempDir::new().unwrap();
    let enrol = format!("{} {}", cloud.url(), cloud.token().await.unwrap());
    child(store.path(), &cloud.authority(), None, &enrol, "reached").await;
    let floor = {
        let (store, _) = Store::open(store.path(), OpenOptions::default()).unwrap();
        store.sync_fact::<i64>(Fact::TimeFloor).await.unwrap().unwrap()
    };
    let floor = u64::try_from(floor).unwrap() / 1000;
    assert!(floor > LONG_AFTER_1970, "the time was written down");

    // Dates of certificates are whole seconds: this one begins after everything that the hub knows.
    wait::until("the next second", WITHIN, async || (unix_seconds() > floor + 1).then_some(()))
        .await
        .unwrap();
    cloud.renew_certificate().await.unwrap();
    let strangers = TempDir::new().unwrap();
    authority(strangers.path()).await.unwrap();
    let (wake, nobody) = ("@1970-01-01 00:10:00", strangers.path().join("ca.pem"));
    child(store.path(), &nobody, Some(wake), "", "refused").await;
    child(store.path(), &cloud.authority(), Some(wake), "", "reached").await;
    let notices = "SELECT count(*) FROM cairn.record WHERE kind = 'notice'";
    assert_eq!(cloud.query(notices).await.unwrap(), ["3"]);
}
