//! `cairn bench-inference`

use cairn_inference::{
    Family,
    bench::{self, EmbeddingReport, Report, Speed},
};
use cairn_process::{Confinement, Profile};

use super::{print_json, show};
use crate::{
    cli::BenchArguments,
    outcome::{Code, Failure, while_doing},
};

pub(super) fn run(arguments: &BenchArguments) -> Result<(), Failure> {
    let refused = |error: &dyn std::fmt::Display| {
        Failure::new(Code::Refused, format!("{}: {error}", arguments.model.display()))
    };
    // The file may come from anywhere, and what is measured should be what runs in the hub.
    let confined = Confinement::new(Profile::Infer).read(&arguments.model).apply();
    confined.map_err(while_doing("confining the measurement"))?;
    let model = cairn_inference::inspect(&arguments.model).map_err(|error| refused(&error))?;
    if model.family == Some(Family::Bert) {
        let report = bench::run_embedding(&arguments.model).map_err(|error| refused(&error))?;
        if arguments.json {
            return print_json(&report);
        }
        show_embedding(&report);
        return Ok(());
    }
    let report =
        bench::run(&arguments.model, |what| eprintln!("{what} …")).map_err(|error| refused(&error))?;
    if arguments.json {
        return print_json(&report);
    }
    show_report(&report);
    Ok(())
}

fn show_embedding(report: &EmbeddingReport) {
    println!("passages a second   {:.1}", report.passages_per_second);
    println!("longest question    {:.1} ms", report.query_ms);
}

fn show_report(report: &Report) {
    println!("{} ({})", report.model, show::bytes(report.file_bytes));
    println!("loaded in           {} ms", report.load_ms);
    if let Some(peak) = report.peak_bytes {
        println!("most memory         {}", show::bytes(peak));
    }
    let lines = |what: &str, speeds: &[Speed]| {
        for speed in speeds {
            println!("{what:<11} {:>5}   {:>8.1} tokens a second", speed.tokens, speed.per_second);
        }
    };
    lines("reading", &report.prefill);
    lines("writing at", &report.decode);
}
