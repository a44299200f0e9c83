//! Keys, root metadata, signatures, and what is added.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context, Result, bail};
use cairn_bundle::{Digest, Verity, Version};
use cairn_publish::{
    keys::{FileKey, Signer},
    systems::{self, NewSystem},
    workshop::{Config, Outcome, RolePlan, Workshop},
};
use cairn_trust::{Listed, Pack};
use clap::Args;
use serde_json::json;

use super::{Bench, Report, SystemName};

#[derive(Args)]
pub(crate) struct InitArgs {
    /// How many root keys there are
    #[arg(long, default_value_t = 3)]
    root_keys: u32,
    /// How many of them must sign a new root
    #[arg(long, default_value_t = 2)]
    root_threshold: u64,
    /// How many keys for releases there are
    #[arg(long, default_value_t = 1)]
    release_keys: u32,
    /// How many of them must sign a release
    #[arg(long, default_value_t = 1)]
    release_threshold: u64,
    /// Days until the root expires
    #[arg(long, default_value_t = 730)]
    root_days: u64,
    /// Days until releases expire
    #[arg(long, default_value_t = 365)]
    release_days: u64,
    /// Days until snapshot and timestamp expire: the longest that somebody can keep a hub from seeing a newer version
    #[arg(long, default_value_t = 14)]
    online_days: u64,
    /// Cost of trying a passphrase, as a binary logarithm; about a second on this computer if not given
    #[arg(long, hide = true)]
    work: Option<u8>,
}

pub(crate) fn init(bench: &Bench, args: &InitArgs) -> Result<Report> {
    let passphrase = bench.passphrase()?;
    let names =
        |prefix: &str, count: u32| (1..=count).map(|number| format!("{prefix}-{number}")).collect::<Vec<_>>();
    let plan = |keys: Vec<String>, threshold, days| RolePlan { keys, threshold, days };
    let online = vec!["online".to_owned()];
    let config = Config {
        root: plan(names("root", args.root_keys), args.root_threshold, args.root_days),
        targets: plan(names("release", args.release_keys), args.release_threshold, args.release_days),
        snapshot: plan(online.clone(), 1, args.online_days),
        timestamp: plan(online, 1, args.online_days),
    };
    if bench.folder.join("workshop.json").exists() {
        bail!("{} is a workshop already", bench.folder.display());
    }
    std::fs::create_dir_all(&bench.keys)?;
    let mut keys = BTreeMap::new();
    for (_, plan) in config.roles() {
        for name in &plan.keys {
            if !keys.contains_key(name) {
                let path = bench.keys.join(format!("{name}.age"));
                keys.insert(name.clone(), FileKey::create(&path, &passphrase, args.work)?);
            }
        }
    }
    let workshop = Workshop::create(&bench.folder, config, &keys, bench.now)?;
    let report = Report::new(format!(
        "Move {}/root-*.age to places that do not burn down together, and away from here. Build the image with {} inside. \
         Then: cairn-publish add-system",
        bench.keys.display(),
        workshop.metadata("1.root.json").display(),
    ));
    Ok(report
        .did(format!("{} keys, each encrypted, in {}", keys.len(), bench.keys.display()))
        .did(format!(
            "root metadata, {} of {} keys must sign the next one",
            args.root_threshold, args.root_keys
        ))
        .did(format!("an empty repository in {}", workshop.path("repository").display()))
        .with(json!({ "root": workshop.metadata("1.root.json") })))
}

#[derive(Args)]
pub(crate) struct SignArgs {
    /// Name of the key, as release-1
    #[arg(long)]
    key: String,
    /// Sign a new root rather than a release
    #[arg(long)]
    root: bool,
}

pub(crate) fn sign(bench: &Bench, args: &SignArgs) -> Result<Report> {
    let workshop = bench.workshop()?;
    let key = bench.key(&args.key)?;
    let (outcome, what) = if args.root {
        (workshop.sign_root(&key)?, "root")
    } else {
        (workshop.sign_targets(&key, &bench.online(&workshop)?)?, "targets")
    };
    let data = serde_json::to_value(&outcome)?;
    Ok(match outcome {
        Outcome::Waiting { have, need } => Report::new(format!(
            "{} more must sign: cairn-publish sign --key NAME",
            need.saturating_sub(have)
        ))
        .did(format!("{} signed the {what} metadata: {have} of {need}", args.key)),
        Outcome::Published { version } => {
            Report::new("cairn-publish status, or copy `repository` to where it is served")
                .did(format!("{} signed; version {version} of the {what} metadata is published", args.key))
        }
    }
    .with(data))
}

