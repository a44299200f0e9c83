//! `cargo xtask gateway`: the cloud side on this computer, with a PostgreSQL of its own that is gone afterwards.

use anyhow::Result;
use clap::Args;

use crate::{setup::packages, step, test::cargo};

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
    let mut command = cargo("run");
    command.args(["--quiet", "-p", "cairn-gateway", "--", "dev", "--listen", &args.listen]);
    step::show("Starting a gateway with a database of its own (Ctrl-C ends both)", &mut command)
}
