//! The hub's own client and store against a real gateway: a document's file reaches another hub, although the connection breaks, and
//! the gateway hears how hubs are.

use std::{io::Read, time::Duration};

use cairn_store::{OpenOptions, Part, Store, Viewer};
use cairn_sync::{Fields, Kind};
use cairn_tests::{
    chaos::{cloud::Cloud, proxy::Weather},
    wait,
};
use cairn_uplink::sync::{Running, Sync, Transport};
use tempfile::TempDir;

const ALL: Viewer = Viewer::system(Part::Console);
/// Generous: the machine may be busy, and broken connections wait.
const WITHIN: Duration = Duration::from_secs(240);

struct Hub {
    store: Store,
    sync: Sync,
    _running: Running,
    _folder: TempDir,
}

async fn enrolled(cloud: &Cloud, url: &str) -> Hub {
    let folder = TempDir::new().unwrap();
    let options = OpenOptions { upkeep: false, ..OpenOptions::default() };
    let (store, _) = Store::open(folder.path(), options).unwrap();
    let (sync, running) = Sync::start(store.clone(), "a hub".to_owned(), None).await.unwrap();
    sync.enrol(&cloud.token().await.unwrap(), url, Transport::PlainLoopback, "a hub").await.unwrap();
    Hub { store, sync, _running: running, _folder: folder }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_reaches_the_other_hub_and_the_gateway_hears_how_hubs_are() {
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let (calm, weather) = (Weather::new(1), Weather::new(3));
    let cloud = Cloud::start(folder.path(), 1, &calm).await.unwrap();
    let (_proxy, port) = cloud.plain(&weather).await.unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let (one, two) = (enrolled(&cloud, &url).await, enrolled(&cloud, &url).await);

    // Two pieces and a bit, of which none is like another.
    let content: Vec<u8> = (0..2_500_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = one.store.blob_writer(content.len() as u64).unwrap();
    writer.write(&content).unwrap();
    let blob = writer.finish().unwrap();
    let fields = Fields::from([
        ("title".to_owned(), "Wells".into()),
        ("file".to_owned(), blob.to_string().into()),
        ("file_name".to_owned(), "wells.txt".into()),
        ("media_type".to_owned(), "text/plain".into()),
        ("size".to_owned(), cairn_sync::Value::Int(content.len() as i64)),
    ]);
    weather.rage();
    let document = one.store.create(&ALL, Kind::Document, None, fields, None).await.unwrap().id;
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
        let (mut file, _) = two.store.open_file(&ALL, document).await.ok()?;
        let mut came = Vec::new();
        file.read_to_end(&mut came).ok()?;
        (came == content).then_some(())
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
