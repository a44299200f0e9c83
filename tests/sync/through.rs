//! A hub that is a cache in front of its gateway (S3, mode `cloud`): an answered write is at the gateway too, and where that cannot
//! be reached it waits here and nobody's page stands still.

use std::time::Duration;

use cairn_tests::{
    chaos::{cloud::Cloud, hubs::Station, proxy::Weather},
    wait,
};
use reqwest::{Method, StatusCode};
use tempfile::TempDir;

/// Generous: the machine may be busy.
const WITHIN: Duration = Duration::from_secs(240);

/// Writes a notice through the hub's API; gives its id.
async fn notice(station: &Station, title: &str) -> String {
    let body = serde_json::json!({ "fields": { "title": title, "level": "info" } });
    let request = station.door.request(Method::POST, "/api/v1/records/notice").unwrap();
    let answer = request.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let record: serde_json::Value = answer.json().await.unwrap();
    record.get("id").and_then(serde_json::Value::as_str).unwrap().to_owned()
}

async fn at_the_gateway(cloud: &Cloud, id: &str) -> bool {
    let sql = format!("SELECT count(*) FROM cairn.record WHERE record_id = '{id}'");
    cloud.query(&sql).await.unwrap() == ["1"]
}

async fn queue(station: &Station) -> Option<u64> {
    station.sync(false).await.ok()?.get("queue")?.as_u64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_cloud_mode_an_answered_write_is_at_the_gateway_or_waits() {
    let folder = TempDir::with_prefix("cairn-cloud-").unwrap();
    let weather = Weather::new(1);
    let cloud = Cloud::start(folder.path(), 1, &weather).await.unwrap();
    let station = Station::open(&cloud).await.unwrap();
    station.set_ways("mode=cloud&way=periodic&minutes=15").await.unwrap();
    wait::until("the hub is at rest", WITHIN, async || {
        let status = station.sync(true).await.ok()?;
        (status.get("state")? == "idle" && status.get("queue")? == 0).then_some(())
    })
    .await
    .unwrap();

    for number in 0..5 {
        let id = notice(&station, &format!("Water point {number}")).await;
        assert!(at_the_gateway(&cloud, &id).await, "number {number} was answered before it was there");
    }

    let way = cloud.ways().next().unwrap();
    way.close(true);
    way.sever();
    let cut = notice(&station, "Written while the gateway is away").await;
    assert!(!at_the_gateway(&cloud, &cut).await);
    assert_eq!(queue(&station).await, Some(1), "it is kept");
    let again = notice(&station, "And another one").await;
    assert_eq!(queue(&station).await, Some(2));

    way.close(false);
    station.sync(true).await.ok();
    wait::until("what waited has arrived", WITHIN, async || {
        (at_the_gateway(&cloud, &cut).await && at_the_gateway(&cloud, &again).await).then_some(())
    })
    .await
    .unwrap();
}
