//! A fleet against one gateway instance and its PostgreSQL on this machine: what it costs when nothing is wrong, and what
//! happens when everybody comes back after an outage.
//!
//! `fleet GATEWAY-BINARY [--hubs N] [--seconds N] [--outage SECONDS] [--speed N]`, started by `cargo xtask bench fleet`. Every
//! hub is a task that does what the session of the engine says, holds its stream and keeps its records in memory; requests
//! are HTTP/1.1 without TLS, counted byte by byte. Prints a section of Markdown.

#![allow(clippy::print_stdout, reason = "this is what it is for")]

#[path = "fleet/hub.rs"]
mod hub;
#[path = "fleet/line.rs"]
mod line;
#[path = "fleet/tally.rs"]
mod tally;

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use cairn_gateway::{cluster::Cluster, db::Db, migrate::migrate, store::hubs, time::TimeKey};
use cairn_sync::{
    HubId,
    http::{Credential, Enrol, Secret},
};
use futures::{StreamExt, TryStreamExt, stream};
use hub::Hub;
use tally::{Phase, Tally};

/// Hubs in one community.
const TOGETHER: usize = 20;
/// Enrolments at once.
const AT_ONCE: usize = 32;
/// How long the instance may take to come up.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// How long hubs may take to come back at most.
const BACK_WITHIN: Duration = Duration::from_secs(20 * 60);

struct Plan {
    gateway: PathBuf,
    hubs: usize,
    seconds: u64,
    outage: u64,
    /// How many times more often people write than 20 times a day.
    speed: u64,
}

fn plan() -> Result<Plan> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, otherwise: u64| match arguments.iter().position(|argument| argument == name) {
        Some(at) => arguments
            .get(at + 1)
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("{name} takes a number")),
        None => Ok(otherwise),
    };
    let gateway = arguments
        .first()
        .context("fleet GATEWAY-BINARY [--hubs N] [--seconds N] [--outage SECONDS] [--speed N]")?;
    Ok(Plan {
        gateway: gateway.into(),
        hubs: usize::try_from(number("--hubs", 10_000)?)?,
        seconds: number("--seconds", 120)?,
        outage: number("--outage", 60)?,
        speed: number("--speed", 1)?.max(1),
    })
}

