//! Commands for whoever sits at the device. All but `restore`, `bench-inference` and `version` speak to the running hub;
//! none opens the records beside it, because the hub is the one owner of its database and of the memory that models
//! take. Without a running hub they say so and how to start one.

mod ask;
mod backup;
mod bench;
mod device;
mod health;
mod library;
mod models;
mod passphrase;
mod restore;
mod search;
mod show;
mod support;
mod sync;

use std::path::PathBuf;

use crate::{
    cli::{Command, LibraryCommand, ModelsCommand},
    data::Folder,
    outcome::{Failure, while_doing},
};

/// Carries out one command.
pub(crate) fn dispatch(data: PathBuf, command: Command) -> Result<(), Failure> {
    let folder = Folder::at(std::path::absolute(data).map_err(while_doing("finding the hub's folder"))?);
    match command {
        Command::Ask(arguments) => block_on(ask::run(&folder, arguments)),
        Command::Search(arguments) => block_on(search::run(&folder, arguments)),
        Command::Models(ModelsCommand::List { json }) => block_on(models::list(&folder, json)),
        Command::Models(ModelsCommand::Add { file }) => block_on(models::add(&folder, &file)),
        Command::Models(ModelsCommand::Compare { file, json }) => models::compare(&file, json),
        Command::Models(ModelsCommand::Remove { name }) => block_on(models::remove(&folder, name)),
        Command::Library(LibraryCommand::Add { paths }) => block_on(library::add(&folder, &paths)),
        Command::Backup(arguments) => block_on(backup::run(&folder, &arguments)),
        Command::Restore(arguments) => restore::run(&folder, &arguments),
        Command::SupportBundle { file } => block_on(support::run(&folder, &file)),
        Command::Enrol(arguments) => block_on(sync::enrol(&folder, arguments)),
        Command::Sync { command } => block_on(sync::run(&folder, command)),
        Command::Health { json } => block_on(health::run(&folder, json)),
        Command::BenchInference(arguments) => bench::run(&arguments),
        Command::Version => {
            println!("cairn {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Command::Device(command) => device::run(&folder, command),
        // Handled before they come here.
        Command::Run(_) | Command::Role(_) => Ok(()),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(while_doing("starting the event loop"))?.block_on(work)
}

/// One JSON object on a line of its own.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(value).map_err(while_doing("writing JSON"))?);
    Ok(())
}
