//! Files of documents for clients of the record API, against a real PostgreSQL: whole or not at all, and asked of hubs where
//! none has brought them. That ranges, rights and headers are a hub's is compared in `cairn-tests` (`sync`, `records`).

use crate::support::*;
use cairn_gateway::limits::Limits;
use cairn_sync::{
    BlobId, Kind, RecordId, Value,
    http::{AUTHORIZATION, ApiToken, BLOBS, EVENTS, Event, REPORT, Report, ReportReply},
};
use futures::{StreamExt, stream};
use serde_json::{Value as Json, json};
use sqlx_core::{connection::Connection, query_scalar::query_scalar, sql_str::AssertSqlSafe};
use sqlx_postgres::{PgConnection, Postgres};

fn content() -> Vec<u8> {
    (0..700_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// What the owner counts, row-level security aside.
async fn count(world: &World, what: &str) -> i64 {
    let mut owner = PgConnection::connect(&world.cluster.url("owner")).await.unwrap();
    query_scalar::<Postgres, i64>(AssertSqlSafe(format!("SELECT count(*) FROM cairn.{what}")))
        .fetch_one(&mut owner)
        .await
        .unwrap()
}

async fn upload(url: &str, token: &ApiToken, body: reqwest::Body) -> reqwest::Result<(u16, Json)> {
    let url = format!("{url}/api/v1/files?name=plan.png");
    let response = client().post(url).bearer_auth(token.reveal()).body(body).send().await?;
    Ok((response.status().as_u16(), response.json().await.unwrap_or_default()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_brings_is_there_whole_or_not_at_all() {
    let world = World::new().await;
    let one = world.instance().await;
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    let ana = world.person(&mut hub, &one.url, "Ana", "volunteer").await;
    let token = world.api_token(ana, true).await;

    // The connection breaks in the middle: nothing of it stays.
    let pieces: Vec<_> = content().chunks(100_000).map(<[u8]>::to_vec).collect();
    let broken = stream::iter(pieces.into_iter().take(5).map(Ok))
        .chain(stream::once(async { Err(std::io::Error::other("cut")) }));
    assert!(upload(&one.url, &token, reqwest::Body::wrap_stream(broken)).await.is_err());
    until("what came of it goes", || async { (count(&world, "blob").await == 0).then_some(()) }).await;
    assert_eq!(
        (count(&world, "blob_piece").await, count(&world, "record").await),
        (0, 1),
        "only Ana is there"
    );

    // A token that may only read brings nothing; an empty file is none; one that is announced as too large is not read.
    let reader = world.api_token(ana, false).await;
    assert_eq!(upload(&one.url, &reader, content().into()).await.unwrap().0, 403);
    assert_eq!(upload(&one.url, &token, Vec::new().into()).await.unwrap().0, 422);
    assert_eq!(count(&world, "blob").await, 0);

    // Whole, the same twice, it is kept once, under the name of its content; hubs read it from there.
    for _ in 0..2 {
        let (status, made) = upload(&one.url, &token, content().into()).await.unwrap();
        assert_eq!((status, &made["record"]["fields"]["size"]), (201, &json!(700_000)), "{made}");
        assert_eq!(made["record"]["fields"]["file"], BlobId::of(&content()).to_string());
        assert_eq!(made["index"]["outcome"], "later");
    }
    assert_eq!((count(&world, "blob").await, count(&world, "blob_piece").await), (1, 3));
    hub.sync(&one.url).await;
    let documents = hub.records.values().filter(|record| record.kind == Kind::Document);
    assert_eq!(documents.count(), 2);
    let url = format!("{}{BLOBS}/{}", one.url, BlobId::of(&content()));
    let read = client().get(url).header(AUTHORIZATION, hub.credential.bearer()).send().await.unwrap();
    assert_eq!(read.bytes().await.unwrap(), content());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_files_come_at_once() {
    let world = World::new().await;
    let narrow = Limits { per_second: 1e6, burst: 1e6, uploads: 1, ..Limits::default() };
    let one = world.instance_with(narrow).await;
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    let ana = world.person(&mut hub, &one.url, "Ana", "volunteer").await;
    let token = world.api_token(ana, true).await;
    let (begun, go_on) = tokio::sync::oneshot::channel::<()>();
    let slow = stream::once(async { Ok::<_, std::io::Error>(vec![1; 300_000]) }).chain(stream::once(async {
        go_on.await.ok();
        Ok(vec![2; 300_000])
    }));
    let (url, first) = (one.url.clone(), token.clone());
    let first = tokio::spawn(async move { upload(&url, &first, reqwest::Body::wrap_stream(slow)).await });
    until("the first has begun", || async { (count(&world, "blob_piece").await > 0).then_some(()) }).await;
    let (status, problem) = upload(&one.url, &token, content().into()).await.unwrap();
    assert_eq!((status, &problem["type"]), (429, &json!("urn:cairn:problem:too-many-requests")));
    begun.send(()).unwrap();
    assert_eq!(first.await.unwrap().unwrap().0, 201);
    assert_eq!(upload(&one.url, &token, content().into()).await.unwrap().0, 201, "its place is free again");
}

async fn wanted(hub: &Hub, url: &str) -> Vec<BlobId> {
    let report = Report { name: "Mill Road".into(), version: "0.1.0".into(), ..Report::default() };
    let reply = post_json(&client(), url, REPORT, Some(&hub.credential), &report).await.unwrap();
    serde_json::from_slice::<ReportReply>(&reply).unwrap().wanted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_nobody_brought_is_asked_of_hubs_until_one_brings_it() {
    let world = World::new().await;
    let (one, two) = (world.instance().await, world.instance().await);
    let mut hub = Hub::enrol(&one.url, world.token().await).await;
    let ana = world.person(&mut hub, &one.url, "Ana", "volunteer").await;
    let token = world.api_token(ana, true).await;
    let (document, blob) = (RecordId::new(), BlobId::of(&content()));
    let fields = [
        ("title", Value::from("Plan")),
        ("file", blob.to_string().into()),
        ("file_name", "plan.png".into()),
        ("media_type", "image/png".into()),
        ("size", Value::Int(700_000)),
    ];
    hub.write(document, &fields);
    hub.waiting.last_mut().unwrap().kind = Kind::Document;
    hub.sync(&one.url).await;
    assert!(wanted(&hub, &one.url).await.is_empty());

    // A live hub on the other instance hears that there is something.
    let events = client().get(format!("{}{EVENTS}", two.url)).header(AUTHORIZATION, hub.credential.bearer());
    let mut lines = events.send().await.unwrap().bytes_stream();
    let mut heard = Vec::new();
    let mut hears = async |event: Event| {
        let line = serde_json::to_string(&event).unwrap();
        tokio::time::timeout(DEADLINE, async {
            while !String::from_utf8_lossy(&heard).lines().any(|heard| heard == line) {
                heard.extend(lines.next().await.unwrap().unwrap());
            }
            heard.clear();
        })
        .await
        .unwrap();
    };
    hears(Event::Newer(2)).await;
    let read = async || {
        let url = format!("{}/api/v1/files/{document}", one.url);
        client().get(url).bearer_auth(token.reveal()).send().await.unwrap()
    };
    let elsewhere = read().await;
    assert_eq!(
        (elsewhere.status().as_u16(), elsewhere.headers()["retry-after"].to_str().unwrap()),
        (404, "60")
    );
    let problem: Json = elsewhere.json().await.unwrap();
    assert_eq!(problem["type"], "urn:cairn:problem:file-elsewhere");
    hears(Event::Files).await;
    assert_eq!(wanted(&hub, &one.url).await, [blob]);
    // A name that no document has is nobody's wish.
    let nothing = format!("{}{BLOBS}/{}", one.url, BlobId::of(b"nothing"));
    let asked = client().get(nothing).header(AUTHORIZATION, hub.credential.bearer()).send().await.unwrap();
    assert_eq!(asked.status().as_u16(), 404);
    assert_eq!(wanted(&hub, &one.url).await, [blob]);

    let put = client()
        .put(format!("{}{BLOBS}/{blob}", one.url))
        .header(AUTHORIZATION, hub.credential.bearer())
        .header("content-range", "bytes 0-699999/700000")
        .body(content());
    assert_eq!(put.send().await.unwrap().status().as_u16(), 201);
    hears(Event::Files).await;
    assert!(wanted(&hub, &one.url).await.is_empty());
    assert_eq!(read().await.bytes().await.unwrap(), content());
}
