//! The root file system: packages, what is ours (the overlay, the hub, the boards' facts), and nothing that is not needed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};

use crate::{
    elf::{self, walk},
    modules::Modules,
    packages::{self, Fetched},
    run::{self, EPOCH},
    trust::Trust,
};

/// What comes with packages and is of no use on a hub: paths in the root, `*` at the end for every name that begins so.
const PRUNED: &[&str] = &[
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/zsh",
    "usr/share/fish",
    "usr/share/bug",
    "usr/share/initramfs-tools",
    "usr/share/polkit-1",
    "usr/share/pkgconfig",
    "usr/share/gdb",
    "usr/share/perl5",
    "usr/share/debconf",
    "usr/share/common-licenses",
    "usr/share/i18n",
    "usr/share/mime",
    "usr/bin/lslogins",
    "usr/sbin/cfdisk",
    "usr/include",
    "usr/lib/raspi-firmware",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/aarch64-linux-gnu/perl-base",
    "usr/lib/aarch64-linux-gnu/e2fsprogs",
    "usr/lib/udev/hwdb.d",
    "usr/lib/systemd/boot",
    "usr/lib/systemd/catalog",
    "usr/lib/systemd/ukify",
    "usr/lib/kernel",
    "usr/lib/modprobe.d/aliases.conf",
    "usr/lib/pcrlock.d",
    // What these would make lies in the read-only root.
    "usr/lib/tmpfiles.d/credstore.conf",
    "usr/lib/tmpfiles.d/debian.conf",
    "usr/lib/tmpfiles.d/home.conf",
    "usr/lib/tmpfiles.d/provision.conf",
    "usr/lib/systemd/user",
    "usr/lib/systemd/user-preset",
    "usr/lib/systemd/system-generators/systemd-gpt-auto-generator",
    "usr/lib/systemd/system/systemd-pcr*",
    "usr/lib/systemd/system/systemd-tpm2*",
    "usr/lib/systemd/system-generators/systemd-tpm2-generator",
    "usr/lib/systemd/system-generators/systemd-cryptsetup-generator",
    "usr/lib/systemd/system-generators/systemd-integritysetup-generator",
    "usr/lib/systemd/system-generators/systemd-veritysetup-generator",
    "usr/lib/systemd/system-generators/systemd-hibernate-resume-generator",
    "usr/lib/systemd/system-generators/systemd-run-generator",
    "etc/init.d",
    "etc/rc*",
    "etc/cron*",
    "etc/default",
    "etc/kernel",
    "etc/initramfs",
    "etc/logrotate.d",
    "etc/apparmor.d",
    "etc/dbus-1",
    "etc/motd",
    "etc/update-motd.d",
    "etc/issue*",
    "etc/ifplugd",
    "etc/network",
    "var",
    "boot",
    "home",
    "media",
    "mnt",
    "opt",
    "srv",
];

/// Firmware of radios that boards have; the packages bring far more.
const FIRMWARE: &[&str] = &[
    "brcm/brcmfmac43430",
    "brcm/brcmfmac43436",
    "brcm/brcmfmac43455",
    "brcm/brcmfmac43456",
    "cypress/cyfmac43430",
    "cypress/cyfmac43455",
    "regulatory.db",
];

/// Units of Debian's that begin to run by themselves or on request of others, and what they are wanted by.
const ENABLED: &[(&str, &str)] = &[
    ("systemd-networkd.service", "multi-user.target"),
    ("systemd-resolved.service", "sysinit.target"),
    ("systemd-timesyncd.service", ""),
];

/// What a root is made of.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The folder `image/`.
    pub image: &'a Path,
    /// The folder `hardware/`.
    pub hardware: &'a Path,
    /// The hub's binary, stripped.
    pub binary: &'a Path,
    /// The embedding model; without it search goes by words only.
    pub embedding_model: Option<&'a Path>,
    /// The version.
    pub version: &'a str,
    /// When the system was made, seconds since 1970: no hub that runs it believes an earlier time.
    pub made: u64,
    /// Whom it believes about updates.
    pub trust: &'a Trust,
    /// A folder of a community's own files, laid over everything else.
    pub overlay: Option<&'a Path>,
}

