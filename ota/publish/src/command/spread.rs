//! Rollouts: start, pause, go on, withdraw.

use std::path::PathBuf;

use anyhow::Result;
use cairn_bundle::{Board, Version};
use cairn_publish::{systems, workshop};
use cairn_trust::{
    Listed,
    rollout::{Reports, Rollout, Threshold},
};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{Bench, Report, SystemName};

const NEXT: &str = "cairn-publish sign --key release-1";

#[derive(Args)]
pub(crate) struct RolloutArgs {
    #[command(flatten)]
    name: SystemName,
    /// Hours until the first hub's turn
    #[arg(long, default_value_t = 0)]
    in_hours: u64,
    /// Hours from the first hub's turn to the last one's; 0 for all at once
    #[arg(long, default_value_t = 168)]
    over_hours: u64,
}

fn edit(bench: &Bench, name: &SystemName, change: impl FnOnce(&mut Rollout)) -> Result<()> {
    bench
        .workshop()?
        .edit_system(&systems::target(&name.board, name.version), |system| change(&mut system.rollout))
}

pub(crate) fn rollout(bench: &Bench, args: &RolloutArgs) -> Result<Report> {
    let start = bench.now.saturating_add(args.in_hours.saturating_mul(3600));
    let duration = args.over_hours.saturating_mul(3600);
    edit(bench, &args.name, |rollout| *rollout = Rollout { duration, ..Rollout::at_once(start) })?;
    Ok(Report::new(NEXT)
        .did(format!(
            "version {} goes to {} in {} h, to everybody within {} h",
            args.name.version, args.name.board, args.in_hours, args.over_hours
        ))
        .with(json!({ "start": start, "duration": duration })))
}

pub(crate) fn pause(bench: &Bench, name: &SystemName) -> Result<Report> {
    let now = bench.now;
    edit(bench, name, |rollout| rollout.paused = rollout.paused.or(Some(now)))?;
    Ok(Report::new(NEXT)
        .did(format!("version {} pauses: who had their turn goes on, nobody else", name.version)))
}

pub(crate) fn resume(bench: &Bench, name: &SystemName) -> Result<Report> {
    let now = bench.now;
    edit(bench, name, |rollout| *rollout = rollout.resumed(now))?;
    Ok(Report::new(NEXT).did(format!("version {} goes on where it paused", name.version)))
}

pub(crate) fn halt(bench: &Bench, name: &SystemName) -> Result<Report> {
    edit(bench, name, |rollout| rollout.halted = true)?;
    Ok(Report::new(NEXT).did(format!("version {} is withdrawn: nobody takes it any more", name.version)))
}

#[derive(Args)]
pub(crate) struct WatchArgs {
    /// What hubs reported: `[{"board": "rpi-4", "version": "1.2.3", "healthy": 40, "failed": 2}, …]`
    #[arg(long)]
    reports: PathBuf,
    /// Fewer reports than this say nothing
    #[arg(long, default_value_t = 3)]
    at_least: u32,
    /// Most failures among them, in percent
    #[arg(long, default_value_t = 20)]
    percent: u32,
    /// Key to sign with at once; else the draft waits for signatures
    #[arg(long)]
    key: Option<String>,
}

/// What hubs reported about a version.
#[derive(Deserialize)]
struct Line {
    board: Board,
    version: Version,
    #[serde(flatten)]
    reports: Reports,
}

pub(crate) fn watch(bench: &Bench, args: &WatchArgs) -> Result<Report> {
    let workshop = bench.workshop()?;
    let lines: Vec<Line> = workshop::read(&args.reports)?;
    let threshold = Threshold { reports: args.at_least, percent: args.percent };
    let mut report = Report::new("");
    let mut halted = Vec::new();
    for line in lines.iter().filter(|line| threshold.passed(line.reports)) {
        let Ok(system) = systems::find(&workshop, &line.board, line.version) else { continue };
        if system.rollout.halted {
            continue;
        }
        let target = systems::target(&line.board, line.version);
        workshop.edit_system(&target, |system| system.rollout.halted = true)?;
        let Reports { healthy, failed } = line.reports;
        report = report.did(format!("withdrew {target}: {failed} hubs failed, {healthy} are healthy"));
        halted.push(target);
    }
    if halted.is_empty() {
        return Ok(report.did("no version has failed too often").with(json!({ "halted": halted })));
    }
    report.next = NEXT.to_owned();
    if let Some(name) = &args.key {
        let outcome = workshop.sign_targets(&bench.key(name)?, &bench.online(&workshop)?)?;
        report = report.did(format!("signed with {name}: {outcome:?}"));
        report.next = "cairn-publish status".to_owned();
    }
    Ok(report.with(json!({ "halted": halted })))
}

/// Systems of a draft or of what is published.
pub(crate) fn systems_of(targets: &tough::schema::Targets) -> Vec<cairn_trust::System> {
    let mut systems: Vec<_> = targets
        .targets
        .values()
        .filter_map(|target| match workshop::listed(target)? {
            Listed::System(system) => Some(*system),
            _ => None,
        })
        .collect();
    systems.sort_by(|a, b| (&a.listing.board, a.listing.version).cmp(&(&b.listing.board, b.listing.version)));
    systems
}
