//! The commands.

mod look;
mod make;
mod spread;

use std::{collections::BTreeMap, fs, path::PathBuf, time::SystemTime};

use anyhow::{Context, Result, bail};
use cairn_bundle::{Board, Version};
use cairn_publish::{keys::FileKey, workshop::Workshop};
use clap::{Args, Parser, Subcommand};
use serde_json::{Value, json};

/// What a command did.
pub(crate) struct Report {
    done: Vec<String>,
    next: String,
    data: Value,
}

impl Report {
    fn new(next: impl Into<String>) -> Self {
        Self { done: Vec::new(), next: next.into(), data: Value::Null }
    }

    fn did(mut self, what: impl Into<String>) -> Self {
        self.done.push(what.into());
        self
    }

    fn with(mut self, data: Value) -> Self {
        self.data = data;
        self
    }

    /// For people, or for scripts.
    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            println!("{}", json!({ "done": self.done, "next": self.next, "data": self.data }));
            return;
        }
        for line in &self.done {
            println!("✓ {line}");
        }
        if !self.next.is_empty() {
            println!("→ {}", self.next);
        }
    }
}

#[derive(Parser)]
#[command(
    name = "cairn-publish",
    about = "Keys, signing, publishing and rollouts of Cairn's updates",
    version
)]
pub(crate) struct Cli {
    /// The workshop
    #[arg(long, global = true, default_value = ".")]
    folder: PathBuf,
    /// A file whose first line opens the keys; else the variable CAIRN_PUBLISH_PASSPHRASE
    #[arg(long, global = true)]
    passphrase_file: Option<PathBuf>,
    /// Where the private keys are (a stick, say); else `keys` in the workshop
    #[arg(long, global = true)]
    keys: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Begin: make keys, root metadata and an empty repository
    Init(make::InitArgs),
    /// Sign what waits for signatures; publish it when enough have signed
    Sign(make::SignArgs),
    /// Make a new root with other keys (a key was lost, or somebody left); every other command goes on as before
    Root(make::RootArgs),
    /// Make a bundle and its deltas from two images
    AddSystem(make::AddSystemArgs),
    /// Add a GGUF model
    AddModel(make::PackArgs),
    /// Add a pack for the library
    AddContent(make::PackArgs),
    /// Say when hubs install a version
    Rollout(spread::RolloutArgs),
    /// Hold a rollout where it is
    Pause(SystemName),
    /// Go on with a rollout that was paused
    Resume(SystemName),
    /// Withdraw a version
    Halt(SystemName),
    /// Withdraw versions whose hubs report too many failures
    Watch(spread::WatchArgs),
    /// What is published, what waits, what expires when
    Status(spread::ReportedArgs),
    /// What would a hub do?
    Verify(look::VerifyArgs),
    /// Serve the repository over HTTP, for trying it out
    Serve(look::ServeArgs),
    /// Sign snapshot and timestamp anew; to be called every day
    Refresh,
}

/// A system version.
#[derive(Args, Clone)]
pub(crate) struct SystemName {
    /// The board
    #[arg(long)]
    board: Board,
    /// The version
    #[arg(long)]
    version: Version,
}

/// What all commands share.
pub(crate) struct Bench {
    folder: PathBuf,
    keys: PathBuf,
    passphrase_file: Option<PathBuf>,
    now: u64,
}

impl Bench {
    fn workshop(&self) -> Result<Workshop> {
        Workshop::open(&self.folder, self.now)
    }

    fn passphrase(&self) -> Result<String> {
        let text = match &self.passphrase_file {
            Some(file) => {
                fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
            None => std::env::var("CAIRN_PUBLISH_PASSPHRASE")
                .context("a passphrase is needed: --passphrase-file or CAIRN_PUBLISH_PASSPHRASE")?,
        };
        let line = text.lines().next().unwrap_or_default();
        if line.len() < 8 { bail!("a passphrase has at least 8 characters") } else { Ok(line.to_owned()) }
    }

    fn key(&self, name: &str) -> Result<FileKey> {
        FileKey::open(&self.keys.join(format!("{name}.age")), &self.passphrase()?)
    }

    /// The keys of snapshot and timestamp.
    fn online(&self, workshop: &Workshop) -> Result<BTreeMap<String, FileKey>> {
        let config = workshop.config();
        let mut keys = BTreeMap::new();
        for name in config.snapshot.keys.iter().chain(&config.timestamp.keys) {
            if !keys.contains_key(name) {
                keys.insert(name.clone(), self.key(name)?);
            }
        }
        Ok(keys)
    }
}

/// Runs one command.
pub(crate) fn run(cli: Cli) -> Result<Report> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let keys = cli.keys.clone().unwrap_or_else(|| cli.folder.join("keys"));
    let context = Bench { folder: cli.folder, keys, passphrase_file: cli.passphrase_file, now };
    match cli.command {
        Command::Init(args) => make::init(&context, &args),
        Command::Sign(args) => make::sign(&context, &args),
        Command::Root(args) => make::root(&context, &args),
        Command::AddSystem(args) => make::add_system(&context, args),
        Command::AddModel(args) => make::add_pack(&context, &args, true),
        Command::AddContent(args) => make::add_pack(&context, &args, false),
        Command::Rollout(args) => spread::rollout(&context, &args),
        Command::Pause(name) => spread::pause(&context, &name),
        Command::Resume(name) => spread::resume(&context, &name),
        Command::Halt(name) => spread::halt(&context, &name),
        Command::Watch(args) => spread::watch(&context, &args),
        Command::Status(args) => look::status(&context, &args),
        Command::Verify(args) => look::verify(&context, &args),
        Command::Serve(args) => look::serve(&context, &args),
        Command::Refresh => look::refresh(&context),
    }
}