/// Assembles the root in an empty folder.
///
/// # Errors
/// When a package cannot be unpacked, a part is missing, or a program would not find its libraries.
pub fn assemble(
    root: &Path,
    packages: &Fetched,
    modules: &Modules,
    list: &str,
    parts: &Parts<'_>,
) -> Result<()> {
    for folder in ["usr/bin", "usr/sbin", "usr/lib"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for (link, to) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib")] {
        symlink(to, root.join(link))?;
    }
    for package in packages.values() {
        packages::unpack(package, root)?;
    }
    for link in ["bin", "sbin", "lib"] {
        if !fs::symlink_metadata(root.join(link))?.is_symlink() {
            bail!("a package replaced /{link} by a folder");
        }
    }
    prune(root)?;
    certificates(root)?;
    modules.install(&modules.closure(list)?, root)?;
    for folder in ["dev", "proc", "sys", "run", "tmp", "var", "data", "boot", "root", "mnt"] {
        fs::create_dir_all(root.join(folder))?;
    }
    overlay(&parts.image.join("rootfs"), root)?;
    applets(&run::read_text(&parts.image.join("busybox-applets"))?, root)?;
    enable(root)?;
    ours(root, parts)?;
    for entry in ["etc/os-release", "usr/lib/os-release"] {
        fs::remove_file(root.join(entry)).ok();
    }
    run::write(&root.join("usr/lib/os-release"), os_release(parts.version))?;
    symlink("../usr/lib/os-release", root.join("etc/os-release"))?;
    if let Some(own) = parts.overlay {
        overlay(own, root)?;
    }
    elf::check(root)?;
    touch(root)
}

fn os_release(version: &str) -> String {
    format!(
        "NAME=Cairn\nID=cairn\nID_LIKE=debian\nPRETTY_NAME=\"Cairn {version}\"\nVERSION_ID={version}\nIMAGE_ID=cairn\nIMAGE_VERSION={version}\n"
    )
}

