//! Debian packages: which, in which versions, fetched by apt by name and checked against the lock file.
//!
//! apt works in a folder of its own with its own sources, so that the system that builds is neither asked nor changed. The archive
//! keeps only the newest version of a package: one whose locked version is gone is replaced by the one offered, and the build
//! says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    bmap::hex,
    run::{self, output, tool},
};

/// The key ring that the archive's lists are checked with.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// `image/packages.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    source: Vec<Source>,
    root: RootPackages,
    kernel: BTreeMap<String, Kernel>,
    boot: BootPackages,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    uri: String,
    suites: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RootPackages {
    packages: Vec<String>,
    without: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kernel {
    package: String,
    suite: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BootPackages {
    packages: Vec<String>,
}

/// `image/packages.lock`: per group the packages.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The root file system's packages.
    pub root: Vec<Locked>,
    /// What boot partitions are filled from.
    pub boot: Vec<Locked>,
    /// Each kernel's packages.
    pub kernel: BTreeMap<String, Vec<Locked>>,
}

/// One package as it was when the lock was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Locked {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the package file, hexadecimal.
    pub sha256: String,
}

/// Packages on this machine, by name.
pub type Fetched = BTreeMap<String, PathBuf>;

/// apt in a folder of its own.
#[derive(Debug)]
pub struct Apt {
    folder: PathBuf,
    configuration: PathBuf,
    updated: std::cell::Cell<bool>,
}

