//! `cairn models`

use std::{fs::File, path::Path};

use cairn_inference::compare;
use cairn_process::{Confinement, Profile};

use super::{print_json, show};
use crate::{
    console::{self, Connection, ModelState, Request, Step},
    data::Folder,
    outcome::{Code, Failure, while_doing},
};

pub(super) async fn list(folder: &Folder, json: bool) -> Result<(), Failure> {
    let hub = console::connect(folder)?;
    hub.ask(Request::Models, None).await?;
    loop {
        match hub.next().await? {
            Step::Models(models) if json => print_json(&models)?,
            Step::Models(models) if models.is_empty() => {
                println!("No model is installed. Add one with `cairn models add FILE.gguf`.");
            }
            Step::Models(models) => {
                for model in models {
                    let state = match model.state {
                        ModelState::Loaded => "loaded".to_owned(),
                        ModelState::Loading { percent } => format!("loading, {percent} %"),
                        ModelState::Available => "available".to_owned(),
                        ModelState::Refused { reason } => {
                            format!("cannot be used: {}", show::harmless(&reason))
                        }
                    };
                    let size = show::bytes(model.bytes);
                    println!("{}  {} {}, {size}, {state}", model.name, model.family, model.quantization);
                }
            }
            Step::Done(_) => return Ok(()),
            _ => {}
        }
    }
}

pub(super) async fn add(folder: &Folder, path: &Path) -> Result<(), Failure> {
    // Before anything is copied: a file that is no model costs nothing.
    let model = cairn_inference::inspect(path).map_err(|error| {
        Failure::new(Code::Refused, format!("{}: {error}", path.display())).kept("Nothing was changed.")
    })?;
    let name = model_name(&model.name).ok_or_else(|| {
        Failure::new(Code::Refused, format!("{:?} cannot be the name of a model", model.name))
            .kept("Nothing was changed.")
            .next("Rename the file: letters, digits, \".\", \"_\" and \"-\", at most 100, then \".gguf\".")
    })?;
    let file = File::open(path).map_err(while_doing(format!("opening {}", path.display())))?;
    let hub = console::connect(folder)?;
    hub.ask(Request::AddModel { name }, Some(file)).await?;
    finish(&hub, "Copying").await
}

/// Two computations that round differently rarely agree everywhere; how far they are apart is for the reader to judge.
pub(super) fn compare(path: &Path, json: bool) -> Result<(), Failure> {
    let refused =
        |error: &dyn std::fmt::Display| Failure::new(Code::Refused, format!("{}: {error}", path.display()));
    // The file may come from anywhere.
    let confined = Confinement::new(Profile::Infer).read(path).apply();
    confined.map_err(while_doing("confining the comparison"))?;
    let found = compare::run(path).map_err(|error| refused(&error))?;
    if json {
        return print_json(&found);
    }
    println!("places compared     {}", found.places);
    println!("same next token     {}", found.same_token);
    println!("greatest difference {:.3} standard deviations", found.worst);
    if let Some(known) = found.known_difference {
        println!("candle-transformers computes this family differently: {known}.");
    }
    Ok(())
}

pub(super) async fn remove(folder: &Folder, name: String) -> Result<(), Failure> {
    let Some(name) = model_name(&name) else {
        return Err(Failure::new(Code::Refused, format!("there is no model called {name:?}")));
    };
    let hub = console::connect(folder)?;
    hub.ask(Request::RemoveModel { name }, None).await?;
    finish(&hub, "Removing").await
}

/// A name that is one file's name in every file system.
fn model_name(name: &str) -> Option<String> {
    let fits = (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && !name.starts_with(['.', '-']);
    fits.then(|| name.to_owned())
}

/// Shows progress until the last step and says what was done.
pub(super) async fn finish(hub: &Connection, doing: &str) -> Result<(), Failure> {
    loop {
        match hub.next().await.inspect_err(|_| show::progress_ended())? {
            Step::Progress { done, total } => show::progress(doing, done, total),
            Step::Done(words) => {
                show::progress_ended();
                println!("{words}");
                return Ok(());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_name_cannot_leave_its_folder() {
        assert_eq!(model_name("qwen2.5-0.5b_q8").as_deref(), Some("qwen2.5-0.5b_q8"));
        for name in ["", "..", "../x", "a/b", "-rf", ".hidden", "a b", &"x".repeat(101)] {
            assert_eq!(model_name(name), None, "{name}");
        }
    }
}
