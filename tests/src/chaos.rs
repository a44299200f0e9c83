//! The workload of the simulator on real processes: several hubs, two gateway instances, HAProxy and PostgreSQL, with
//! connections that break by a seed and SIGKILL for any process at any time.
//!
//! A run has two halves. In the first, people write on every hub while things break. In the second, nothing breaks any more;
//! then every hub holds the same, the checksums of every scope are equal on hubs and gateway, and everything that a hub ever
//! said is saved took effect and can be read. The seed decides what breaks when; what that meets is up to the machine, so
//! a run does not repeat itself to the letter.

mod check;
pub mod cloud;
pub mod hubs;
mod people;
pub mod proxy;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use rand::{RngExt, SeedableRng, rngs::SmallRng};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use self::{
    check::Rest,
    cloud::Cloud,
    hubs::Station,
    people::{Common, Town, Writer},
    proxy::Weather,
};
use crate::wait;

/// How long everything may take to come to rest on a busy machine.
const RESTS_WITHIN: Duration = Duration::from_secs(300);
/// Between two blows, in milliseconds.
const BLOWS: std::ops::Range<u64> = 300..2_500;

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Decides what breaks when.
    pub seed: u64,
    /// How many hubs.
    pub hubs: usize,
    /// How long people write.
    pub storm: Duration,
    /// Whether anything breaks meanwhile.
    pub breaks: bool,
}

/// What was played.
#[derive(Debug, Clone, Copy, Default)]
pub struct Report {
    /// Changes that hubs said are saved.
    pub saved: usize,
    /// Connections, and those that were broken.
    pub connections: (u64, u64),
    /// Processes that were killed and ways that were cut, by [`Blow::ALL`].
    pub blows: [u32; Blow::ALL.len()],
    /// Conflicts that wait for a person in the end.
    pub conflicts: usize,
    /// Records on every hub in the end.
    pub records: usize,
    /// From the end of the storm until all was equal.
    pub rest: Duration,
    /// Rounds over HTTP/2, and over anything else.
    pub rounds: (usize, usize),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (connections, broken) = self.connections;
        write!(f, "{} changes saved, {broken} of {connections} connections broken", self.saved)?;
        for (blow, times) in Blow::ALL.iter().zip(self.blows) {
            write!(f, ", {times} × {blow:?}")?;
        }
        write!(
            f,
            "; {} records, {} conflicts, at rest after {:.1} s",
            self.records,
            self.conflicts,
            self.rest.as_secs_f64()
        )
    }
}

/// What is done to a process or a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// A hub's power is cut.
    Power,
    /// The process of a hub that serves is killed.
    Role,
    /// An instance is killed.
    Instance,
    /// An instance is told to go away.
    Drain,
    /// HAProxy is killed.
    Balancer,
    /// PostgreSQL is killed.
    Database,
    /// One process of PostgreSQL is killed.
    Backend,
    /// Every connection of one way is cut, and none let through for a while.
    Way,
}

impl Blow {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Power,
        Self::Role,
        Self::Instance,
        Self::Drain,
        Self::Balancer,
        Self::Database,
        Self::Backend,
        Self::Way,
    ];

    fn choose(dice: &mut SmallRng) -> Self {
        match dice.random_range(0..100_u32) {
            0..22 => Self::Power,
            22..36 => Self::Role,
            36..50 => Self::Instance,
            50..54 => Self::Drain,
            54..62 => Self::Balancer,
            62..68 => Self::Database,
            68..76 => Self::Backend,
            _ => Self::Way,
        }
    }
}

/// Plays a plan.
///
/// # Errors
/// The finding, or what kept the plan from being played.
pub async fn run(plan: Plan) -> Result<Report> {
    let folder = TempDir::with_prefix("cairn-cloud-")?;
    let weather = Weather::new(plan.seed);
    let mut cloud = Cloud::start(folder.path(), 2, &weather).await?;
    let mut hubs = Vec::new();
    for number in 0..plan.hubs {
        hubs.push(Station::open(&cloud).await.with_context(|| format!("opening hub {number}"))?);
    }
    let common = prepare(&hubs).await?;

    let (town, stop) = (Arc::new(Town::default()), Arc::new(AtomicBool::new(false)));
    let mut writers = tokio::task::JoinSet::new();
    for (number, hub) in hubs.iter().enumerate() {
        let writer = Writer::new(number, hub.door.clone(), Arc::clone(&town), common.clone(), plan.seed);
        writers.spawn(writer.write(Arc::clone(&stop)));
    }
    let mut report = Report::default();
    let mut dice = SmallRng::seed_from_u64(plan.seed);
    let began = Instant::now();
    if plan.breaks {
        weather.rage();
    } else {
        tokio::time::sleep(plan.storm).await;
    }
    while began.elapsed() < plan.storm {
        let blow = Blow::choose(&mut dice);
        strike(blow, &mut dice, &mut cloud, &mut hubs).await.with_context(|| format!("{blow:?}"))?;
        if let Some(times) = report.blows.get_mut(blow as usize) {
            *times += 1;
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(BLOWS))).await;
    }

    weather.calm();
    stop.store(true, Ordering::SeqCst);
    for way in cloud.ways() {
        way.close(false);
        way.sever();
    }
    while let Some(done) = writers.join_next().await {
        done??;
    }
    let saved = town.saved();
    let calm = Instant::now();
    let everything = rest(&hubs).await?;
    (report.rest, report.saved, report.records) = (calm.elapsed(), saved.len(), everything.len());
    report.connections = weather.account();
    report.rounds = cloud.rounds_by_http()?;
    check::nothing_is_counted_twice(&everything, &saved, &common.assessment, &common.person)?;

    let mut rests = Vec::new();
    let mut folders = Vec::new();
    for hub in hubs {
        let folder = hub.close().await?;
        rests.push(Rest::read(folder.path()).await?);
        folders.push(folder);
    }
    check::sums_are_equal(&cloud, &rests).await?;
    check::nothing_saved_is_lost(&cloud, &rests, &saved, &everything).await?;
    for hub in &rests {
        hub.nothing_needed_healing().await?;
    }
    report.conflicts = rests.first().map_or(0, Rest::conflicts);
    Ok(report)
}

