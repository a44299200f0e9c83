//! The figures of a running hub: memory, start, first passage, and requests while an answer is generated.
//!
//! Started by `cargo xtask bench hub`. Prints a table for `docs/BENCHMARKS.md`. The machine may be noisy: every figure
//! is the median of several runs, with the spread beside it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cairn_tests::{http, hub::Hub};
use futures::StreamExt;
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tempfile::TempDir;

const STARTS: usize = 7;
const QUESTIONS: usize = 15;
/// Requests per client and kind.
const REQUESTS: usize = 150;
/// Records that one client creates; together they stay below what one account may change in a burst.
const CREATIONS: usize = 35;
/// Phones that ask at once.
const CLIENTS: u8 = 8;
const SETTLE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<()> {
    let sample =
        std::env::args_os().nth(1).map(PathBuf::from).context("give the folder of the sample library")?;
    let model = std::env::args_os().nth(2).map(PathBuf::from);

    let mut starts = Vec::new();
    let mut folder = TempDir::with_prefix("cairn-bench-")?;
    for _ in 0..STARTS {
        let begun = Instant::now();
        let hub = Hub::start_in(folder).await?;
        http::client()?.get(hub.address()).send().await?.error_for_status()?;
        starts.push(begun.elapsed());
        folder = hub.stop().await?;
    }
    row("start to first page", &mut starts, 1e3, "ms");

    let hub = Hub::start_in(folder).await?;
    let token = claim(&hub).await?;
    hub.command(&["library", "add", sample.to_str().context("a path that is not text")?]).await?;
    wait_for_index(&hub).await?;
    tokio::time::sleep(SETTLE).await;
    println!("| idle memory, all processes, proportional set size | {} MiB |", memory_mib(&hub)?);

    let mut passages = Vec::new();
    for n in 0..QUESTIONS {
        passages.push(first_passage(&hub, n).await?);
    }
    row("question to first passages", &mut passages, 1e3, "ms");

    let answering = match &model {
        Some(model) => Some(keep_answering(&hub, model).await?),
        None => None,
    };
    let condition = if answering.is_some() { "while an answer is generated" } else { "idle" };
    let hub = Arc::new(hub);
    for (what, kind) in
        [("first page", Kind::Home), ("search", Kind::Search), ("record creation", Kind::Create)]
    {
        let (per_second, mut times) = load(&hub, &token, kind).await?;
        row(&format!("{what}, {CLIENTS} clients, {condition}"), &mut times, 1e3, "ms");
        println!("| {what}, requests per second, {condition} | {per_second:.0} |");
    }
    if let Some(answering) = answering {
        answering.abort();
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Home,
    Search,
    Create,
}

fn row(what: &str, times: &mut [Duration], scale: f64, unit: &str) {
    times.sort();
    let at = |share: f64| {
        let index = ((times.len().saturating_sub(1)) as f64 * share).round() as usize;
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * scale)
    };
    println!("| {what} | median {:.1} {unit}, p99 {:.1} {unit} ({} runs) |", at(0.5), at(0.99), times.len());
}

async fn claim(hub: &Hub) -> Result<String> {
    let client = http::builder().cookie_store(true).build()?;
    let claim = json!({
        "code": hub.claim_code()?, "hub_name": "Bench", "language": "en",
        "name": "Keeper", "login": "keeper", "password": "a long enough passphrase",
    });
    let post = |path: &str| client.post(format!("{}{path}", hub.address())).header("Origin", hub.address());
    post("/api/v1/setup/claim").json(&claim).send().await?.error_for_status()?;
    let made = post("/api/v1/tokens").json(&json!({ "name": "bench" })).send().await?.error_for_status()?;
    let made: serde_json::Value = made.json().await?;
    Ok(made.get("token").and_then(|token| token.as_str()).context("no token")?.to_owned())
}

