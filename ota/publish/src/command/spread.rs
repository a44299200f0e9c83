//! Rollouts: start, pause, go on, withdraw.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read},
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use cairn_bundle::{Board, Version};
use cairn_publish::{
    systems,
    workshop::{self, Outcome},
};
use cairn_trust::{
    Listed, System,
    rollout::{Reports, Rollout, Threshold},
};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{Bench, Report, SystemName};

const NEXT: &str = "cairn-publish sign --key release-1";
/// Longest list of what hubs reported, in bytes.
const MAX_REPORTS: u64 = 16 << 20;

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

// What hubs reported. (No documentation: it would become that of the commands.)
#[derive(Args)]
pub(crate) struct ReportedArgs {
    /// What hubs reported, as `cairn-gateway updates` prints it; `-` for standard input, several times for several gateways
    #[arg(long)]
    reports: Vec<PathBuf>,
}

/// What hubs reported, by board and version.
pub(crate) type Sums = BTreeMap<(Board, Version), Reports>;

/// What hubs reported about a version.
#[derive(Deserialize)]
struct Line {
    board: Board,
    version: Version,
    #[serde(flatten)]
    reports: Reports,
}

impl ReportedArgs {
    /// Sums by board and version, and how many lines make no sense: hubs choose what stands there, and one that says nonsense must not
    /// keep the others from being heard.
    pub(crate) fn read(&self) -> Result<(Sums, usize)> {
        let (mut sums, mut odd) = (Sums::new(), 0);
        for path in &self.reports {
            let bytes = if path.as_os_str() == "-" {
                bounded(std::io::stdin())
            } else {
                File::open(path).and_then(bounded)
            };
            let lines: Vec<serde_json::Value> = bytes
                .map_err(anyhow::Error::from)
                .and_then(|bytes| Ok(serde_json::from_slice(&bytes)?))
                .with_context(|| format!("what hubs reported, {}", path.display()))?;
            for line in lines {
                let Ok(Line { board, version, reports }) = serde_json::from_value(line) else {
                    odd += 1;
                    continue;
                };
                let sum = sums.entry((board, version)).or_default();
                sum.healthy = sum.healthy.saturating_add(reports.healthy);
                sum.failed = sum.failed.saturating_add(reports.failed);
            }
        }
        Ok((sums, odd))
    }
}

fn bounded(from: impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_REPORTS + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_REPORTS { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

#[derive(Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    reported: ReportedArgs,
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

pub(crate) fn watch(bench: &Bench, args: &WatchArgs) -> Result<Report> {
    if args.reported.reports.is_empty() {
        bail!("nothing to watch: --reports FILE, or - for standard input");
    }
    let workshop = bench.workshop()?;
    let (reports, odd) = args.reported.read()?;
    let threshold = Threshold { reports: args.at_least, percent: args.percent };
    let mut report = Report::new("");
    if odd > 0 {
        report = report.did(format!("{odd} lines of the reports make no sense and were passed over"));
    }
    let mut halted = Vec::new();
    // What hubs can have is what is published; a draft may say otherwise and be signed much later.
    for system in systems_of(&workshop.targets()?.signed) {
        let name = (system.listing.board.clone(), system.listing.version);
        let Some(said) = reports.get(&name).filter(|said| threshold.passed(**said)) else { continue };
        if !system.rollout.halted {
            let target = systems::target(&name.0, name.1);
            report =
                report.did(format!("{target}: {} hubs failed, {} are healthy", said.failed, said.healthy));
            halted.push(target);
        }
    }
    let data = json!({ "halted": halted });
    if halted.is_empty() {
        return Ok(report.did("no version that is offered has failed too often").with(data));
    }
    let Some(name) = &args.key else {
        for target in &halted {
            workshop.edit_system(target, |system| system.rollout.halted = true)?;
        }
        report.next = NEXT.to_owned();
        return Ok(report.did("they are withdrawn in the draft, which waits for signatures").with(data));
    };
    let halt = |system: &mut System| system.rollout.halted = true;
    let outcome = workshop.change_published(&halted, halt, &bench.key(name)?, &bench.online(&workshop)?)?;
    report.next = match outcome {
        Outcome::Published { .. } => "cairn-publish status".to_owned(),
        Outcome::Waiting { .. } => "others must sign: cairn-publish sign --key NAME".to_owned(),
    };
    Ok(report.did(signed(name, &outcome)).with(data))
}

fn signed(key: &str, outcome: &Outcome) -> String {
    match outcome {
        Outcome::Published { version } => {
            format!("withdrawn: {key} signed, version {version} of the targets metadata is published")
        }
        Outcome::Waiting { have, need } => {
            format!("withdrawn in the draft: {key} signed, {have} of {need}")
        }
    }
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