impl Apt {
    /// Prepares the folder; asks nobody yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(cache: &Path, wanted: &Wanted) -> Result<Self> {
        let folder = cache.join("apt");
        for name in ["lists/partial", "cache/archives/partial", "debs", "parts"] {
            fs::create_dir_all(folder.join(name))?;
        }
        run::write(&folder.join("status"), "")?;
        let mut sources = String::new();
        for source in &wanted.source {
            for suite in &source.suites {
                sources +=
                    &format!("deb [signed-by={KEYRING}] {} {suite} main non-free-firmware\n", source.uri);
            }
        }
        run::write(&folder.join("sources.list"), sources)?;
        let at = folder.display();
        let configuration = folder.join("apt.conf");
        run::write(
            &configuration,
            format!(
                "APT::Architecture \"arm64\";\nAPT::Architectures {{ \"arm64\"; }};\nAPT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\n\
                 Acquire::Languages \"none\";\nAcquire::Retries \"3\";\nDir::State \"{at}\";\nDir::State::status \"{at}/status\";\nDir::State::lists \"{at}/lists\";\n\
                 Dir::Cache \"{at}/cache\";\nDir::Etc::sourcelist \"{at}/sources.list\";\nDir::Etc::sourceparts \"{at}/parts\";\n\
                 Dir::Etc::preferences \"{at}/parts/none\";\nDir::Etc::preferencesparts \"{at}/parts\";\n"
            ),
        )?;
        Ok(Self { folder, configuration, updated: false.into() })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = tool(program);
        command.env("APT_CONFIG", &self.configuration).current_dir(self.folder.join("debs"));
        command
    }

    /// Fetches the lists, once per run.
    fn update(&self) -> Result<()> {
        if !self.updated.get() {
            output(self.command("apt-get").arg("update")).context("fetching Debian's lists of packages")?;
            self.updated.set(true);
        }
        Ok(())
    }

    /// What installing these on nothing would install, by name and version.
    fn resolve(&self, suite: Option<&str>, packages: &[String]) -> Result<Vec<(String, String)>> {
        self.update()?;
        let mut command = self.command("apt-get");
        command.args(["install", "--simulate", "--quiet=2"]);
        command.args(suite.map(|suite| format!("--target-release={suite}"))).args(packages);
        let told = output(&mut command)?;
        // Inst NAME (VERSION SOURCE [ARCH])
        let read = |line: &str| {
            let mut words = line.strip_prefix("Inst ")?.split_whitespace();
            let name = words.next()?.split(':').next()?.to_owned();
            Some((name, words.next()?.trim_start_matches('(').to_owned()))
        };
        Ok(told.lines().filter_map(read).collect())
    }

    /// Fetches what is not there yet, in one go: apt reads its lists for every run, which takes seconds.
    fn fetch_missing(&self, packages: &[(String, String)]) -> Result<()> {
        let mut missing = Vec::new();
        for (name, version) in packages {
            if self.fetched(name, version)?.is_none() {
                missing.push(format!("{name}={version}"));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        self.update()?;
        output(self.command("apt-get").arg("download").args(missing)).map(drop)
    }

    /// One version of a package, fetched if it is not there.
    fn fetch(&self, name: &str, version: &str) -> Result<PathBuf> {
        self.fetch_missing(&[(name.to_owned(), version.to_owned())])?;
        self.fetched(name, version)?.with_context(|| format!("apt-get fetched nothing for {name} {version}"))
    }

    fn fetched(&self, name: &str, version: &str) -> Result<Option<PathBuf>> {
        let prefix = format!("{name}_{}_", version.replace(':', "%3a"));
        for entry in fs::read_dir(self.folder.join("debs"))? {
            let path = entry?.path();
            if path.file_name().and_then(|file| file.to_str()).is_some_and(|file| file.starts_with(&prefix)) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }

    /// The version that the archive offers now.
    fn offered(&self, name: &str, suite: Option<&str>) -> Result<String> {
        let found = self.resolve(suite, &[name.to_owned()])?.into_iter().find(|(found, _)| found == name);
        found.map(|(_, version)| version).with_context(|| format!("no source offers {name}"))
    }

    /// Fetches locked packages. What had to be taken in another version is added to `replaced`.
    ///
    /// # Errors
    /// When one cannot be fetched, or a file of the locked version has another checksum.
    pub fn fetch_locked(
        &self,
        group: &[Locked],
        suite: Option<&str>,
        replaced: &mut Vec<String>,
    ) -> Result<Fetched> {
        let mut all = Fetched::new();
        let pairs: Vec<_> =
            group.iter().map(|locked| (locked.name.clone(), locked.version.clone())).collect();
        // One that is no longer offered fails them all; then each is asked for by itself.
        self.fetch_missing(&pairs).ok();
        for locked in group {
            let path = match self.fetch(&locked.name, &locked.version) {
                Ok(path) => {
                    let is = sha256(&path)?;
                    ensure!(
                        is == locked.sha256,
                        "{} {} has SHA-256 {is}, the lock file says {}",
                        locked.name,
                        locked.version,
                        locked.sha256
                    );
                    path
                }
                Err(_) => {
                    let version = self.offered(&locked.name, suite)?;
                    replaced.push(format!("{} {} (locked: {})", locked.name, version, locked.version));
                    self.fetch(&locked.name, &version)?
                }
            };
            all.insert(locked.name.clone(), path);
        }
        Ok(all)
    }

    /// Resolves everything anew and fetches it.
    ///
    /// # Errors
    /// When apt cannot resolve or fetch.
    pub fn lock(&self, wanted: &Wanted) -> Result<Lock> {
        let without: BTreeSet<&str> = wanted.root.without.iter().map(String::as_str).collect();
        let mut lock = Lock::default();
        let mut root = self.resolve(None, &wanted.root.packages)?;
        root.retain(|(name, _)| !without.contains(name.as_str()));
        lock.root = self.locked(&root)?;
        let mut boot = self.resolve(None, &wanted.boot.packages)?;
        boot.retain(|(name, _)| wanted.boot.packages.contains(name));
        lock.boot = self.locked(&boot)?;
        for (kernel, asked) in &wanted.kernel {
            let mut parts = self.resolve(asked.suite.as_deref(), std::slice::from_ref(&asked.package))?;
            // The meta package holds nothing; the real ones carry the kernel's version in their names.
            let versioned =
                |name: &str| name.split('-').any(|part| part.starts_with(|c: char| c.is_ascii_digit()));
            parts.retain(|(name, _)| name.starts_with("linux-") && versioned(name));
            ensure!(!parts.is_empty(), "kernel {kernel}: {} brings no image", asked.package);
            lock.kernel.insert(kernel.clone(), self.locked(&parts)?);
        }
        Ok(lock)
    }

    fn locked(&self, packages: &[(String, String)]) -> Result<Vec<Locked>> {
        self.fetch_missing(packages)?;
        let lock = |(name, version): &(String, String)| {
            let sha256 = sha256(&self.fetch(name, version)?)?;
            Ok(Locked { name: name.clone(), version: version.clone(), sha256 })
        };
        let mut all: Vec<Locked> = packages.iter().map(lock).collect::<Result<_>>()?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }
}

impl Wanted {
    /// Reads `image/packages.toml`.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn read(image: &Path) -> Result<Self> {
        toml::from_str(&run::read_text(&image.join("packages.toml"))?).context("image/packages.toml")
    }

    /// The suite that a kernel is taken from, where it is not the ordinary one.
    ///
    /// # Errors
    /// When there is no such kernel.
    pub fn suite_of_kernel(&self, kernel: &str) -> Result<Option<&str>> {
        match self.kernel.get(kernel) {
            Some(asked) => Ok(asked.suite.as_deref()),
            None => bail!("image/packages.toml has no kernel {kernel}"),
        }
    }
}

impl Lock {
    /// Reads `image/packages.lock`.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn read(image: &Path) -> Result<Self> {
        toml::from_str(&run::read_text(&image.join("packages.lock"))?).context("image/packages.lock")
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, image: &Path) -> Result<()> {
        let text = toml::to_string(self)?;
        run::write(
            &image.join("packages.lock"),
            format!("# Written by `cargo xtask image --update-lock`.\n{text}"),
        )
    }
}

/// Unpacks a package into a folder.
///
/// # Errors
/// When `dpkg-deb` or `tar` cannot.
pub fn unpack(package: &Path, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut files = tool("dpkg-deb");
    let mut files = files.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn()?;
    let packed = files.stdout.take().context("dpkg-deb gives nothing")?;
    // Packages up to bookworm bring /lib and /bin, which are links to folders of /usr: what is in them goes there. `dpkg-deb --extract` would put a
    // folder in a link's place.
    let mut unpacking = tool("tar");
    unpacking.args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--directory"]).arg(into);
    let unpacked = unpacking.stdin(packed).status().context("tar cannot be started")?;
    ensure!(files.wait()?.success() && unpacked.success(), "{} cannot be unpacked", package.display());
    Ok(())
}

fn sha256(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(hex(&Sha256::digest(bytes)))
}
