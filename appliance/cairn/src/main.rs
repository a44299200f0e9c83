//! The hub as one binary: command line, roles and their wiring. Nothing else stands here, and nothing depends on it.

#![forbid(unsafe_code)]

mod addresses;
mod cli;
mod commands;
mod console;
mod cooling;
mod data;
mod discovery;
mod documents;
mod host;
mod logging;
mod outcome;
mod packs;
mod provisioning;
mod role;
mod run;
mod serve;
mod sticks;
mod system;
mod updates;
mod uplink;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, RoleCommand};

fn main() -> ExitCode {
    // The extractor takes nothing but its pipes and must not have a thread or a descriptor more than needed.
    if std::env::args_os().skip(1).eq(["role", "extract"]) {
        return cairn_library::extract::child_main();
    }
    let cli = Cli::parse();
    let data = cli.data.clone().unwrap_or_else(data::default_folder);
    let done = match cli.command {
        Command::Run(arguments) => run::run(data, arguments),
        Command::Role(RoleCommand::Hub(arguments)) => role::ended(role::hub::main(data, arguments)),
        Command::Role(RoleCommand::Infer(arguments)) => role::ended(role::infer::main(&data, &arguments)),
        Command::Role(RoleCommand::Extract) => return cairn_library::extract::child_main(),
        command => commands::dispatch(data, command),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
