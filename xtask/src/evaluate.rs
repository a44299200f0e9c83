//! `cargo xtask evaluate`: search quality and the threshold of "the library does not hold this".

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    bench, setup,
    step::{self, section},
    test::cargo,
    workspace,
};

/// Where the values that are chosen stand.
const PARAMETERS: &str = "appliance/library/src/parameters.rs";
/// Where the figures stand.
const FILE: &str = "docs/SEARCH.md";
/// The constants, as the program prints them.
const CHOSEN: [&str; 3] = ["FUSION", "VERDICT", "VERDICT_BY_WORDS"];

/// Arguments of `cargo xtask evaluate`.
#[derive(Args)]
pub(crate) struct EvaluateArgs {
    /// Also choose the parameters anew on the tuning half and print them
    #[arg(long)]
    calibrate: bool,
    /// With --calibrate: use what was chosen from now on; then measure and write the figures to docs/SEARCH.md
    #[arg(long)]
    write: bool,
}

/// Fetches the model, then runs the library's own evaluation program, which fetches the documents.
pub(crate) fn run(args: &EvaluateArgs) -> Result<()> {
    if args.calibrate {
        let printed = measure(true)?;
        if args.write {
            for name in CHOSEN {
                let start = format!("{name} = ");
                let value = printed.lines().find_map(|line| line.strip_prefix(&start));
                section::set_constant(
                    PARAMETERS,
                    name,
                    value.with_context(|| format!("no {name} was chosen"))?,
                )?;
            }
            step::show("Formatting them", cargo("fmt").args(["--package", "cairn-library"]))?;
        }
    }
    if !args.calibrate || args.write {
        let printed = measure(false)?;
        if args.write {
            section::write(FILE, "quality", &format!("```text\n{}\n```", printed.trim()))?;
        }
    }
    Ok(())
}

fn measure(calibrate: bool) -> Result<String> {
    let model = setup::for_running()?;
    bench::build()?;
    let mut evaluation = bench::example("evaluate");
    evaluation.arg("--embedding-model").arg(model);
    evaluation.arg("--documents").arg(workspace::cache().join("documents"));
    if calibrate {
        evaluation.arg("--calibrate");
    }
    step::show_and_keep("Measuring search and answers", &mut evaluation)
}
