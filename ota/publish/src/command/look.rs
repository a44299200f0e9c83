//! What is published, what a hub would make of it, and how to try it out.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use cairn_bundle::{Board, Version};
use cairn_publish::{serve::router, workshop};
use cairn_trust::{
    Channel, Clock, Directory, Limits, Memory, Store, Trust,
    rollout::{Decision, Seed},
    storage::Folder,
};
use clap::Args;
use serde_json::json;
use tough::schema::{Signed, Timestamp};

use super::{
    Bench, Report,
    spread::{ReportedArgs, systems_of},
};

pub(crate) fn status(bench: &Bench, reported: &ReportedArgs) -> Result<Report> {
    let (reports, _) = reported.read()?;
    let workshop = bench.workshop()?;
    let (root, targets) = (workshop.root()?, workshop.targets()?);
    let timestamp: Signed<Timestamp> = workshop::read(&workshop.metadata("timestamp.json"))?;
    let mut report = Report::new("");
    let mut expiries = Vec::new();
    for (role, expires) in [
        ("root", root.signed.expires),
        ("targets", targets.signed.expires),
        ("timestamp", timestamp.signed.expires),
    ] {
        let left = expires.as_second() - i64::try_from(bench.now)?;
        let days = left.div_euclid(86_400);
        if days < 3 {
            report.next =
                format!("the {role} metadata expire in {days} days: see MAINTAINERS.md, expired metadata");
        }
        report = report.did(format!("{role}: expires in {days} days"));
        expiries.push(json!({ "role": role, "days": days }));
    }
    let mut systems = Vec::new();
    for system in systems_of(&targets.signed) {
        let rollout = system.rollout;
        let since = bench.now.saturating_sub(rollout.start).min(rollout.duration);
        let share = if bench.now < rollout.start {
            0
        } else {
            (since * 100).checked_div(rollout.duration).unwrap_or(100)
        };
        let state = match (rollout.halted, rollout.paused) {
            (true, _) => "withdrawn, or not started".to_owned(),
            (false, Some(_)) => "paused".to_owned(),
            (false, None) => format!("offered to {share} % of hubs"),
        };
        let name = format!("{} {}", system.listing.board, system.listing.version);
        let said = reports.get(&(system.listing.board, system.listing.version));
        let heard = said.map(|said| format!("; {} hubs are healthy, {} failed", said.healthy, said.failed));
        let heard = heard.unwrap_or_default();
        report = report.did(format!("{name}: {state}, {} deltas{heard}", system.listing.deltas.len()));
        systems
            .push(json!({ "system": name, "state": state, "length": system.listing.length, "hubs": said }));
    }
    let waits = ["draft/targets.json", "draft/root.json"].map(|draft| workshop.path(draft).exists());
    if waits.contains(&true) {
        report.next = "something waits for signatures: cairn-publish sign".to_owned();
    }
    Ok(report.with(json!({ "expiries": expiries, "systems": systems, "waiting": waits.contains(&true) })))
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The hub's board
    #[arg(long)]
    board: Board,
    /// What it runs
    #[arg(long)]
    installed: Version,
    /// Its seed, any text: the same text is the same hub
    #[arg(long, default_value = "a hub")]
    seed: String,
    /// The root metadata that its image brought along; else the first ones
    #[arg(long)]
    root: Option<PathBuf>,
    /// Look from this many hours ahead
    #[arg(long, default_value_t = 0)]
    in_hours: u64,
}

pub(crate) fn verify(bench: &Bench, args: &VerifyArgs) -> Result<Report> {
    let workshop = bench.workshop()?;
    let now = bench.now.saturating_add(args.in_hours.saturating_mul(3600));
    let root = args.root.clone().unwrap_or_else(|| workshop.metadata("1.root.json"));
    let root = std::fs::read_to_string(&root).with_context(|| format!("cannot read {}", root.display()))?;
    let folder = tempfile::tempdir()?;
    let store = Store::create(Folder::open(folder.path().join("trust"))?, Memory::initial(root, 0))?;
    let mut trust = Trust::new(store, folder.path().to_owned(), Limits::default());
    let source = Arc::new(Directory(workshop.path("repository")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let catalogue = runtime.block_on(trust.refresh(source, Clock::Trusted(now), Channel::Online))?;
    let (root, targets) = catalogue.versions();
    let report =
        Report::new("").did(format!("the hub believes it: root version {root}, targets version {targets}"));
    let Some((entry, system)) = catalogue.newest_system(&args.board, args.installed) else {
        let boards = catalogue.boards();
        let says = if boards.contains(&args.board) {
            "there is nothing newer for it".to_owned()
        } else if boards.is_empty() {
            "nothing is published yet".to_owned()
        } else {
            let boards: Vec<String> = boards.iter().map(ToString::to_string).collect();
            format!("nothing is published for {}; for {}", args.board, boards.join(", "))
        };
        return Ok(report.did(says).with(json!({ "decision": "nothing" })));
    };
    let mut seed = [0; 16];
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, args.seed.as_bytes());
    seed.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    let version = system.listing.version.to_string();
    let decision = system.rollout.decide(Seed::from_random(seed), &version, now);
    let says = match decision {
        Decision::Install => format!("it installs {version} now, from {}", entry.path()),
        Decision::Wait(turn) => {
            format!("its turn for {version} comes in {} h", turn.saturating_sub(now) / 3600)
        }
        Decision::Paused => format!("it waits: the rollout of {version} is paused"),
        Decision::Halted => format!("it leaves {version} alone: withdrawn"),
    };
    Ok(report.did(says).with(json!({ "decision": format!("{decision:?}"), "version": version })))
}

#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8088")]
    listen: SocketAddr,
}

pub(crate) fn serve(bench: &Bench, args: &ServeArgs) -> Result<Report> {
    let workshop = bench.workshop()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(args.listen).await?;
        eprintln!("http://{}/metadata/timestamp.json", listener.local_addr()?);
        axum::serve(listener, router(workshop.path("repository"))).await
    })?;
    Ok(Report::new(""))
}

pub(crate) fn refresh(bench: &Bench) -> Result<Report> {
    let workshop = bench.workshop()?;
    workshop.refresh(&bench.online(&workshop)?)?;
    let days = workshop.config().timestamp.days;
    Ok(Report::new("Call this every day, from cron")
        .did(format!("snapshot and timestamp are signed anew, for {days} days")))
}
