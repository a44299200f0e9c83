//! `cargo xtask simulate`: many seeds of the synchronisation simulator, or one of them alone.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use cairn_tests::simulation::{Report, run};

const USAGE: &str = "simulate --seeds N [--from SEED] | --seed SEED";
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    match (value("--seed"), value("--seeds")) {
        (Some(seed), None) => play(seed, 1),
        (None, Some(count)) => play(value("--from").unwrap_or(0), count),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn play(from: u64, count: u64) -> ExitCode {
    let began = Instant::now();
    let (mut total, mut found, mut told) = (Report::default(), Vec::new(), Instant::now());
    for seed in from..from.saturating_add(count) {
        match run(seed, None) {
            Ok(report) => {
                total.acknowledged += report.acknowledged;
                total.rounds += report.rounds;
                total.conflicts += report.conflicts;
                total.faults += report.faults;
                total.virtual_ms += report.virtual_ms;
            }
            Err(finding) => {
                println!("{finding}\n  alone: cargo xtask simulate --seed {seed}");
                found.push(seed);
            }
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            println!("{} of {count} seeds, {} findings, {:?}", seed - from + 1, found.len(), began.elapsed());
            if std::io::stdout().flush().is_err() {
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{count} seeds from {from} in {:.1} s: {} writes acknowledged, {} rounds, {} conflicts, {} faults, {} days of virtual \
         time; {} findings {found:?}",
        began.elapsed().as_secs_f64(),
        total.acknowledged,
        total.rounds,
        total.conflicts,
        total.faults,
        total.virtual_ms / 86_400_000,
        found.len(),
    );
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
