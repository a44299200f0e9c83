//! System packages, by the names that Debian and its derivatives give them.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::step;

/// One package: how to see that it is there, how it is called, and what for.
pub(crate) struct Package {
    /// A command on the path or, with a slash, a file.
    probe: &'static str,
    name: &'static str,
    why: &'static str,
}

const fn package(probe: &'static str, name: &'static str, why: &'static str) -> Package {
    Package { probe, name, why }
}

/// To build and run the hub.
pub(crate) const RUN: &[Package] = &[
    package("cc", "gcc", "compiles SQLite, zstd and the cryptography"),
    package("/usr/include/stdlib.h", "libc6-dev", "the same"),
    package("cmake", "cmake", "configures the cryptography"),
    package("make", "make", "the same"),
    package("python3", "python3", "fetches the embedding model by package name"),
    package("pip3", "python3-pip", "the same"),
];

const FAKETIME: Package = package("faketime", "faketime", "shows programs another time");

/// To test it.
pub(crate) const TEST: &[Package] = &[
    package("g++", "g++", "builds the engine that answers are compared with"),
    package("chromium", "chromium", "browser tests"),
    package("chromedriver", "chromium-driver", "browser tests"),
    package(
        "/usr/share/fonts/truetype/noto/NotoSansArabic-Regular.ttf",
        "fonts-noto-core",
        "pages in every language",
    ),
    package("pdftotext", "poppler-utils", "real documents to extract"),
    package("zimwriterfs", "zim-tools", "real ZIM archives to extract"),
    package("zip", "zip", "hostile archives"),
    package("ip", "iproute2", "networks of the tests' own"),
    FAKETIME,
];

/// To start a gateway, and to test it.
pub(crate) const GATEWAY: &[Package] = &[
    package("pg_lsclusters", "postgresql", "the gateway's database"),
    package("setpriv", "util-linux", "starts the database as another user than root"),
    package("/usr/sbin/haproxy", "haproxy", "the load balancer before several gateways"),
    package("openssl", "openssl", "certificates of the tests' own"),
];

/// To measure updates beside another way.
pub(crate) const OTA_BENCH: &[Package] = &[
    package("xdelta3", "xdelta3", "what updates are compared with"),
    package("bsdiff", "bsdiff", "what updates are compared with"),
];

/// To run the conformance suite of The Update Framework.
pub(crate) const TUF_CONFORMANCE: &[Package] = &[package("python3", "python3", "runs the suite"), FAKETIME];

/// To compare synchronisation with another one.
pub(crate) const POUCHDB: &[Package] =
    &[package("node", "nodejs", "runs PouchDB"), package("npm", "npm", "fetches PouchDB")];

/// To build the hub's binary for the boards.
pub(crate) const CROSS: &[Package] = &[
    package(
        "aarch64-linux-gnu-gcc",
        "gcc-aarch64-linux-gnu",
        "links the hub for the boards and compiles its C",
    ),
    package("aarch64-linux-gnu-g++", "g++-aarch64-linux-gnu", "the same for C++"),
    package("/usr/aarch64-linux-gnu/include/stdlib.h", "libc6-dev-arm64-cross", "the same"),
];

/// To run tests in the boards' processors.
pub(crate) const CROSS_TEST: &[Package] =
    &[package("qemu-aarch64", "qemu-user", "runs what was built for the boards")];

/// To have the kernel run programs of the boards by itself.
pub(crate) const EMULATOR: &[Package] =
    &[package("qemu-aarch64-static", "qemu-user-static", "runs programs of the boards")];

/// The compiler for the boards where rustup cannot fetch its own.
pub(crate) const CROSS_COMPILER: &[Package] = &[
    package("", "rustc-web", "compiles the hub for the boards"),
    package("", "libstd-rust-web-dev:arm64", "its standard library for the boards"),
];

/// To build and boot cards.
pub(crate) const IMAGE: &[Package] = &[
    package("dpkg-deb", "dpkg", "unpacks the system's packages"),
    package(
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
        "checks the lists of packages",
    ),
    package("/usr/bin/mkfs.erofs", "erofs-utils", "makes the root file system"),
    package("/usr/sbin/veritysetup", "cryptsetup-bin", "makes the tree of hashes over it"),
    package("/usr/sbin/mkfs.fat", "dosfstools", "makes the boot partitions"),
    package("/usr/sbin/debugfs", "e2fsprogs", "looks into the data partition"),
    package("mcopy", "mtools", "fills the boot partitions"),
    package("/usr/sbin/depmod", "kmod", "chooses kernel modules"),
    package("mkimage", "u-boot-tools", "packs the boot script"),
    package("readelf", "binutils", "checks that no library is missing"),
    package("xz", "xz-utils", "unpacks kernel modules"),
    package("/usr/sbin/sfdisk", "fdisk", "reads the partition table back"),
    package("qemu-system-aarch64", "qemu-system-arm", "boots the card"),
];

/// To make a Debian for the boards, which a card is compared with.
pub(crate) const DEBIAN: &[Package] = &[
    package("mmdebstrap", "mmdebstrap", "makes it"),
    package("arch-test", "arch-test", "asks whether they can be run"),
];

/// To make Python environments, where the system's Python cannot.
pub(crate) const PYTHON_ENVIRONMENT: &[Package] =
    &[package("", "python3-venv", "isolated reference implementations")];

impl Package {
    fn is_there(&self) -> bool {
        if self.probe.contains('/') { Path::new(self.probe).exists() } else { step::has(self.probe) }
    }
}

/// Installs what is missing, or says what to install where that is not possible.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    install_all(&packages.iter().filter(|package| !package.is_there()).collect::<Vec<_>>())
}

/// Installs packages whose absence was seen in another way than by a file.
pub(crate) fn install_if(missing: bool, packages: &[Package]) -> Result<()> {
    if missing { install_all(&packages.iter().collect::<Vec<_>>()) } else { Ok(()) }
}

fn install_all(missing: &[&Package]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    if !step::has("apt-get") {
        bail!("{}", what_to_do(missing, "your system's package manager"));
    }
    let prefix: &[&str] = if is_root() {
        &[]
    } else if step::has("sudo") {
        &["sudo", "-n"]
    } else {
        bail!("{}", what_to_do(missing, "apt-get, as root"));
    };
    if step::quiet("Updating the package list", &mut apt(prefix, &["update"])).is_err() && !prefix.is_empty()
    {
        bail!("{}", what_to_do(missing, "sudo apt-get"));
    }
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&names);
    step::quiet(&format!("Installing {}", names.join(", ")), &mut apt(prefix, &arguments))
}

fn apt(prefix: &[&str], arguments: &[&str]) -> Command {
    let mut words = prefix.iter().chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    let mut command = Command::new(words.next().copied().unwrap_or("apt-get"));
    command.args(words).args(arguments);
    command
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn what_to_do(missing: &[&Package], with: &str) -> String {
    let list: String =
        missing.iter().map(|package| format!("\n  {:<16} {}", package.name, package.why)).collect();
    format!("These packages are missing; install them with {with}, then start again:{list}")
}
