//! `cargo xtask gateway`: the cloud side on this computer, with a PostgreSQL of its own that is gone afterwards.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{setup::packages, step, test::cargo, workspace::target};

/// Arguments of `cargo xtask gateway`.
#[derive(Args)]
pub(crate) struct GatewayArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
}

/// Installs PostgreSQL where it is missing, builds the gateway and starts it; prints its address and an enrolment token.
pub(crate) fn run(args: &GatewayArgs) -> Result<()> {
    packages::install(packages::RUN)?;
    packages::install(packages::GATEWAY)?;
    // A step of its own: it takes minutes the first time, and says how far it is.
    step::show("Building the gateway", cargo("build").args(["--release", "--package", "cairn-gateway"]))?;
    let mut gateway = Command::new(target().join("release/cairn-gateway"));
    gateway.args(["dev", "--listen", &args.listen]);
    step::show("Starting a gateway with a database of its own (Ctrl-C ends both)", &mut gateway)
}