#[derive(Args)]
pub(crate) struct RootArgs {
    /// Key to replace, as root-2; the new one gets a name of its own
    #[arg(long)]
    replace: String,
    /// Name of the new key, as root-4
    #[arg(long)]
    by: String,
    #[arg(long, hide = true)]
    work: Option<u8>,
}

pub(crate) fn root(bench: &Bench, args: &RootArgs) -> Result<Report> {
    let mut workshop = bench.workshop()?;
    let mut config = workshop.config().clone();
    let mut found = false;
    for plan in [&mut config.root, &mut config.targets, &mut config.snapshot, &mut config.timestamp] {
        for name in plan.keys.iter_mut().filter(|name| **name == args.replace) {
            name.clone_from(&args.by);
            found = true;
        }
    }
    if !found {
        bail!("no role has a key {}", args.replace);
    }
    let key = FileKey::create(&bench.keys.join(format!("{}.age", args.by)), &bench.passphrase()?, args.work)?;
    workshop.keep_public(&args.by, &key.key())?;
    workshop.draft_root(config)?;
    Ok(Report::new(
        "Enough holders of root keys sign: cairn-publish sign --root --key NAME. Then cairn-publish refresh",
    )
    .did(format!("made the key {}", args.by))
    .did(format!("drafted a root without {}", args.replace)))
}

#[derive(Args)]
pub(crate) struct AddSystemArgs {
    #[command(flatten)]
    name: SystemName,
    /// Image of the boot partition
    #[arg(long)]
    boot: PathBuf,
    /// Image of the root partition, hash tree included
    #[arg(long)]
    root: PathBuf,
    /// dm-verity root hash, 64 hexadecimal digits
    #[arg(long, requires = "hash_offset")]
    root_hash: Option<Digest>,
    /// Where the hash tree begins in the root image, in bytes
    #[arg(long, requires = "root_hash")]
    hash_offset: Option<u64>,
    /// Newest schema of the hub's data that it makes
    #[arg(long)]
    schema: Option<u32>,
    /// What changed, for people
    #[arg(long, default_value = "")]
    notes: String,
    /// Published version to make a delta from; may be given several times
    #[arg(long)]
    delta_from: Vec<Version>,
}

pub(crate) fn add_system(bench: &Bench, args: AddSystemArgs) -> Result<Report> {
    let workshop = bench.workshop()?;
    let verity = args.root_hash.zip(args.hash_offset);
    let SystemName { board, version } = args.name;
    let new = NewSystem {
        board: board.clone(),
        version,
        boot: args.boot,
        root: args.root,
        verity: verity.map(|(root_hash, hash_offset)| Verity { root_hash, hash_offset }),
        schema: args.schema,
        notes: args.notes,
        deltas_from: args.delta_from,
    };
    let added = systems::add(&workshop, &new)?;
    let next = format!("cairn-publish rollout --board {board} --version {version}");
    let mut report =
        Report::new(next).did(format!("{}: {} bytes, installed by nobody yet", added.target, added.length));
    for (from, bytes) in &added.deltas {
        report = report.did(format!("delta from {from}: {bytes} bytes"));
    }
    Ok(report.with(serde_json::to_value(&added)?))
}

#[derive(Args)]
pub(crate) struct PackArgs {
    /// The file
    file: PathBuf,
    /// Name under which it stands on a hub; a newer one of the same name replaces it
    #[arg(long)]
    name: String,
    /// For people
    #[arg(long, default_value = "")]
    title: String,
    /// Memory that it needs to be of use, in MiB
    #[arg(long, default_value_t = 0)]
    memory: u64,
}

pub(crate) fn add_pack(bench: &Bench, args: &PackArgs, model: bool) -> Result<Report> {
    let workshop = bench.workshop()?;
    let kind = if model { "model" } else { "content" };
    let draft = workshop.draft()?;
    let revisions =
        draft.signed.targets.values().filter_map(|target| match cairn_publish::workshop::listed(target)? {
            Listed::Model(pack) if model && pack.name == args.name => Some(pack.revision),
            Listed::Content(pack) if !model && pack.name == args.name => Some(pack.revision),
            _ => None,
        });
    let revision = revisions.max().unwrap_or(0) + 1;
    let pack = Pack { name: args.name.clone(), revision, memory: args.memory, title: args.title.clone() };
    let extension =
        args.file.extension().and_then(|text| text.to_str()).context("the file has no extension")?;
    let target = format!("{kind}-{}-{revision}.{extension}", args.name);
    let listed = if model { Listed::Model(pack) } else { Listed::Content(pack) };
    workshop.add_target(&target, &args.file, &listed)?;
    Ok(Report::new("cairn-publish sign --key release-1")
        .did(format!("{target} is in the repository and waits for signatures"))
        .with(json!({ "target": target, "revision": revision })))
}
