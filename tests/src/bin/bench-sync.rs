//! Bytes and seconds of synchronisation: records of one hub pushed to a gateway over PostgreSQL, an empty hub filled from it, and the
//! same records through a PouchDB client and server in the same run.
//!
//! `bench-sync RECORDS [POUCHDB-FOLDER]`, started by `cargo xtask bench sync`. The hub's own client and store run in this
//! process, the gateway in its own; HTTP/1.1 without TLS on both sides, every byte counted by a proxy. Prints a section of Markdown.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cairn_store::{OpenOptions, Part, Store, Viewer};
use cairn_sync::{Fields, Kind};
use cairn_tests::chaos::{cloud::Cloud, proxy::Weather};
use cairn_uplink::sync::{State, Status, Sync, Transport};
use serde_json::Value;
use tempfile::TempDir;

const ALL: Viewer = Viewer::system(Part::Console);
/// How long one way may take.
const WITHIN: Duration = Duration::from_secs(1_800);

struct Way {
    seconds: f64,
    bytes: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let count: u64 =
        arguments.next().and_then(|count| count.parse().ok()).context("bench-sync RECORDS [FOLDER]")?;
    let peer = arguments.next().map(PathBuf::from);
    let folder = TempDir::with_prefix("cairn-cloud-")?;
    let (calm, counted) = (Weather::new(0), Weather::new(0));
    let cloud = Cloud::start(folder.path(), 1, &calm).await?;
    let (_proxy, port) = cloud.plain(&counted).await?;
    let url = format!("http://127.0.0.1:{port}");

    let (full, empty) = (TempDir::new()?, TempDir::new()?);
    let writer = open(full.path())?;
    let mut payload = 0;
    for number in 0..count {
        let fields = notice(number);
        payload += serde_json::to_vec(&fields)?.len() as u64;
        writer.create(&ALL, Kind::Notice, None, fields, None).await?;
    }
    let push = measure(&cloud, &writer, &url, &counted).await?;
    let reader = open(empty.path())?;
    let fill = measure(&cloud, &reader, &url, &counted).await?;
    let here = reader.counts(&ALL).await?;
    ensure!(format!("{here:?}").contains(&count.to_string()), "not all {count} records arrived: {here:?}");

    println!("{count} notices of one line and two; payload: their fields as JSON, {payload} bytes.\n");
    println!(
        "| | Cairn | bytes over payload |{}",
        if peer.is_some() { " PouchDB | bytes over payload | faster | fewer bytes |" } else { "" }
    );
    println!("|---|---|---|{}", if peer.is_some() { "---|---|---|---|" } else { "" });
    let theirs = peer.as_deref().map(|peer| pouchdb(peer, count)).transpose()?;
    for (name, way, key) in
        [("pushed to the server", &push, "push"), ("first fill of an empty client", &fill, "fill")]
    {
        let ours = format!(
            "{:.1} s ({:.0} a second) | {:.2}",
            way.seconds,
            count as f64 / way.seconds,
            way.bytes as f64 / payload as f64
        );
        match &theirs {
            None => println!("| {name} | {ours} |"),
            Some(theirs) => {
                let number = |name: &str| {
                    theirs.get(name).and_then(Value::as_f64).with_context(|| format!("no {name}"))
                };
                let (seconds, bytes) = (number(&format!("{key}_s"))?, number(&format!("{key}_bytes"))?);
                println!(
                    "| {name} | {ours} | {seconds:.1} s ({:.0} a second) | {:.2} | {:.1} × | {:.1} × |",
                    count as f64 / seconds,
                    bytes / number("payload")?,
                    seconds / way.seconds,
                    bytes / way.bytes as f64
                );
            }
        }
    }
    Ok(())
}

fn open(folder: &Path) -> Result<Store> {
    let options = OpenOptions { upkeep: false, ..OpenOptions::default() };
    Ok(Store::open(folder, options)?.0)
}

fn notice(number: u64) -> Fields {
    Fields::from([
        ("title".to_owned(), format!("Water point {number}").into()),
        ("level".to_owned(), "info".into()),
        ("body".to_owned(), format!("The pump at bridge {number} works again.\nBring clean cans.\n").into()),
    ])
}

/// From enrolling until nothing waits and everything is here.
async fn measure(cloud: &Cloud, store: &Store, url: &str, counted: &Weather) -> Result<Way> {
    let token = cloud.token().await?;
    let (sync, _running) = Sync::start(store.clone(), "bench".to_owned(), None).await?;
    let (began, before) = (Instant::now(), counted.carried());
    sync.enrol(&token, url, Transport::PlainLoopback, "bench").await?;
    let mut watch = sync.watch();
    let done = |status: &Status| {
        status.figures.queue == 0 && status.state == State::Idle && status.last_success_ms.is_some()
    };
    tokio::time::timeout(WITHIN, watch.wait_for(done)).await.context("it takes too long")??;
    Ok(Way { seconds: began.elapsed().as_secs_f64(), bytes: counted.carried() - before })
}

fn pouchdb(folder: &Path, count: u64) -> Result<Value> {
    let output = Command::new("node").arg("bench.js").arg(count.to_string()).current_dir(folder).output()?;
    ensure!(output.status.success(), "PouchDB: {}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}
