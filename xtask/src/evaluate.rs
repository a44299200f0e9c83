//! `cargo xtask evaluate`: search quality and the threshold of "the library does not hold this".

use anyhow::Result;
use clap::Args;

use crate::{setup, step, test::cargo, workspace};

/// Arguments of `cargo xtask evaluate`.
#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// Also choose the parameters anew on the tuning half and print them
    #[arg(long)]
    calibrate: bool,
}

/// Fetches the documents and the model, then runs the library's own evaluation program.
pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    let model = setup::for_running()?;
    let documents = setup::documents::fetch(&workspace::cache())?;
    let mut evaluation = cargo("run");
    evaluation.args(["--release", "--package", "cairn-library", "--example", "evaluate", "--"]);
    evaluation.arg("--embedding-model").arg(model).arg("--documents").arg(documents);
    if args.calibrate {
        evaluation.arg("--calibrate");
    }
    step::show("Measuring search and answers", &mut evaluation)
}
