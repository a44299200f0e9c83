//! `cairn ask`

use std::io::Write;

use super::{print_json, show};
use crate::{
    cli::AskArguments,
    console::{self, AskStep, Request, Step},
    data::Folder,
    outcome::{Code, Failure},
};

pub(super) async fn run(folder: &Folder, arguments: AskArguments) -> Result<(), Failure> {
    let hub = console::connect(folder)?;
    let text = arguments.question.join(" ");
    hub.ask(Request::Ask { text, model: arguments.model }, None).await?;
    let mut broken = None;
    loop {
        match hub.next().await? {
            Step::Ask(step) => {
                if let AskStep::Broken { why } = &step {
                    broken = Some(why.clone());
                }
                if arguments.json { print_json(&step)? } else { show_step(step) }
            }
            Step::Done(_) => break,
            _ => {}
        }
    }
    match broken {
        Some(why) => {
            Err(Failure::new(Code::Failed, format!("the answer broke off: {why}")).next("Ask again."))
        }
        None => Ok(()),
    }
}

fn show_step(step: AskStep) {
    match step {
        AskStep::Passages { hits, answerable, took_ms } => {
            for (index, hit) in hits.iter().enumerate() {
                show::hit(index + 1, hit);
            }
            eprintln!("{} passages in {took_ms} ms", hits.len());
            if !answerable && !hits.is_empty() {
                eprintln!("These are the nearest ones; they do not seem to answer.");
            }
        }
        AskStep::Queued { place } => eprintln!("Place {place} in the queue"),
        AskStep::Started { model } => eprintln!("{} reads …\n", show::harmless(&model)),
        AskStep::Restarted => println!("\n\n(The answer begins again, with another model.)\n"),
        AskStep::Text { text } => {
            print!("{}", show::harmless(&text));
            // What cannot be shown now is shown with what follows.
            let _shown = std::io::stdout().flush();
        }
        // The text was shown as it was written; what is left to say is what it stands on.
        AskStep::Sentence { supported: true, .. } => {}
        AskStep::Sentence { text, .. } => {
            eprintln!("\n(No passage supports: {})", show::harmless(text.trim()));
        }
        AskStep::NoAnswer { why } => println!("{why}"),
        AskStep::Broken { .. } => println!(),
        AskStep::Complete { tokens, prefill_ms, decode_ms } => {
            println!();
            eprintln!("{tokens} tokens; read in {prefill_ms} ms, written in {decode_ms} ms");
        }
    }
}