async fn wait_for_index(hub: &Hub) -> Result<()> {
    cairn_tests::wait::until("everything is embedded", Duration::from_secs(600), async || {
        let url = format!("{}/api/v1/index", hub.address());
        let index: serde_json::Value = http::client().ok()?.get(url).send().await.ok()?.json().await.ok()?;
        let number = |name: &str| index.get(name).and_then(serde_json::Value::as_u64);
        let (passages, embedded) = (number("passages")?, number("embedded")?);
        (passages > 0 && passages == embedded).then_some(())
    })
    .await
}

/// Memory of the process tree in MiB; what processes share is counted once.
fn memory_mib(hub: &Hub) -> Result<u64> {
    let mut kib = 0;
    for process in hub.processes() {
        let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = text.lines().find(|line| line.starts_with("Pss:")).context("no Pss")?;
        kib += line.split_whitespace().nth(1).context("no number")?.parse::<u64>()?;
    }
    Ok(kib / 1024)
}

async fn first_passage(hub: &Hub, n: usize) -> Result<Duration> {
    // Another question every time, so that nothing answers from memory.
    let text = format!("How much bleach makes {} litres of water safe to drink?", n + 2);
    let begun = Instant::now();
    let answer = ask(&http::client()?, hub, &text).send().await?.error_for_status()?;
    let mut body = answer.bytes_stream();
    let mut seen = Vec::new();
    while let Some(piece) = body.next().await {
        seen.extend_from_slice(&piece?);
        if String::from_utf8_lossy(&seen).contains("event: passages") {
            return Ok(begun.elapsed());
        }
    }
    anyhow::bail!("the stream ended without passages")
}

fn ask(client: &Client, hub: &Hub, text: &str) -> RequestBuilder {
    client
        .post(format!("{}/api/v1/ask", hub.address()))
        .header("Origin", hub.address())
        .json(&json!({ "text": text }))
}

/// Installs a model and asks one question after the other, so that an answer is under way all the time.
async fn keep_answering(hub: &Hub, model: &Path) -> Result<tokio::task::JoinHandle<()>> {
    hub.command(&["models", "add", model.to_str().context("a path that is not text")?]).await?;
    let url = format!("{}/api/v1/ask", hub.address());
    let origin = hub.address().to_owned();
    let client = http::client()?;
    Ok(tokio::spawn(async move {
        for n in 0..10_000_u32 {
            let question = json!({ "text": format!("How do I purify {n} litres of water?") });
            let request = client.post(&url).header("Origin", &origin).json(&question);
            let Ok(answer) = request.send().await else { break };
            let mut body = answer.bytes_stream();
            while let Some(Ok(_)) = body.next().await {}
        }
    }))
}

/// Several phones at once, each from an address of its own as on a real network.
async fn load(hub: &Arc<Hub>, token: &str, kind: Kind) -> Result<(f64, Vec<Duration>)> {
    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|number| {
        let (hub, token) = (hub.clone(), token.to_owned());
        tokio::spawn(async move { phone(&hub, &token, kind, number).await })
    });
    let mut times = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        times.extend(client.await??);
    }
    Ok((times.len() as f64 / begun.elapsed().as_secs_f64(), times))
}

async fn phone(hub: &Hub, token: &str, kind: Kind, number: u8) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    let requests = if matches!(kind, Kind::Create) { CREATIONS } else { REQUESTS };
    for n in 0..requests {
        // A phone makes some ten requests and goes; the next one comes from another address.
        let last = u8::try_from(n / 10 + 1).unwrap_or(u8::MAX);
        let address = IpAddr::V4(Ipv4Addr::new(127, 1, number, last));
        let client = http::builder().local_address(address).build()?;
        let request = match kind {
            Kind::Home => client.get(hub.address()),
            Kind::Search => client.get(format!("{}/api/v1/search?q=water+{n}", hub.address())),
            Kind::Create => client
                .post(format!("{}/api/v1/records/message", hub.address()))
                .bearer_auth(token)
                .json(&json!({ "fields": { "body": format!("Message {n} of {number}") } })),
        };
        let begun = Instant::now();
        let answer = request.send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status}: {}", text.chars().take(300).collect::<String>());
        times.push(begun.elapsed());
    }
    Ok(times)
}
