//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// A hub for a community: library, search, answers, records, on one device.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// The hub's folder [default: ~/.local/share/cairn]
    #[arg(long, global = true, env = "CAIRN_DATA", value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the hub until it is told to end
    Run(RunArguments),
    /// Ask the library of the running hub
    Ask(AskArguments),
    /// Search the library of the running hub
    Search(SearchArguments),
    /// The models that write answers
    #[command(subcommand)]
    Models(ModelsCommand),
    /// The documents of the library
    #[command(subcommand)]
    Library(LibraryCommand),
    /// Write an encrypted copy of everything to a file
    Backup(BackupArguments),
    /// Put a backup in the place of everything that is there; the hub must not be running
    Restore(RestoreArguments),
    /// Write a file that helps others to help: state and log, no secrets, nobody's words
    SupportBundle {
        /// The file to write (JSON)
        file: PathBuf,
    },
    /// Join a community: enrol with its gateway
    Enrol(EnrolArguments),
    /// Synchronisation with the gateway
    Sync {
        /// What to do [default: status]
        #[command(subcommand)]
        command: Option<SyncCommand>,
    },
    /// How the running hub is
    Health {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Measure how fast a model reads and writes on this machine
    BenchInference(BenchArguments),
    /// The version
    Version,
    /// What the services of a device do beside `cairn run --appliance`; started by their units
    #[command(subcommand, hide = true)]
    Device(DeviceCommand),
    /// A part of the hub; started by `cairn run`
    #[command(subcommand, hide = true)]
    Role(RoleCommand),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunArguments {
    /// Address and port to listen on; can be given several times [default: every address, port 8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// The name on the network, without ".local" [default: from the provisioning file, else "cairn"]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The provisioning file (cairn.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) provisioning: Option<PathBuf>,
    /// The embedding model [default: the one in the hub's folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) embedding_model: Option<PathBuf>,
    /// Do not announce the hub on the network
    #[arg(long)]
    pub(crate) no_mdns: bool,
    /// The hub is this device's system: it listens on port 80 and looks after LED, clock, restart and reset
    #[arg(long)]
    pub(crate) appliance: bool,
    #[command(flatten)]
    pub(crate) system: SystemArguments,
}

/// The device's system, for updates. On a device everything is found by itself; tests name files that stand for a card.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct SystemArguments {
    /// Where updates are published [default: what the image says]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) updates_url: Option<String>,
    /// Where sticks with updates appear: each in a folder of its own, or one that is this folder [default on a device: /run/cairn/sticks]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) stick: Option<PathBuf>,
    /// What the initramfs left: which slot was started from which card [default on a device: /run/cairn]
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub(crate) slots: Option<PathBuf>,
    /// The root of the image's files [default: /]
    #[arg(long, value_name = "FOLDER", hide = true)]
    pub(crate) image: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EnrolArguments {
    /// The gateway's address
    pub(crate) url: String,
    /// The token that works once
    pub(crate) token: String,
    /// Allow http:// to an address of this very machine, for development
    #[arg(long)]
    pub(crate) plain_loopback: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SyncCommand {
    /// Where it stands
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Exchange records now and wait for the end
    Now {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AskArguments {
    /// The question
    #[arg(required = true, num_args = 1..)]
    pub(crate) question: Vec<String>,
    /// The model that answers [default: the hub's choice]
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// One JSON object per line for every step
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SearchArguments {
    /// What to look for
    #[arg(required = true, num_args = 1..)]
    pub(crate) words: Vec<String>,
    /// How many hits
    #[arg(long, default_value_t = 10)]
    pub(crate) limit: u32,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// The installed models
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Check a model file and install it
    Add {
        /// The file (GGUF)
        file: PathBuf,
    },
    /// Compute a text with candle-transformers, too, and say how far the two are apart: whether a file or the hub is at fault
    Compare {
        /// The file (GGUF)
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an installed model
    Remove {
        /// Its name, as `cairn models list` shows it
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LibraryCommand {
    /// Add files, and everything in folders
    Add {
        /// Files and folders
        #[arg(required = true, num_args = 1..)]
        paths: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// The file to write
    pub(crate) file: PathBuf,
    /// A file whose first line is the passphrase [default: asked for, or the variable CAIRN_PASSPHRASE]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The backup
    pub(crate) file: PathBuf,
    /// A file whose first line is the passphrase [default: asked for, or the variable CAIRN_PASSPHRASE]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    /// The model (GGUF)
    pub(crate) model: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeviceCommand {
    /// Early at every start, before anything uses the data: factory reset, clock, network
    Prepare(DeviceArguments),
    /// Show addresses, QR code and claim code on the screen and the serial port
    Console(DeviceArguments),
    /// Answer names on the hub's own Wi-Fi
    Names(DeviceArguments),
}

/// Where a device keeps what; tests name other folders.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeviceArguments {
    /// The root of the image's and the kernel's files
    #[arg(long, default_value = "/")]
    pub(crate) root: PathBuf,
    /// The boot partition
    #[arg(long, default_value = "/boot")]
    pub(crate) boot: PathBuf,
    /// For files that are gone after a start
    #[arg(long, default_value = "/run")]
    pub(crate) run: PathBuf,
    /// Where to answer names, instead of port 53 of the hub's own Wi-Fi
    #[arg(long)]
    pub(crate) bind: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RoleCommand {
    /// Web, store, library, uplink
    Hub(RunArguments),
    /// Models
    Infer(InferArguments),
    /// The confined reader of one file
    Extract,
}

#[derive(Debug, Args)]
pub(crate) struct InferArguments {
    #[arg(long, value_name = "FILE")]
    pub(crate) embedding_model: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn the_folder_may_stand_anywhere() {
        for line in ["cairn --data /d health", "cairn health --data /d", "cairn models list --data /d"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.data, Some(PathBuf::from("/d")), "{line}");
        }
        let cli = Cli::try_parse_from("cairn run --listen 127.0.0.1:0 --listen [::1]:0".split(' ')).unwrap();
        assert!(matches!(cli.command, Command::Run(run) if run.listen.len() == 2));
    }
}
