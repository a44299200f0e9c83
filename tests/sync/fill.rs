//! A new hub is filled by one stream that goes on where it broke (S7).

use std::time::Duration;

use cairn_store::{ListQuery, Part, Viewer};
use cairn_sync::{BlobId, Fields, Kind};
use cairn_tests::{
    chaos::{cloud::Cloud, proxy::Weather},
    wait,
};
use futures::{StreamExt, stream};
use tempfile::TempDir;

use crate::files::enrolled;

const ALL: Viewer = Viewer::system(Part::Console);
/// Generous: the machine may be busy.
const WITHIN: Duration = Duration::from_secs(240);
/// More than two replies can hold.
const NOTICES: u64 = 2_200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_hub_is_filled_by_one_stream_that_goes_on_where_it_broke() {
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let (calm, weather) = (Weather::new(1), Weather::new(2));
    let cloud = Cloud::start(folder.path(), 1, &calm).await.unwrap();
    let (_whole, port) = cloud.plain(&calm).await.unwrap();
    let one = enrolled(&cloud, &format!("http://127.0.0.1:{port}")).await;
    stream::iter(0..NOTICES)
        .for_each_concurrent(64, |number| {
            let store = one.store.clone();
            async move {
                // Words that cannot be made much shorter: a page of them is longer than what a connection carries once more.
                let words: String = (0..16_u64)
                    .map(|word| BlobId::of(&(number * 16 + word).to_le_bytes()).to_string())
                    .collect();
                let fields = Fields::from([
                    ("title".to_owned(), format!("Notice {number}").into()),
                    ("level".to_owned(), "info".into()),
                    ("body".to_owned(), words.into()),
                ]);
                store.create(&ALL, Kind::Notice, None, fields, None).await.unwrap();
            }
        })
        .await;
    one.sync.now();
    wait::until("the gateway has everything", WITHIN, async || {
        (one.store.sync_figures().await.ok()?.queue == 0).then_some(())
    })
    .await
    .unwrap();

    let log = one.store.sync_log(50).await.unwrap();
    let streams = log.iter().filter(|entry| entry.note.contains("in one stream"));
    assert_eq!(streams.count(), 0, "it has only brought, and was behind nobody: {log:?}");

    let (_breaks, port) = cloud.plain(&weather).await.unwrap();
    weather.ration(700_000, u64::MAX);
    let two = enrolled(&cloud, &format!("http://127.0.0.1:{port}")).await;
    let count = async || two.store.counts(&ALL).await.ok()?.get(&Kind::Notice).copied();
    wait::until("the new hub has everything", WITHIN, async || (count().await? == NOTICES).then_some(()))
        .await
        .unwrap();
    wait::until("both hold the same", WITHIN, async || {
        let (here, there) = (one.store.sync_checksums().await.ok()?, two.store.sync_checksums().await.ok()?);
        (here == there && here.len() == 1).then_some(())
    })
    .await
    .unwrap();
    let page = two.store.list(&ALL, ListQuery::of(Kind::Notice).limit(1)).await.unwrap();
    assert!(page.items.iter().all(|notice| notice.text("body").len() == 1_024));

    // Written when the round has ended, which is after what it brought can be read.
    let log = wait::until("the round is in the log", WITHIN, async || {
        let log = two.store.sync_log(50).await.ok()?;
        log.iter().any(|entry| entry.note.contains("in one stream")).then_some(log)
    })
    .await
    .unwrap();
    let filled: Vec<_> = log.iter().filter(|entry| entry.note.contains("in one stream")).collect();
    assert_eq!(filled.len(), 1, "{log:?}");
    assert!(filled.iter().all(|entry| entry.worked && entry.note.contains("went on")), "{log:?}");
    assert!(log.iter().all(|entry| !entry.note.contains("add up")), "{log:?}");
    // One round, its stream, and what it takes to see that there is no more.
    assert!(log.len() <= 4, "{log:?}");
}
