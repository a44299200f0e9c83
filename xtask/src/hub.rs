//! `cargo xtask run`: from a clean clone to a hub that answers.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    setup, step,
    test::cargo,
    workspace::{development_hub, root, target},
};

/// How long the hub may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Arguments of `cargo xtask run`.
#[derive(Args)]
pub(crate) struct RunArgs {
    /// The hub's folder
    #[arg(long, default_value_os_t = development_hub())]
    data: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0:8080")]
    listen: String,
    /// Leave the library empty
    #[arg(long)]
    no_sample: bool,
    /// A generating model (GGUF) to install
    #[arg(long)]
    model: Option<PathBuf>,
}

/// Sets up, builds, starts, fills the library and stays until the hub ends.
pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let embedding_model = setup::for_running()?;
    step::show("Building the hub", cargo("build").args(["--release", "--package", "cairn"]))?;
    let cairn = target().join("release/cairn");
    std::fs::create_dir_all(&args.data).with_context(|| format!("{} cannot be made", args.data.display()))?;
    let first_time = !args.data.join("hub/records.db").exists();

    step::say(&format!("Starting the hub in {}", args.data.display()));
    let mut hub = Command::new(&cairn)
        .arg("run")
        .arg("--data")
        .arg(&args.data)
        .args(["--listen", &args.listen])
        .arg("--embedding-model")
        .arg(&embedding_model)
        .spawn()
        .with_context(|| format!("{} cannot be started", cairn.display()))?;
    step::until(&mut hub, "the hub answers", READY_WITHIN, || {
        Ok(on_hub(&cairn, &args.data, &["health"]).output()?.status.success())
    })?;

    if let Some(model) = &args.model {
        let add = ["models", "add"];
        step::show("Installing the model", on_hub(&cairn, &args.data, &add).arg(model))?;
    }
    if first_time && !args.no_sample {
        let sample = root().join("appliance/library/sample");
        let add = ["library", "add"];
        step::show("Adding the sample library", on_hub(&cairn, &args.data, &add).arg(sample))?;
    }
    // Ctrl-C reaches the hub too (same process group); it shuts down in order and we wait for it.
    let status = hub.wait()?;
    if !status.success() {
        bail!("the hub ended with {status}");
    }
    Ok(())
}

fn on_hub(cairn: &Path, data: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(cairn);
    command.args(words).arg("--data").arg(data);
    command
}