fn prune(root: &Path) -> Result<()> {
    for name in PRUNED {
        if let Some(begin) = name.strip_suffix('*') {
            let (folder, begin) = begin.rsplit_once('/').unwrap_or(("", begin));
            let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
            for entry in entries {
                let entry = entry?;
                if entry.file_name().to_string_lossy().starts_with(begin) {
                    remove(&entry.path())?;
                }
            }
        } else {
            remove(&root.join(name))?;
        }
    }
    let firmware = root.join("usr/lib/firmware");
    walk(&firmware, &mut |path| {
        let name = path.strip_prefix(&firmware)?.to_string_lossy().into_owned();
        let kept =
            FIRMWARE.iter().any(|kept| name.starts_with(kept) || kept.starts_with(&format!("{name}/")));
        if kept { Ok(()) } else { remove(path) }
    })?;
    // What `update-alternatives` would do: without it no radio knows which channels a country allows.
    for name in ["regulatory.db", "regulatory.db.p7s"] {
        let chosen = format!("{name}-debian");
        if !firmware.join(&chosen).exists() {
            bail!("wireless-regdb brought no {chosen}");
        }
        symlink(chosen, firmware.join(name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => run::remove_folder(path),
        Ok(_) => fs::remove_file(path).with_context(|| format!("{} cannot be removed", path.display())),
        Err(_) => Ok(()),
    }
}

/// The bundle of authorities that `update-ca-certificates` would make.
fn certificates(root: &Path) -> Result<()> {
    let folder = root.join("usr/share/ca-certificates/mozilla");
    let mut bundle = String::new();
    walk(&folder, &mut |path| {
        bundle += &run::read_text(path)?;
        Ok(())
    })?;
    if bundle.is_empty() {
        bail!("ca-certificates brought no certificates");
    }
    run::remove_folder(&root.join("usr/share/ca-certificates"))?;
    run::write(&root.join("etc/ssl/certs/ca-certificates.crt"), bundle)
}

/// Copies a folder over the root, links and permissions (executable or not) included.
fn overlay(from: &Path, root: &Path) -> Result<()> {
    walk(from, &mut |path| {
        let to = root.join(path.strip_prefix(from)?);
        let meta = fs::symlink_metadata(path)?;
        if meta.is_dir() {
            fs::create_dir_all(&to)?;
        } else {
            remove(&to)?;
            if meta.is_symlink() {
                symlink(fs::read_link(path)?, &to)?;
            } else {
                fs::copy(path, &to)?;
                let mode = if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                fs::set_permissions(&to, fs::Permissions::from_mode(mode))?;
            }
        }
        Ok(())
    })?;
    fs::set_permissions(root.join("etc/shadow"), fs::Permissions::from_mode(0o600))?;
    Ok(())
}

/// The small tools that no package brings, as links to busybox.
fn applets(list: &str, root: &Path) -> Result<()> {
    for name in list.split_whitespace() {
        let taken = ["usr/bin", "usr/sbin"]
            .iter()
            .any(|folder| fs::symlink_metadata(root.join(folder).join(name)).is_ok());
        if !taken {
            symlink("busybox", root.join("usr/bin").join(name))?;
        }
    }
    Ok(())
}

/// Does what `systemctl enable` would do for our units, by their `[Install]` sections, and for the few of Debian's that are used.
fn enable(root: &Path) -> Result<()> {
    let system = root.join("etc/systemd/system");
    let mut wanted: BTreeMap<String, Vec<(String, &str)>> = BTreeMap::new();
    for (unit, target) in ENABLED {
        wanted.entry((*unit).to_owned()).or_default().push(((*target).to_owned(), "wants"));
    }
    let ours = root.join("usr/lib/systemd/system");
    for entry in fs::read_dir(&ours)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !(name.starts_with("cairn") || name == "data.mount" || name == "boot.mount") {
            continue;
        }
        for line in run::read_text(&ours.join(&name))?.lines() {
            for (key, kind) in [("WantedBy=", "wants"), ("RequiredBy=", "requires")] {
                for target in line.strip_prefix(key).unwrap_or_default().split_whitespace() {
                    wanted.entry(name.clone()).or_default().push((target.to_owned(), kind));
                }
            }
        }
    }
    for (unit, targets) in wanted {
        for (target, kind) in targets.iter().filter(|(target, _)| !target.is_empty()) {
            let folder = system.join(format!("{target}.{kind}"));
            fs::create_dir_all(&folder)?;
            let link = folder.join(&unit);
            remove(&link)?;
            symlink(format!("/usr/lib/systemd/system/{unit}"), link)?;
        }
    }
    // What Debian enables by itself and a hub has no use for: nobody signs in, time comes by the uplink, nothing is updated in place.
    for unit in [
        "getty.target",
        "systemd-timesyncd.service",
        "systemd-hwdb-update.service",
        "systemd-update-done.service",
        "systemd-journal-catalog-update.service",
        "ldconfig.service",
        "systemd-firstboot.service",
        "systemd-sysusers.service",
        "systemd-machine-id-commit.service",
        "systemd-random-seed.service",
        "systemd-update-utmp.service",
        "systemd-user-sessions.service",
        "systemd-ask-password-console.path",
        "systemd-ask-password-wall.path",
        "systemd-binfmt.service",
        "proc-sys-fs-binfmt_misc.automount",
        "systemd-logind.service",
        "e2scrub_reap.service",
        "e2scrub_all.timer",
        "fstrim.timer",
        "dev-hugepages.mount",
        "dev-mqueue.mount",
        "sys-kernel-config.mount",
        "sys-kernel-debug.mount",
        "sys-kernel-tracing.mount",
        "sys-fs-fuse-connections.mount",
        // The root is complete and the journal lies in memory: nothing is added, remounted or flushed.
        "systemd-confext.service",
        "systemd-sysext.service",
        "systemd-sysext.socket",
        "systemd-remount-fs.service",
        "systemd-journal-flush.service",
        "systemd-networkd-persistent-storage.service",
        "systemd-udev-load-credentials.service",
        // Nobody asks: no D-Bus, no old init's pipe, no sealed secrets.
        "systemd-creds.socket",
        "systemd-hostnamed.socket",
        "systemd-initctl.socket",
        "dpkg-db-backup.timer",
        "apt-daily.timer",
        "hostapd.service",
        "wpa_supplicant.service",
    ] {
        let link = system.join(unit);
        remove(&link)?;
        symlink("/dev/null", link)?;
    }
    symlink("/usr/lib/systemd/system/multi-user.target", system.join("default.target"))?;
    Ok(())
}

/// The hub, its model and the boards' facts.
fn ours(root: &Path, parts: &Parts<'_>) -> Result<()> {
    let binary = root.join("usr/bin/cairn");
    fs::copy(parts.binary, &binary).with_context(|| format!("{} cannot be read", parts.binary.display()))?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    let share = root.join("usr/share/cairn");
    // A board without a clock of its own starts from here.
    run::write(&share.join("build-time"), format!("{}\n", parts.made))?;
    parts.trust.install(root)?;
    for entry in fs::read_dir(parts.hardware)? {
        let facts = entry?.path().join("board.toml");
        if let Some(board) = facts.parent().and_then(Path::file_name).filter(|_| facts.exists()) {
            run::write(&share.join("hardware").join(board).join("board.toml"), fs::read(&facts)?)?;
        }
    }
    if let Some(model) = parts.embedding_model {
        let name = model.file_name().context("the embedding model's path has no name")?;
        let folder = share.join("models/embed");
        fs::create_dir_all(&folder)?;
        fs::copy(model, folder.join(name)).with_context(|| format!("{} cannot be read", model.display()))?;
        // The hub is told one name, whatever the file is called today.
        symlink(name, folder.join("default.gguf"))?;
    }
    Ok(())
}

/// Gives every file below a folder the one time that files in an image have.
///
/// # Errors
/// When a time cannot be set.
pub fn touch(folder: &Path) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH);
    walk(folder, &mut |path| {
        if fs::symlink_metadata(path)?.is_file() {
            fs::File::options()
                .read(true)
                .open(path)?
                .set_times(fs::FileTimes::new().set_modified(time).set_accessed(time))?;
        }
        Ok(())
    })
}
