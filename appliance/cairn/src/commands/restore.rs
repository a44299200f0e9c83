//! `cairn restore`

use std::ops::ControlFlow;

use cairn_store::Progress;

use super::{passphrase, show};
use crate::{
    cli::RestoreArguments,
    data::{Folder, Users},
    outcome::{Code, Failure},
};

pub(super) fn run(folder: &Folder, arguments: &RestoreArguments) -> Result<(), Failure> {
    let path = &arguments.file;
    if !path.is_file() {
        return Err(Failure::new(Code::Refused, format!("{} is not a file", path.display()))
            .kept("Nothing was changed."));
    }
    std::fs::create_dir_all(folder.root()).map_err(|error| folder.not_writable(&error))?;
    // The lock also keeps a hub from starting in the middle of it.
    let _lock = folder.lock()?;
    let users = Users::choose(folder, &folder.embedding_model());
    folder.prepare(users)?;
    let passphrase = passphrase::read(arguments.passphrase_file.as_deref(), false)?;
    let progress = Progress::new(|so_far| {
        show::progress("Restoring", so_far.done_bytes, so_far.total_bytes);
        ControlFlow::Continue(())
    });
    let restored = cairn_store::restore(path, &passphrase, &folder.hub(), &progress);
    show::progress_ended();
    let summary = restored.map_err(|error| {
        Failure::new(Code::Refused, format!("{} cannot be restored: {error}", path.display()))
            .kept("What was in the hub's folder before is still there.")
    })?;
    // What was written belongs to whoever ran this command; the hub must be able to use it.
    folder.prepare(users)?;
    println!(
        "{} records and {} files are restored. Start the hub with `cairn run`.",
        summary.records, summary.files
    );
    Ok(())
}
