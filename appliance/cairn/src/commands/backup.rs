//! `cairn backup`

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
};

use super::{models::finish, passphrase};
use crate::{
    cli::BackupArguments,
    console::{self, Request},
    data::Folder,
    outcome::{Code, Failure, while_doing},
};

pub(super) async fn run(folder: &Folder, arguments: &BackupArguments) -> Result<(), Failure> {
    let path = &arguments.file;
    if path.exists() {
        return Err(Failure::new(Code::Refused, format!("{} is there already", path.display()))
            .kept("It was not touched.")
            .next("Name another file."));
    }
    let hub = console::connect(folder)?;
    let passphrase = passphrase::read(arguments.passphrase_file.as_deref(), true)?.reveal().to_owned();
    // Under another name until it is whole, so that nobody takes half a backup for one.
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .map_err(while_doing(format!("creating {}", path.display())))?;
    hub.ask(Request::Backup { passphrase }, Some(file)).await?;
    if let Err(failure) = finish(&hub, "Writing the backup").await {
        // Whether half a backup could be removed changes nothing about the failure.
        drop(fs::remove_file(&partial));
        return Err(failure);
    }
    let renamed = fs::rename(&partial, path).and_then(|()| sync_folder(path));
    renamed.map_err(while_doing(format!("finishing {}", path.display())))?;
    println!("The backup is {}. Without its passphrase nobody can read it, you neither.", path.display());
    Ok(())
}

fn sync_folder(path: &std::path::Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(std::path::Path::new(".")))?.sync_all()
}