/// A project with an open assessment, made on the first hub and waited for on the others.
async fn prepare(hubs: &[Station]) -> Result<Common> {
    let first = &hubs.first().context("no hubs")?.door;
    let make = async |kind: &str, body: Value| -> Result<String> {
        let request =
            first.request(Method::POST, &format!("/api/v1/records/{kind}")).context("no address")?;
        let made: Value = request.json(&body).send().await?.error_for_status()?.json().await?;
        Ok(made.get("id").and_then(Value::as_str).context("no id")?.to_owned())
    };
    let project =
        make("project", json!({ "fields": { "name": "Wells", "status": "active", "open": true } })).await?;
    let questions = json!([{ "id": "q", "text": "How deep?", "kind": "short" }]);
    let fields = json!({ "title": "State of the well", "status": "open", "questions": questions });
    let assessment = make("assessment", json!({ "project": project, "fields": fields })).await?;
    let people = first.get("/api/v1/records/person").await?;
    let person =
        people.get("items").and_then(|items| items.get(0)?.get("id")?.as_str()).context("nobody is here")?;
    let common = Common { project, assessment, person: person.to_owned() };
    for hub in hubs {
        wait::until("the project has come to every hub", RESTS_WITHIN, async || {
            for (kind, id) in [("assessment", &common.assessment), ("person", &common.person)] {
                hub.door.get(&format!("/api/v1/records/{kind}/{id}")).await.ok()?;
            }
            Some(())
        })
        .await?;
    }
    Ok(common)
}

async fn strike(blow: Blow, dice: &mut SmallRng, cloud: &mut Cloud, hubs: &mut [Station]) -> Result<()> {
    let (hub, instance) = (dice.random_range(0..hubs.len()), dice.random_range(0..cloud.instances()));
    let hub = hubs.get_mut(hub).context("there is no such hub")?;
    match blow {
        Blow::Power => hub.cut_power().await,
        Blow::Role => hub.kill_role(),
        Blow::Instance => cloud.restart_instance(instance, Signal::SIGKILL).await,
        Blow::Drain => cloud.restart_instance(instance, Signal::SIGTERM).await,
        Blow::Balancer => cloud.restart_balancer().await,
        Blow::Database => cloud.restart_database(),
        Blow::Backend => cloud.kill_backend(|count| dice.random_range(0..count)).map(drop),
        Blow::Way => {
            let pause = Duration::from_millis(dice.random_range(50..2_000));
            let way = dice.random_range(0..cloud.ways().count());
            let way = cloud.ways().nth(way).context("there is no such way")?;
            way.close(true);
            way.sever();
            tokio::time::sleep(pause).await;
            way.close(false);
            Ok(())
        }
    }
}

/// Asks every hub for rounds until nothing waits anywhere and all show the same. Gives what they show.
async fn rest(hubs: &[Station]) -> Result<std::collections::BTreeMap<String, Value>> {
    let mut why = String::new();
    let rest = wait::until("all hubs are at rest", RESTS_WITHIN, async || match settled(hubs).await {
        Ok(Ok(everything)) => Some(everything),
        Ok(Err(reason)) => {
            why = reason;
            None
        }
        Err(error) => {
            why = format!("{error:#}");
            None
        }
    });
    rest.await.with_context(|| why)
}

async fn settled(hubs: &[Station]) -> Result<Result<std::collections::BTreeMap<String, Value>, String>> {
    for (number, hub) in hubs.iter().enumerate() {
        let stands = hub.sync(true).await?;
        let is = |name: &str, wanted: &Value| stands.get(name) == Some(wanted);
        if !(is("queue", &json!(0)) && is("state", &json!("idle")) && is("trouble", &Value::Null)) {
            return Ok(Err(format!("hub {number}: {stands}")));
        }
    }
    let mut first = None;
    for (number, hub) in hubs.iter().enumerate() {
        let everything = hub.door.everything().await?;
        let before = first.get_or_insert_with(|| everything.clone());
        if let Some(differs) = difference(before, &everything) {
            return Ok(Err(format!("hub 0 and hub {number} show different things: {differs}")));
        }
    }
    first.context("no hubs").map(Ok)
}

/// The first record that two hubs show differently.
fn difference(
    one: &std::collections::BTreeMap<String, Value>,
    other: &std::collections::BTreeMap<String, Value>,
) -> Option<String> {
    let ids: std::collections::BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let id = ids.into_iter().find(|id| one.get(*id) != other.get(*id))?;
    Some(format!("{id}: {:?} there, {:?} here", one.get(id), other.get(id)))
}
