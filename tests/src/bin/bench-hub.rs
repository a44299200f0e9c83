//! The figures of a running hub: start, memory, indexing, first passage, and requests while an answer is written.
//!
//! `bench-hub SAMPLE-LIBRARY [MODEL.gguf]`, started by `cargo xtask bench hub`. Prints the rows of a Markdown table, which that
//! command writes to `docs/BENCHMARKS.md`. Without a model it makes one of the shape of SmolLM2-360M, whose answers mean
//! nothing but cost the same. Every time is the median of several runs, with the 99th percentile beside it.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use cairn_tests::{answer::Answer, http, hub::Hub, keeper::Keeper, model, times::spread, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

const STARTS: usize = 7;
const QUESTIONS: usize = 15;
/// Requests per client and kind.
const REQUESTS: usize = 150;
/// Records that one client creates; those of both conditions together stay below what one account may change in a burst.
const CREATIONS: usize = 18;
/// Phones that ask at once.
const CLIENTS: u8 = 8;
/// Size of the document whose indexing is measured.
const DOCUMENT_BYTES: usize = 1_000_000;
/// After this each phone stops, however many requests it has made; the number of runs stands beside every figure.
const LOAD_AT_MOST: Duration = Duration::from_secs(40);
const SETTLE: Duration = Duration::from_secs(5);
/// How long the first word of an answer may take.
const FIRST_WORD_WITHIN: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() -> Result<()> {
    let sample =
        std::env::args_os().nth(1).map(PathBuf::from).context("give the folder of the sample library")?;
    let model = std::env::args_os().nth(2).map(PathBuf::from);
    println!("| what | measured |\n|---|---|");

    let mut starts = Vec::new();
    let mut folder = TempDir::with_prefix("cairn-bench-")?;
    for _ in 0..STARTS {
        let begun = Instant::now();
        let hub = Hub::start_in(folder).await?;
        http::client()?.get(hub.address()).send().await?.error_for_status()?;
        starts.push(begun.elapsed());
        folder = hub.stop().await?;
    }
    row("start to first page", &mut starts);

    let hub = Hub::start_in(folder).await?;
    let keeper = Keeper::claim(&hub).await?;
    hub.command(&["library", "add", sample.to_str().context("a path that is not text")?]).await?;
    keeper.wait_until_indexed().await?;
    tokio::time::sleep(SETTLE).await;
    println!("| idle memory of all processes, without a generating model | {} |", memory(&hub)?);

    let mut passages = Vec::new();
    for n in 0..QUESTIONS {
        passages.push(first_passage(&hub, n).await?);
    }
    row("question to first passages", &mut passages);
    indexing(&hub, &keeper).await?;

    let hub = Arc::new(hub);
    requests(&hub, keeper.token(), "nothing else going on").await?;
    let (model, whose) = match model {
        Some(model) => (model, "the given model"),
        None => (model::as_large_as_smollm2(hub.folder())?, "a model of the shape of SmolLM2-360M, Q4_0"),
    };
    hub.command(&["models", "add", model.to_str().context("a path that is not text")?]).await?;
    let answering = keep_answering(&hub)?;
    wait::until("the answer begins", FIRST_WORD_WITHIN, async || {
        (written(&hub).await.ok()? > 0).then_some(())
    })
    .await?;
    let (begun, before) = (Instant::now(), written(&hub).await?);
    requests(&hub, keeper.token(), &format!("while {whose} writes an answer")).await?;
    let pace = (written(&hub).await? - before) as f64 / begun.elapsed().as_secs_f64();
    ensure!(pace > 0.0, "no answer was written meanwhile");
    println!("| tokens of answers written per second meanwhile | {pace:.1} |");
    answering.abort();
    Ok(())
}

/// What is asked of the hub.
#[derive(Clone, Copy)]
enum Kind {
    Home,
    Search,
    Create,
}

fn row(what: &str, times: &mut [Duration]) {
    println!("| {what} | {} |", spread(times));
}

/// Memory of the process tree; what processes share is counted once.
fn memory(hub: &Hub) -> Result<String> {
    let of = |process: &i32| -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let line = text.lines().find(|line| line.starts_with("Pss:")).context("no Pss")?;
        Ok(line.split_whitespace().nth(1).context("no number")?.parse::<f64>()? / 1024.0)
    };
    let sum = |processes: &[i32]| processes.iter().map(of).sum::<Result<f64>>();
    let (all, hub_role, infer) = (sum(&hub.processes())?, sum(&hub.role("hub"))?, sum(&hub.role("infer"))?);
    Ok(format!(
        "{all:.0} MiB (hub {hub_role:.0}, infer {infer:.0}, supervisor {:.0})",
        all - hub_role - infer
    ))
}

