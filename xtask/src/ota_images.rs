//! Pairs of real slot images for `cargo xtask bench ota`: made by the card's own builder from Debian's packages.
//!
//! *Month*: the packages of Debian's last point release, and the same with everything that security and updates have brought since. *Base*: the
//! release of Debian before, and this one. *Rebuilt*: the same packages with two builds of the hub, where two are named.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    setup::packages,
    step,
    test::cargo,
    workspace::{cache, root},
};

/// Debian's release of the image, and the one before it.
const RELEASE: &str = "trixie";
const BEFORE: &str = "bookworm";

/// Builds what is missing; gives `NAME=OLD=NEW` for each pair.
pub(crate) fn pairs(binary: &Path, before: Option<&Path>) -> Result<Vec<String>> {
    packages::install(packages::IMAGE)?;
    packages::install(packages::OTA_BENCH)?;
    let work = root().join("build/ota-bench");
    let now = slot(&work, "now", root(), binary)?;
    let month = checkout(&work, "month", |text| {
        let text = text.replace(&format!("\"{RELEASE}-updates\", "), "");
        let security = text.find("[[source]]\nuri = \"http://deb.debian.org/debian-security\"");
        let (begin, rest) = text.split_at(security.unwrap_or(text.len()));
        let rest = rest.split_once("\n\n").map_or("", |(_, rest)| rest);
        format!("{begin}{rest}")
    })?;
    let base = checkout(&work, "base", |text| text.replace(RELEASE, BEFORE))?;
    let pair = |name: &str, old: &Path| format!("{name}={}={}", old.display(), now.display());
    let mut pairs = Vec::new();
    if let Some(before) = before {
        pairs.push(pair("only `cairn` rebuilt", &slot(&work, "before", root(), before)?));
    }
    pairs.push(pair("packages since the point release", &slot(&work, "month", &month, binary)?));
    pairs.push(pair("new base release", &slot(&work, "base", &base, binary)?));
    Ok(pairs)
}

/// The image's recipe with other sources, resolved anew.
fn checkout(work: &Path, name: &str, change: impl Fn(&str) -> String) -> Result<PathBuf> {
    let folder = work.join(format!("checkout-{name}"));
    if folder.join("image/packages.lock").exists() {
        return Ok(folder);
    }
    fs::create_dir_all(&folder)?;
    for part in ["image", "hardware"] {
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(root().join(part)).arg(&folder);
        step::quiet("Copying the recipe", &mut copy)?;
    }
    let recipe = folder.join("image/packages.toml");
    let text = fs::read_to_string(&recipe).context("image/packages.toml cannot be read")?;
    fs::write(&recipe, change(&text))?;
    fs::remove_file(folder.join("image/packages.lock"))?;
    step::show(&format!("Resolving the packages of {name}"), builder(&folder).arg("lock"))?;
    Ok(folder)
}

/// The images of a slot.
fn slot(work: &Path, name: &str, checkout: &Path, binary: &Path) -> Result<PathBuf> {
    let output = work.join(name);
    let folder = output.join("system-stable-1.0.0");
    if !folder.join("root.img").exists() {
        let mut build = builder(checkout);
        build.args(["build", "--board", "qemu-virt", "--version", "1.0.0", "--level", "1", "--binary"]);
        build.arg(binary).arg("--output").arg(&output);
        step::show(&format!("Building the slot {name:?}"), &mut build)?;
    }
    Ok(folder)
}

fn builder(checkout: &Path) -> Command {
    let mut builder = cargo("run");
    builder.args(["--quiet", "--package", "cairn-image", "--", "--checkout"]).arg(checkout);
    builder.arg("--cache").arg(cache().join("image"));
    builder
}
