//! `cairn-publish`, the command line of the maintainers' tool. Every command says what it did and what is next.

#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = command::Cli::parse();
    let json = cli.json;
    match command::run(cli) {
        Ok(report) => {
            report.print(json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            if json {
                println!("{}", serde_json::json!({ "error": format!("{error:#}") }));
            } else {
                eprintln!("✗ {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}
