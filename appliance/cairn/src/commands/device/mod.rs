//! What the services of a device do beside the hub: preparing a start, the console, names on the hub's own Wi-Fi. Each
//! is a unit of its own in `image/rootfs`, so that each has the rights it needs and no more.

mod console;
mod names;
mod prepare;

use crate::{cli::DeviceCommand, data::Folder, outcome::Failure};

/// Below `/run`: what went wrong while a start was prepared, a line each, for the console.
const TROUBLE: &str = "cairn/trouble";

/// Carries out one of them.
pub(super) fn run(folder: &Folder, command: DeviceCommand) -> Result<(), Failure> {
    match command {
        DeviceCommand::Prepare(paths) => prepare::run(folder, &paths),
        DeviceCommand::Console(paths) => console::run(folder, &paths),
        DeviceCommand::Names(paths) => names::run(&paths),
    }
}
