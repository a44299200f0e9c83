//! `cairn run`: the supervisor.

use std::{ffi::OsString, path::PathBuf};

use cairn_device::facts::Facts;
use cairn_supervisor::{DeviceConfig, End, Notify, Policy, RoleSpec, Tree, TreeConfig};

use crate::{
    cli::RunArguments,
    data::{Folder, Users},
    logging,
    outcome::{Code, Failure, while_doing},
    system,
};

/// Takes the folder, starts the roles and stays until told to end.
pub(crate) fn run(data: PathBuf, arguments: RunArguments) -> Result<(), Failure> {
    logging::start("supervisor");
    let folder = Folder::at(std::path::absolute(data).map_err(while_doing("finding the hub's folder"))?);
    let embedding_model = arguments.embedding_model.clone().unwrap_or_else(|| folder.embedding_model());
    // First the folder itself, so that the lock can lie in it; its parts only once it is ours.
    std::fs::create_dir_all(folder.root()).map_err(|error| folder.not_writable(&error))?;
    let _lock = folder.lock()?;
    folder.prepare(Users::choose(&folder, &embedding_model))?;
    let device = arguments.appliance.then(|| device(&folder, arguments.provisioning.clone()));
    let system = system::config(&folder, &arguments.system, arguments.appliance);
    let data: [OsString; 2] = ["--data".into(), folder.root().into()];
    let hub = RoleSpec {
        arguments: words(["role", "hub"]).chain(data.clone()).chain(as_words(&arguments)).collect(),
        // SQLite's larger sorts go there: the hub may write nowhere else.
        environment: vec![("TMPDIR".into(), folder.temporary().into())],
        policy: Policy::HUB,
    };
    let infer = RoleSpec {
        arguments: words(["role", "infer"])
            .chain(data)
            .chain(["--embedding-model".into(), embedding_model.into_os_string()])
            .collect(),
        environment: Vec::new(),
        policy: Policy::INFER,
    };
    let notify = Notify::from_environment().unwrap_or_else(|error| {
        tracing::warn!(%error, "the service manager cannot be told how the hub is");
        Notify::silent()
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(while_doing("starting the event loop"))?;
    runtime.block_on(async {
        let tree =
            Tree::new(TreeConfig { hub, infer, data: folder.hub(), watchdog: None, notify, device, system });
        match tree.run().await.map_err(while_doing("running the hub"))? {
            End::Asked => Ok(()),
            // Only where files stand for a card: a device restarts itself.
            End::Restart(_) => Err(Failure::new(Code::Restart, "the system is to be started anew")
                .next("Start it from the slot that boot control says.")),
        }
    })
}

/// The device whose system the hub is.
fn device(folder: &Folder, provisioning: Option<PathBuf>) -> DeviceConfig {
    let root = PathBuf::from("/");
    let facts = Facts::read(&root)
        .inspect_err(|error| tracing::warn!(%error, "the image does not say which board this is"))
        .ok();
    DeviceConfig {
        root,
        data: folder.root().to_owned(),
        boot_file: provisioning.unwrap_or_else(|| PathBuf::from("/boot/cairn.toml")),
        led: facts.and_then(|facts| facts.devices.led),
        systemctl: PathBuf::from("/usr/bin/systemctl"),
    }
}

fn words<const N: usize>(words: [&str; N]) -> impl Iterator<Item = OsString> {
    words.map(OsString::from).into_iter()
}

/// The arguments of `cairn run` for the role `hub`, which serves what they say.
fn as_words(arguments: &RunArguments) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    for address in &arguments.listen {
        words.extend(["--listen".into(), address.to_string().into()]);
    }
    if let Some(name) = &arguments.name {
        words.extend(["--name".into(), name.into()]);
    }
    if let Some(file) = &arguments.provisioning {
        words.extend(["--provisioning".into(), file.into()]);
    }
    if let Some(file) = &arguments.embedding_model {
        words.extend(["--embedding-model".into(), file.into()]);
    }
    if arguments.no_mdns {
        words.push("--no-mdns".into());
    }
    if arguments.appliance {
        words.push("--appliance".into());
    }
    let system = &arguments.system;
    if let Some(url) = &system.updates_url {
        words.extend(["--updates-url".into(), url.into()]);
    }
    for (name, folder) in [("--stick", &system.stick), ("--slots", &system.slots), ("--image", &system.image)]
    {
        if let Some(folder) = folder {
            words.extend([name.into(), folder.into()]);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command, RoleCommand};

    #[test]
    fn the_hub_role_is_told_everything_that_run_was_told() {
        let line = "cairn run --listen 127.0.0.1:0 --listen [::1]:81 --name spring --provisioning /p --embedding-model /m --no-mdns --appliance --updates-url http://u --stick /s --slots /r --image /i";
        let Command::Run(asked) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };
        let words = ["cairn".into(), "role".into(), "hub".into()].into_iter().chain(as_words(&asked));
        let Command::Role(RoleCommand::Hub(told)) = Cli::try_parse_from(words).unwrap().command else {
            panic!()
        };
        assert_eq!(format!("{asked:?}"), format!("{told:?}"));
    }
}
