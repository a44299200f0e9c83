//! What the tests that update a card need: a maintainers' workshop, an authority of its own for HTTPS, a card that believes both, and
//! the systems that follow it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    cross,
    image::{self, ForQemu, OwnArgs},
    step,
    test::cargo,
    workspace::{root, target},
};

/// Where the guest finds the repository: QEMU's user network shows this computer's 127.0.0.1 as 10.0.2.2. The cards know the port, so it
/// is one that nothing else uses.
const URL: &str = "https://10.0.2.2:47443";
/// The board besides its own that QEMU plays well enough to start a card.
const RASPI3: &str = "rpi3";
/// How many versions follow the card's.
const FOLLOWING: u32 = 2;
/// Opens keys that sign nothing but tests.
const PASSPHRASE: &str = "not a secret: keys of a test";

/// Whether systems that must not stay are built as well.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    Built,
    LeftOut,
}

/// What was prepared.
pub(crate) struct Releases {
    card: ForQemu,
    /// The same system on a Raspberry Pi 3's card.
    raspi3: PathBuf,
    /// `workshop`, `passphrase`, `tls.crt`, `tls.key`, `url`, `versions`, and a folder for each system.
    updates: PathBuf,
    publish: PathBuf,
}

impl Releases {
    /// Builds all of it in `output`, and unfit systems where they are asked for.
    pub(crate) fn prepare(output: &Path, binary: Option<PathBuf>, quick: bool, unfit: Unfit) -> Result<Self> {
        // As the tests are built, so that nothing is compiled twice.
        let mut build = cargo("test");
        step::show("Building cairn-publish", build.args(["--no-run", "--quiet", "-p", "cairn-publish"]))?;
        let publish = target().join("debug/cairn-publish");
        let updates = output.join("updates");
        if updates.exists() {
            fs::remove_dir_all(&updates)?;
        }
        fs::create_dir_all(&updates)?;
        let write = |name: &str, text: &str| fs::write(updates.join(name), format!("{text}\n"));
        write("passphrase", PASSPHRASE)?;
        write("url", URL)?;
        let mut init = Command::new(&publish);
        init.arg("--folder")
            .arg(updates.join("workshop"))
            .arg("--passphrase-file")
            .arg(updates.join("passphrase"));
        step::quiet("Making a workshop", init.args(["init", "--work", "1"]))?;
        authority(&updates)?;

        let binary = binary.map_or_else(|| cross::build(quick), Ok)?;
        let believed = OwnArgs {
            trusted_root: Some(updates.join("workshop/repository/metadata/1.root.json")),
            updates_url: Some(URL.to_owned()),
            authority: Some(updates.join("ca.pem")),
            overlay: None,
        };
        let first = image::workspace_version()?;
        let card = image::for_qemu(output, Some(binary.clone()), quick, Some(&first), believed.clone())?;
        let raspi3 = image::card(output, RASPI3, &binary, quick, &first, believed.clone())?;
        let mut versions = vec![first];
        for _ in 0..FOLLOWING {
            versions.push(next(versions.last().context("no version")?)?);
        }
        for version in versions.iter().skip(1) {
            image::for_qemu(&updates, Some(binary.clone()), quick, Some(version), believed.clone())?;
        }
        write("versions", &versions.join("\n"))?;
        let faults = match unfit {
            Unfit::Built => Some(fs::read_dir(root().join("tests/image/faults"))?),
            Unfit::LeftOut => None,
        };
        for fault in faults.into_iter().flatten() {
            let fault = fault?;
            let unfit = OwnArgs { overlay: Some(fault.path()), ..believed.clone() };
            let version = versions.get(1).map(String::as_str);
            image::for_qemu(
                &updates.join("faults").join(fault.file_name()),
                Some(binary.clone()),
                quick,
                version,
                unfit,
            )?;
        }
        Ok(Self { card, raspi3, updates, publish })
    }

    /// Says to tests where things are.
    pub(crate) fn tell(&self, tests: &mut Command) {
        tests.env("CAIRN_CARD", &self.card.card).env("CAIRN_BOOTLOADER", &self.card.loader);
        tests.env("CAIRN_CARD_RPI3", &self.raspi3);
        tests.env("CAIRN_UPDATES", &self.updates).env("CAIRN_PUBLISH", &self.publish);
    }
}

/// The version after this one.
fn next(version: &str) -> Result<String> {
    let (rest, patch) = version.rsplit_once('.').context("a version without a dot")?;
    Ok(format!("{rest}.{}", patch.parse::<u32>()?.saturating_add(1)))
}

/// An authority and a certificate of it for the address that the guest knows.
fn authority(folder: &Path) -> Result<()> {
    let curve = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "365",
    ];
    let openssl = || {
        let mut command = Command::new("openssl");
        command.args(curve).current_dir(folder);
        command
    };
    step::quiet(
        "Making an authority",
        openssl().args(["-subj", "/CN=Authority of a test", "-keyout", "ca.key", "-out", "ca.pem"]),
    )?;
    let address = URL.trim_start_matches("https://").split(':').next().unwrap_or_default();
    step::quiet(
        "Making a certificate",
        openssl()
            .args(["-subj", &format!("/CN={address}"), "-CA", "ca.pem", "-CAkey", "ca.key"])
            .args(["-keyout", "tls.key", "-out", "tls.crt", "-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", &format!("subjectAltName=IP:{address}")]),
    )
}
