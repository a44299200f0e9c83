//! `cairn-gateway`: the command line.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cairn-gateway: {error:#}");
            ExitCode::FAILURE
        }
    }
}
