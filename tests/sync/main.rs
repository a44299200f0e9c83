//! Synchronisation on real processes: hubs as they ship, gateway instances, HAProxy with the configuration that we ship,
//! PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod clock;
mod deploy;
mod files;
mod fill;
mod records;
mod rollout;
mod through;

use std::time::Duration;

use cairn_tests::chaos::{Plan, run};

/// Nothing breaks: what is written on one hub is shown by the other, over HTTPS and live.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_and_gateway_converge() {
    let plan = Plan { seed: 1, hubs: 2, storm: Duration::from_secs(5), breaks: false };
    let report = run(plan).await.unwrap();
    println!("{report}");
    assert!(report.saved > 0, "nobody wrote anything");
    assert_eq!(report.connections.1, 0, "connections broke by themselves");
    let (two, other) = report.rounds;
    assert!(two > 0 && other == 0, "{two} rounds over HTTP/2, {other} otherwise");
}

/// Everything breaks, for a while; `cargo xtask chaos --minutes N` goes on for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_and_gateway_converge_after_a_storm() {
    let plan = Plan { seed: 7, hubs: 3, storm: Duration::from_secs(30), breaks: true };
    let report = run(plan).await.unwrap();
    println!("{report}");
    assert!(report.saved > 0, "nobody could write anything");
    assert!(report.connections.1 > 0, "no connection broke");
}
