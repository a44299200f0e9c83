//! `cargo xtask chaos`: storms over real hubs, gateway instances, HAProxy and PostgreSQL, one after the other.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use cairn_tests::chaos::{Plan, run};

const USAGE: &str = "chaos --minutes N [--seed SEED] [--hubs N] [--storm SECONDS]";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse::<u64>().ok()
    };
    let Some(minutes) = value("--minutes") else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let storm = Duration::from_secs(value("--storm").unwrap_or(120).clamp(1, 24 * 60 * 60));
    let hubs = usize::try_from(value("--hubs").unwrap_or(4)).unwrap_or(4).clamp(1, 20);
    let (began, mut seed, mut found) = (Instant::now(), value("--seed").unwrap_or(1), Vec::new());
    let mut storms = 0_u32;
    while storms == 0 || began.elapsed() < Duration::from_secs(60 * minutes) {
        match run(Plan { seed, hubs, storm, breaks: true }).await {
            Ok(report) => println!("seed {seed}: {report}"),
            Err(finding) => {
                println!("seed {seed}: FOUND {finding:#}");
                found.push(seed);
            }
        }
        (storms, seed) = (storms + 1, seed.wrapping_add(1));
    }
    println!(
        "{storms} storms of {} s in {:.0} minutes; {} findings {found:?}",
        storm.as_secs(),
        began.elapsed().as_secs_f64() / 60.0,
        found.len()
    );
    if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
