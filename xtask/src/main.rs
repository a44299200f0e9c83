//! The developer's commands: `cargo xtask --help`.
//!
//! This tool compiles in seconds and depends on none of the product's crates, so that setting up a bare
//! machine does not wait for a build. What measures or checks the product is a program in the crate it
//! belongs to; this tool only prepares what it needs and starts it.

#![forbid(unsafe_code)]

mod bench;
mod bench_boot;
mod bench_instructions;
mod bench_sync;
mod boot;
mod buildroot;
mod chaos;
mod cross;
mod embedding_model;
mod evaluate;
mod fuzz;
mod gateway;
mod hub;
mod image;
mod ota_images;
mod powercut;
mod releases;
mod setup;
mod simulate;
mod step;
mod test;
mod test_image;
mod tuf_conformance;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The developer's commands of Cairn", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Set up what is missing, build the hub, start it with a sample library and print its address
    Run(hub::RunArgs),
    /// Set up what the tests need and run them all (what CI runs)
    Test(test::TestArgs),
    /// Check formatting and lints only
    Lint,
    /// Install what building, running and testing need, without doing either
    Setup,
    /// Measure the hub and print the figures of docs/BENCHMARKS.md
    Bench(bench::BenchArgs),
    /// Measure search quality and calibrate when Ask says that the library does not hold the answer
    Evaluate(evaluate::EvaluateArgs),
    /// Build the hub's binary for the boards (aarch64)
    Cross(cross::CrossArgs),
    /// Build flashable cards
    Image(image::ImageArgs),
    /// Boot a card in QEMU, its page forwarded and its console in the terminal
    Boot(boot::BootArgs),
    /// Check the Buildroot tree against a checkout of Buildroot
    Buildroot(buildroot::BuildrootArgs),
    /// Build QEMU's card and run the tests that boot it (not part of `test`)
    TestImage(test_image::TestImageArgs),
    /// Cut the power of QEMU's card while it updates itself, again and again (not part of `test`)
    Powercut(powercut::PowercutArgs),
    /// Start a gateway with a PostgreSQL of its own; print its address and an enrolment token
    Gateway(gateway::GatewayArgs),
    /// Run the synchronisation simulator over many seeds, or replay one
    Simulate(simulate::SimulateArgs),
    /// Play storms over real hubs, gateway instances, a load balancer and PostgreSQL
    Chaos(chaos::ChaosArgs),
    /// Run the public TUF conformance suite against the trust that hubs have
    TufConformance(tuf_conformance::TufConformanceArgs),
    /// Fuzz every parser of untrusted input for a while
    Fuzz(fuzz::FuzzArgs),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Run(args) => hub::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Lint => test::lint(),
        Task::Setup => setup::everything(),
        Task::Bench(args) => bench::run(&args),
        Task::Evaluate(args) => evaluate::run(&args),
        Task::Cross(args) => cross::run(&args),
        Task::Image(args) => image::run(&args),
        Task::Boot(args) => boot::run(&args),
        Task::Buildroot(args) => buildroot::run(&args),
        Task::TestImage(args) => test_image::run(&args),
        Task::Powercut(args) => powercut::run(&args),
        Task::Gateway(args) => gateway::run(&args),
        Task::Simulate(args) => simulate::run(&args),
        Task::Chaos(args) => chaos::run(&args),
        Task::TufConformance(args) => tuf_conformance::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n✗ {error:#}");
            ExitCode::FAILURE
        }
    }
}