#[tokio::main]
async fn main() -> Result<()> {
    let plan = plan()?;
    let folder = tempfile::Builder::new().prefix("cairn-fleet-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let cluster = Cluster::start(&folder.path().join("pg"))?;
    migrate(&cluster.url("owner"), None).await?;
    let log = folder.path().join("log");
    let mut instance = serve(&plan.gateway, &cluster.url("cairn_app"), "127.0.0.1:0", &log)?;
    let address = listening(&mut instance, &log)?;

    let tally = Arc::new(Tally::default());
    let began = Instant::now();
    let fleet = enrol(&cluster.url("cairn_app"), plan.hubs).await?;
    eprintln!("{} hubs enrolled in {:.0} s", fleet.len(), began.elapsed().as_secs_f64());
    let mut tasks = tokio::task::JoinSet::new();
    for credential in fleet {
        tasks.spawn(Hub::new(credential, address, Arc::clone(&tally), plan.speed).live());
    }
    // Everybody is there before anything is measured.
    let settling = Instant::now();
    while tally.there() < plan.hubs {
        ensure!(
            settling.elapsed() < BACK_WITHIN,
            "only {} of {} hubs are there: {}",
            tally.there(),
            plan.hubs,
            tail(&log)
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!("all connected after {:.0} s", settling.elapsed().as_secs_f64());

    tally.begin(Phase::Steady);
    let before = cost(instance.0.id())?;
    tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
    let after = cost(instance.0.id())?;
    tally.begin(Phase::Between);

    drop(instance);
    tally.begin(Phase::Outage);
    tokio::time::sleep(Duration::from_secs(plan.outage)).await;
    tally.begin(Phase::Herd);
    let back = Instant::now();
    let mut instance = serve(&plan.gateway, &cluster.url("cairn_app"), &address.to_string(), &log)?;
    listening(&mut instance, &log)?;
    while tally.back() < plan.hubs && back.elapsed() < BACK_WITHIN {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tally.begin(Phase::Between);
    tasks.abort_all();
    let held = cost(instance.0.id())?.resident_kib;
    drop(instance);
    report(&plan, &tally, &before, &after, held);
    Ok(())
}

fn report(plan: &Plan, tally: &Tally, before: &Cost, after: &Cost, held_kib: u64) {
    let cores = (after.busy - before.busy).as_secs_f64() / plan.seconds as f64;
    println!(
        "{} hubs in {} communities, live, people writing {} times a day on each; one instance and PostgreSQL on the machine that \
         also plays the hubs. HTTP/1.1 without TLS; bytes with all headers.\n",
        plan.hubs,
        plan.hubs.div_ceil(TOGETHER),
        20 * plan.speed
    );
    println!("| | |\n|---|---|");
    println!("| steady state, measured for | {} s |", plan.seconds);
    tally.steady(plan.seconds, |name, value| println!("| {name} | {value} |"));
    println!("| processor of the instance | {:.2} of a core |", cores);
    println!("| memory of the instance with all streams | {} MiB |", after.resident_kib / 1024);
    println!("| outage | {} s |", plan.outage);
    tally.herd(plan.hubs, |name, value| println!("| {name} | {value} |"));
    println!("| memory of the instance after it | {} MiB |", held_kib / 1024);
}

/// Enrols hubs as the gateway's own routes do, without them: who enrols so many in a minute would be told to come back later, and
/// enrolling is not what is measured.
async fn enrol(database: &str, count: usize) -> Result<Vec<Credential>> {
    let db = Db::connect(database, 8).await?;
    let time_key = TimeKey::load(&db).await?;
    let communities: Vec<_> = stream::iter(0..count.div_ceil(TOGETHER))
        .map(|n| {
            let db = db.clone();
            async move { hubs::add_community(&db, &format!("Community {n}")).await }
        })
        .buffered(8)
        .try_collect()
        .await?;
    let enrolments = (0..count).map(|n| {
        let (db, community) = (db.clone(), communities.get(n / TOGETHER).copied());
        let public = time_key.public();
        async move {
            let token = hubs::add_token(&db, community.context("no community")?, "fleet", None, 1).await?;
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
            let key = Secret::from_random(bytes);
            let asked = Enrol {
                token,
                hub: HubId::new(),
                key: key.clone(),
                name: format!("Hub {n}"),
                version: "0.1.0".to_owned(),
            };
            let enrolled = hubs::enrol(&db, &asked, public).await?;
            Ok::<_, anyhow::Error>(Credential { community: enrolled.community, hub: enrolled.hub, key })
        }
    });
    stream::iter(enrolments).buffer_unordered(AT_ONCE).try_collect().await
}

/// A running instance; it ends when it is dropped, also where something went wrong.
struct Instance(Child);

impl Drop for Instance {
    fn drop(&mut self) {
        if self.0.kill().and_then(|()| self.0.wait()).is_err() {
            eprintln!("the instance may still be running");
        }
    }
}

fn serve(gateway: &Path, database: &str, listen: &str, log: &Path) -> Result<Instance> {
    let errors = fs::File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(gateway);
    command.args(["serve", "--listen", listen]).env("CAIRN_GATEWAY_DATABASE", database).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
    let started = command.spawn().with_context(|| format!("{} cannot be started", gateway.display()))?;
    Ok(Instance(started))
}

/// Waits until the instance says where it listens.
fn listening(instance: &mut Instance, log: &Path) -> Result<SocketAddr> {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(log)?;
        let said = text
            .lines()
            .rev()
            .find_map(|line| line.split_once("address=")?.1.split(' ').next()?.parse().ok());
        if let Some(address) = said
            && std::net::TcpStream::connect(address).is_ok()
        {
            return Ok(address);
        }
        if let Some(status) = instance.0.try_wait()? {
            bail!("the instance ended with {status}: {}", tail(log));
        }
        ensure!(began.elapsed() < STARTS_WITHIN, "the instance does not serve: {}", tail(log));
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(10)..).unwrap_or_default().join("\n")
}

/// What a process has used.
struct Cost {
    busy: Duration,
    resident_kib: u64,
}

fn cost(process: u32) -> Result<Cost> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let words: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    // Linux counts in hundredths of a second on every machine that we know of.
    Ok(Cost {
        busy: Duration::from_millis(10 * (ticks(11) + ticks(12))),
        resident_kib: resident.unwrap_or(0),
    })
}