/// From the question to the event that holds the passages.
async fn first_passage(hub: &Hub, n: usize) -> Result<Duration> {
    // Another question every time, so that nothing answers from memory.
    let text = format!("How much bleach makes {} litres of water safe to drink?", n + 2);
    let client = http::client()?;
    let begun = Instant::now();
    Answer::ask(&client, hub.address(), &text).await?.until("passages").await?;
    Ok(begun.elapsed())
}

/// A document of a megabyte: until its words are found, and how fast it is embedded after that.
async fn indexing(hub: &Hub, keeper: &Keeper) -> Result<()> {
    let file = hub.folder().join("megabyte.md");
    fs::write(&file, megabyte())?;
    let before = embedded(keeper).await?;
    let begun = Instant::now();
    hub.command(&["library", "add", file.to_str().context("a path that is not text")?]).await?;
    let url = format!("{}/api/v1/search?mode=words&q=zephyranthes", hub.address());
    let found: Value = http::client()?.get(url).send().await?.error_for_status()?.json().await?;
    let hits = found.get("hits").and_then(Value::as_array).map_or(0, Vec::len);
    ensure!(hits > 0, "the last word of the document is not found: {found}");
    println!(
        "| a Markdown file of 1 MB, until its last word is found | {:.2} s |",
        begun.elapsed().as_secs_f64()
    );
    let begun = Instant::now();
    keeper.wait_until_indexed().await?;
    let rate = (embedded(keeper).await? - before) as f64 / begun.elapsed().as_secs_f64();
    println!("| passages embedded per second | {rate:.1} |");
    Ok(())
}

async fn embedded(keeper: &Keeper) -> Result<u64> {
    let answer = keeper.request(reqwest::Method::GET, "/api/v1/index").send().await?;
    let index: Value = answer.error_for_status()?.json().await?;
    index.get("embedded").and_then(Value::as_u64).context("no count of what is embedded")
}

/// Made-up prose; its last word stands nowhere else.
fn megabyte() -> String {
    let mut text = String::from("# A megabyte\n");
    let mut number = 88_172_645_463_325_252_u64;
    for paragraph in 0.. {
        text.push_str(&format!("\n## Part {paragraph}\n\n"));
        for _ in 0..8 {
            for word in 0..14 {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                let name = format!("word{:x}", number % 30_000);
                text.push_str(if word == 0 { "The " } else { " " });
                text.push_str(&name);
            }
            text.push_str(".\n");
        }
        if text.len() > DOCUMENT_BYTES {
            break;
        }
    }
    text.push_str("\nThe end is a zephyranthes.\n");
    text
}

/// Tokens written so far. Of a made-up model's tokens hardly one is text, so that the answer itself shows none.
async fn written(hub: &Hub) -> Result<u64> {
    let metrics = http::client()?.get(format!("{}/metrics", hub.address())).send().await?.text().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix("cairn_inference_generated_tokens_total "));
    Ok(line.context("no count of tokens")?.trim().parse()?)
}

/// Asks one question after the other, so that an answer is under way all the time.
fn keep_answering(hub: &Arc<Hub>) -> Result<tokio::task::JoinHandle<()>> {
    let (hub, client) = (hub.clone(), http::client()?);
    Ok(tokio::spawn(async move {
        for n in 0..10_000_u32 {
            let text = format!("How much bleach makes {n} litres of water safe to drink?");
            let Ok(mut answer) = Answer::ask(&client, hub.address(), &text).await else {
                // More questions than one person may ask; the next one has its turn soon.
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            };
            while let Ok(Some(_)) = answer.next().await {}
        }
    }))
}

async fn requests(hub: &Arc<Hub>, token: &str, condition: &str) -> Result<()> {
    for (what, kind) in
        [("first page", Kind::Home), ("search", Kind::Search), ("record creation", Kind::Create)]
    {
        let (per_second, mut times) = load(hub, token, kind).await?;
        println!("| {what}, {CLIENTS} clients, {condition} | {per_second:.0}/s, {} |", spread(&mut times));
    }
    Ok(())
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
    let mut client = None;
    let started = Instant::now();
    for n in 0..requests {
        if started.elapsed() > LOAD_AT_MOST {
            break;
        }
        // A phone makes some ten requests over one connection and goes; the next one comes from another address.
        let last = u8::try_from(n / 10 + 1).unwrap_or(u8::MAX);
        if n % 10 == 0 {
            let address = IpAddr::V4(Ipv4Addr::new(127, 1, number, last));
            client = Some(http::builder().local_address(address).build()?);
        }
        let client = client.as_ref().context("no client")?;
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
