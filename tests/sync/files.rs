//! The hub's own client and store against a real gateway: a document's file reaches another hub, a large one when somebody asks
//! for it, although the connection breaks; and the gateway hears how hubs are.

use std::{io::Read, time::Duration};

use cairn_store::{FileState, OpenOptions, Part, Store, Viewer};
use cairn_sync::{Fields, Kind, RecordId, session::Way};
use cairn_tests::{
    chaos::{cloud::Cloud, proxy::Weather},
    wait,
};
use cairn_uplink::sync::{Running, Sync, Transport, Ways};
use tempfile::TempDir;

const ALL: Viewer = Viewer::system(Part::Console);
/// Generous: the machine may be busy, and broken connections wait.
const WITHIN: Duration = Duration::from_secs(240);

/// A hub's client and store.
pub(crate) struct Hub {
    pub(crate) store: Store,
    pub(crate) sync: Sync,
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
        let (sync, running) = Sync::start(store.clone(), "a hub".to_owned(), None).await.unwrap();
        Self { store, sync, running, folder }
    }

    /// As after a restart.
    async fn again(self) -> Self {
        let Self { store, sync, running, folder } = self;
        drop((running, sync, store));
        Self::open(folder).await
    }

    /// Makes a document of a file.
    async fn document(&self, content: &[u8]) -> RecordId {
        let mut writer = self.store.blob_writer(content.len() as u64).unwrap();
        writer.write(content).unwrap();
        let blob = writer.finish().unwrap();
        let fields = Fields::from([
            ("title".to_owned(), "Wells".into()),
            ("file".to_owned(), blob.to_string().into()),
            ("file_name".to_owned(), "wells.txt".into()),
            ("media_type".to_owned(), "text/plain".into()),
            ("size".to_owned(), cairn_sync::Value::Int(content.len() as i64)),
        ]);
        self.store.create(&ALL, Kind::Document, None, fields, None).await.unwrap().id
    }

    /// A document's file, where it is here.
    async fn file(&self, document: RecordId) -> Option<Vec<u8>> {
        let (mut file, _) = self.store.open_file(&ALL, document).await.ok()?;
        let mut came = Vec::new();
        file.read_to_end(&mut came).ok()?;
        Some(came)
    }
}

/// A hub that is enrolled over this address.
pub(crate) async fn enrolled(cloud: &Cloud, url: &str) -> Hub {
    let hub = Hub::open(TempDir::new().unwrap()).await;
    hub.sync.enrol(&cloud.token().await.unwrap(), url, Transport::PlainLoopback, "a hub").await.unwrap();
    hub
}

/// Bytes of which no piece is like another.
fn content(bytes: u32) -> Vec<u8> {
    (0..bytes).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_reaches_the_other_hub_and_the_gateway_hears_how_hubs_are() {
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let (calm, weather) = (Weather::new(1), Weather::new(3));
    let cloud = Cloud::start(folder.path(), 1, &calm).await.unwrap();
    let (_proxy, port) = cloud.plain(&weather).await.unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let (one, two) = (enrolled(&cloud, &url).await, enrolled(&cloud, &url).await);

    // Two pieces and a bit.
    let content = content(2_500_000);
    weather.rage();
    let document = one.document(&content).await;
    let mut rounds = 0;
    wait::until("the file is on the other hub", WITHIN, async || {
        rounds += 1;
        if rounds % 20 == 0 {
            // Not to wait for the time between attempts.
            one.sync.now();
            two.sync.now();
        }
        if rounds == 200 {
            weather.calm();
        }
        (two.file(document).await? == content).then_some(())
    })
    .await
    .unwrap();
    weather.calm();
    wait::until("both hubs have reported", WITHIN, async || {
        let rows = cloud
            .query("SELECT count(*) FROM cairn.hub_status WHERE reported_ms IS NOT NULL AND software <> ''");
        (rows.await.ok()?.first()? == "2").then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_comes_when_somebody_asks_and_goes_on_after_cuts_and_a_restart() {
    const SIZE: u32 = 12_000_000;
    /// What a connection brings before it is cut.
    const EACH: u64 = 500_000;
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let (calm, weather) = (Weather::new(1), Weather::new(2));
    let cloud = Cloud::start(folder.path(), 1, &calm).await.unwrap();
    let (_whole, port) = cloud.plain(&calm).await.unwrap();
    let one = enrolled(&cloud, &format!("http://127.0.0.1:{port}")).await;
    let (breaks, port) = cloud.plain(&weather).await.unwrap();
    let two = enrolled(&cloud, &format!("http://127.0.0.1:{port}")).await;
    for hub in [&one, &two] {
        hub.sync.set_ways(Ways { way: Way::Live, ..Ways::default() }).await.unwrap();
    }
    let content = content(SIZE);
    let document = one.document(&content).await;
    let elsewhere = wait::until("the document is known on the other hub", WITHIN, async || {
        two.store.file_state(&ALL, document).await.ok()
    });
    let size = u64::from(SIZE);
    assert_eq!(elsewhere.await.unwrap(), FileState::Elsewhere { size, came: 0, wanted: false });
    // It has gone nowhere: nobody asked.
    wait::until("the first hub is at rest", WITHIN, async || {
        (one.sync.status().figures.queue == 0 && one.sync.status().live).then_some(())
    })
    .await
    .unwrap();
    let files = "SELECT count(*) FROM cairn.blob";
    assert_eq!(cloud.query(files).await.unwrap(), ["0"]);

    // A third of it gets through, by connections that are cut again and again.
    weather.ration(EACH, size / 3);
    breaks.sever();
    assert!(two.store.want_file(&Viewer::anonymous(), document).await.is_err(), "nobody asks without a name");
    two.store.want_file(&ALL, document).await.unwrap();
    two.sync.now();
    let came = wait::until("some of it has come", WITHIN, async || {
        match two.store.file_state(&ALL, document).await.ok()? {
            FileState::Elsewhere { came, wanted: true, .. } if came > EACH => Some(came),
            _ => None,
        }
    })
    .await
    .unwrap();
    let two = two.again().await;
    let FileState::Elsewhere { came: kept, wanted: true, .. } =
        two.store.file_state(&ALL, document).await.unwrap()
    else {
        panic!("a third of it cannot be all of it")
    };
    assert!(kept >= came, "{kept} after {came}");

    // The rest comes, and nothing of it twice.
    let before = weather.carried();
    weather.ration(EACH, u64::MAX);
    two.sync.now();
    wait::until("all of it has come", WITHIN, async || (two.file(document).await? == content).then_some(()))
        .await
        .unwrap();
    let carried = weather.carried() - before;
    assert!(carried < size, "{carried} bytes for the {} that were left: it began anew", size - kept);
    assert_eq!(two.store.file_state(&ALL, document).await.unwrap(), FileState::Here);
    assert_eq!(cloud.query("SELECT count(*) FROM cairn.blob_wanted").await.unwrap(), ["0"]);
}
