//! Kernel modules: those that are wanted and those that they need, nothing else.
//!
//! A list names modules or folders below `kernel/` (ending in `/`), one a line; `#` begins a remark.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::run::{self, output, tool};

/// A kernel's modules, unpacked.
#[derive(Debug)]
pub struct Modules {
    /// The folder `…/lib/modules/<release>`.
    folder: PathBuf,
    /// The kernel's release, such as `6.12.118+deb13-arm64`.
    pub release: String,
    /// For each module file (relative): the files that it needs, directly or not.
    needs: BTreeMap<String, Vec<String>>,
}

impl Modules {
    /// Finds the modules below an unpacked kernel and reads what needs what.
    ///
    /// # Errors
    /// When there are none, or `depmod` fails.
    pub fn of(unpacked: &Path) -> Result<Self> {
        let all = unpacked.join("usr/lib/modules");
        let mut releases = fs::read_dir(&all).with_context(|| format!("{} cannot be read", all.display()))?;
        let release = releases.next().context("the kernel's package holds no modules")??.file_name();
        let release = release.to_string_lossy().into_owned();
        // depmod looks below lib/, the package keeps its modules below usr/lib/.
        if !unpacked.join("lib").exists() {
            std::os::unix::fs::symlink("usr/lib", unpacked.join("lib"))?;
        }
        output(tool("depmod").arg("--basedir").arg(unpacked).arg(&release))?;
        let folder = all.join(&release);
        let mut needs = BTreeMap::new();
        for line in run::read_text(&folder.join("modules.dep"))?.lines() {
            if let Some((file, rest)) = line.split_once(':') {
                needs.insert(file.to_owned(), rest.split_whitespace().map(str::to_owned).collect());
            }
        }
        Ok(Self { folder, release, needs })
    }

    /// The files that a list asks for, with everything that they need, in the order in which they can be loaded.
    ///
    /// # Errors
    /// When a name in the list is in no kernel (neither a module, nor built in, nor marked `?` as optional).
    pub fn closure(&self, list: &str) -> Result<Vec<String>> {
        let built_in = run::read_text(&self.folder.join("modules.builtin"))?;
        let (mut chosen, mut unknown) = (BTreeSet::new(), Vec::new());
        let mut order = Vec::new();
        for line in list.lines() {
            let name = line.split('#').next().unwrap_or_default().trim();
            if name.is_empty() {
                continue;
            }
            let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
            let wanted: Vec<&String> = self.needs.keys().filter(|file| matches(file, name)).collect();
            if wanted.is_empty() && !optional && !built_in.lines().any(|file| matches(file, name)) {
                unknown.push(name.to_owned());
            }
            for file in wanted {
                // `modules.dep` lists the nearest first; what is needed must be loaded first.
                for file in self.needs.get(file).into_iter().flatten().rev().chain([file]) {
                    if chosen.insert(file.clone()) {
                        order.push(file.clone());
                    }
                }
            }
        }
        if !unknown.is_empty() {
            bail!("kernel {} has no {}", self.release, unknown.join(", "));
        }
        Ok(order)
    }

    /// Copies modules into a root, keeping their places, and writes the root's indexes.
    ///
    /// # Errors
    /// When a file cannot be copied or `depmod` fails.
    pub fn install(&self, files: &[String], root: &Path) -> Result<()> {
        let to = root.join("usr/lib/modules").join(&self.release);
        for name in files {
            let target = to.join(name);
            fs::create_dir_all(target.parent().unwrap_or(&to))?;
            fs::copy(self.folder.join(name), &target).with_context(|| format!("{name} cannot be copied"))?;
        }
        for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
            fs::copy(self.folder.join(name), to.join(name))?;
        }
        output(tool("depmod").arg("--basedir").arg(root).arg(&self.release)).map(drop)
    }

    /// One module's content, uncompressed.
    ///
    /// # Errors
    /// When it cannot be read or `xz` fails.
    pub fn content(&self, file: &str) -> Result<Vec<u8>> {
        let path = self.folder.join(file);
        if !file.ends_with(".xz") {
            return fs::read(&path).with_context(|| format!("{file} cannot be read"));
        }
        let done = tool("xz").args(["--decompress", "--stdout"]).arg(&path).output()?;
        if !done.status.success() {
            bail!("{file} cannot be unpacked");
        }
        Ok(done.stdout)
    }
}

/// Whether a module's file (`kernel/drivers/x/y-z.ko.xz`) is meant by a name (`y_z`) or a folder (`drivers/x/`).
fn matches(file: &str, name: &str) -> bool {
    if name.ends_with('/') {
        return file.strip_prefix("kernel/").is_some_and(|file| file.starts_with(name));
    }
    let stem = file.rsplit('/').next().and_then(|last| last.split(".ko").next()).unwrap_or_default();
    stem.len() == name.len() && stem.replace('-', "_") == name.replace('-', "_")
}
