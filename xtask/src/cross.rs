//! `cargo xtask cross`: the hub's aarch64 binary without containers, by the settings of `cross.toml`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    setup::{emulator, packages},
    step,
    test::cargo,
    workspace::{root, target},
};

const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The compiler whose standard library for the boards Debian has.
const DEBIAN_COMPILER: &str = "/usr/bin/rustc";
/// The largest stripped binary that we mean to ship, bytes.
const AIM: u64 = 25 << 20;

/// Arguments of `cargo xtask cross`.
#[derive(Args)]
pub(crate) struct CrossArgs {
    /// Build in less time what runs slower: for tests
    #[arg(long)]
    quick: bool,
    /// Instead: run the tests of these crates in the processors of the boards, emulated (all that are meant for it, without a value)
    #[arg(long, value_name = "CRATE", num_args = 0..)]
    test: Option<Vec<String>>,
}

/// Crates whose tests say something on another processor: arithmetic, durable files, formats.
const TESTED: &[&str] = &["cairn-kernels", "cairn-slots", "cairn-bundle", "cairn-sync", "cairn-store"];
/// The processors of the boards, from oldest to newest: Pi 3 and Zero 2 W, Pi 4, Pi 5.
const PROCESSORS: &[&str] = &["cortex-a53", "cortex-a72", "cortex-a76"];

/// Tests that start their own program again, or through others: they need a kernel that knows the emulator.
const START_THEMSELVES: &[&str] = &["disk::", "killed::"];

/// Builds the binary and tells its size.
pub(crate) fn run(args: &CrossArgs) -> Result<()> {
    if let Some(crates) = &args.test {
        return test(crates);
    }
    let binary = build(args.quick)?;
    let bytes = std::fs::metadata(&binary)?.len();
    println!(
        "{} ({:.1} MiB stripped, aim: at most {} MiB)",
        binary.display(),
        bytes as f64 / 1048576.0,
        AIM >> 20
    );
    Ok(())
}

/// Builds the hub for the boards. Returns the stripped binary.
pub(crate) fn build(quick: bool) -> Result<PathBuf> {
    packages::install(packages::CROSS)?;
    let folder = if quick { target().join("cross-quick") } else { target() };
    // Arguments behind `--` go to the last compilation alone, the one that links.
    let mut build = cargo("rustc");
    build.args(["--profile", "card", "--locked", "--package", "cairn", "--bin", "cairn", "--target", TARGET]);
    if quick {
        build.envs([
            ("CARGO_PROFILE_CARD_LTO", "off"),
            ("CARGO_PROFILE_CARD_OPT_LEVEL", "1"),
            ("CARGO_PROFILE_CARD_CODEGEN_UNITS", "16"),
            ("CARGO_PROFILE_CARD_DEBUG", "false"),
        ]);
    }
    let compiler = for_boards(&mut build, &folder)?;
    build.arg("--").args(linking(compiler)?);
    step::show("Building the hub for aarch64", &mut build)?;

    let built = folder.join(TARGET).join("card/cairn");
    let stripped = folder.join(TARGET).join("card/cairn.stripped");
    step::quiet("Stripping it", Command::new("aarch64-linux-gnu-strip").arg("-o").args([&stripped, &built]))?;
    Ok(stripped)
}

/// Builds an example for the boards, as the hub is built, to be measured under emulation.
pub(crate) fn example(package: &str, name: &str) -> Result<PathBuf> {
    let folder = target().join("cross-example");
    let mut build = cargo("build");
    build.args([
        "--profile",
        "card",
        "--locked",
        "--package",
        package,
        "--example",
        name,
        "--target",
        TARGET,
    ]);
    for_boards(&mut build, &folder)?;
    step::show(&format!("Building {name} for aarch64"), &mut build)?;
    Ok(folder.join(TARGET).join("card/examples").join(name))
}

/// Runs tests in each of the boards' processors.
fn test(crates: &[String]) -> Result<()> {
    packages::install(packages::CROSS)?;
    packages::install(packages::CROSS_TEST)?;
    let known = emulator::register();
    if let Err(why) = &known {
        println!("Left out: tests of {}, because {why:#}", START_THEMSELVES.join(" and "));
    }
    let folder = target().join("cross-test");
    let all: Vec<&str> =
        if crates.is_empty() { TESTED.to_vec() } else { crates.iter().map(String::as_str).collect() };
    for processor in PROCESSORS {
        let mut tests = cargo("test");
        tests.args(["--locked", "--lib", "--tests", "--target", TARGET]);
        for package in &all {
            tests.args(["--package", package]);
        }
        for_boards(&mut tests, &folder)?;
        // By variables, which what the tests start inherits. The processor is no part of what is compiled; libraries are where Debian's
        // cross compiler has them.
        tests.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", "qemu-aarch64");
        tests.env("QEMU_CPU", processor).env("QEMU_LD_PREFIX", "/usr/aarch64-linux-gnu");
        if known.is_err() {
            tests.arg("--").args(START_THEMSELVES.iter().flat_map(|name| ["--skip", name]));
        }
        step::show(&format!("Testing {} in an emulated {processor}", all.join(", ")), &mut tests)?;
    }
    println!("{} passed on {}", all.join(", "), PROCESSORS.join(", "));
    Ok(())
}

/// How the hub is linked: by the linker that comes with the compiler, where one does. It packs the 93,000 addresses that are known at the
/// start only (DT_RELR; glibc 2.36 and newer read them), which GNU ld for aarch64 cannot before 2.43: 2 MiB less.
fn linking(compiler: &str) -> Result<Vec<String>> {
    let host = host(compiler)?;
    let sysroot = told(compiler, &["--print", "sysroot"])?;
    let linker = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/gcc-ld");
    if !linker.join("ld.lld").exists() {
        println!("{compiler} brings no linker of its own: the binary will be 2 MiB larger.");
        return Ok(Vec::new());
    }
    let arguments = [
        format!("-B{}", linker.display()),
        "-fuse-ld=lld".to_owned(),
        "-Wl,-z,pack-relative-relocs".to_owned(),
    ];
    Ok(arguments.map(|argument| format!("-Clink-arg={argument}")).to_vec())
}

/// The name of the machine that a compiler runs on, for example `x86_64-unknown-linux-gnu`.
pub(crate) fn host(compiler: &str) -> Result<String> {
    let version = told(compiler, &["--version", "--verbose"])?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.with_context(|| format!("{compiler} does not say what it runs on"))?.to_owned())
}

fn told(compiler: &str, arguments: &[&str]) -> Result<String> {
    let told = Command::new(compiler).args(arguments).current_dir(root()).output();
    let told = told.with_context(|| format!("{compiler} cannot be started"))?;
    Ok(String::from_utf8(told.stdout)?.trim().to_owned())
}

/// Makes a cargo command compile for the boards, by the settings of `cross.toml`, into `folder`. Gives the compiler.
fn for_boards(build: &mut Command, folder: &Path) -> Result<&'static str> {
    build.env("CARGO_TARGET_DIR", folder);
    // A CPU's name and paths: the paths of this machine are replaced, so that two machines build the same bytes.
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home =
        home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo"))).context("no home folder")?;
    let maps = [(home.as_path(), "/cargo"), (root(), "/cairn"), (folder, "/target")];
    let mapped = |option: &str| {
        maps.iter().map(|(from, to)| format!(" {option}={}={to}", from.display())).collect::<String>()
    };
    let flags = format!("{}{}", rust_flags()?, mapped("--remap-path-prefix"));
    build.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS", flags);
    build.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    for (variable, value) in
        [("CC", "aarch64-linux-gnu-gcc"), ("CXX", "aarch64-linux-gnu-g++"), ("AR", "aarch64-linux-gnu-ar")]
    {
        build.env(format!("{variable}_aarch64_unknown_linux_gnu"), value);
    }
    for variable in ["CFLAGS", "CXXFLAGS"] {
        build.env(format!("{variable}_aarch64_unknown_linux_gnu"), mapped("-ffile-prefix-map").trim_start());
    }
    if !rustup_has_target() {
        // Debian builds the standard library for arm64 with the same compiler that it ships.
        debian_compiler()?;
        build.env("RUSTC", DEBIAN_COMPILER);
        return Ok(DEBIAN_COMPILER);
    }
    Ok("rustc")
}

/// The compiler's flags for the boards, from the one place that the containers' build reads too.
fn rust_flags() -> Result<String> {
    let text = std::fs::read_to_string(root().join("cross.toml"))?;
    let line =
        text.lines().find_map(|line| line.trim().trim_matches([',', '"']).split_once("GNU_RUSTFLAGS="));
    Ok(line.context("cross.toml names no RUSTFLAGS")?.1.to_owned())
}

/// Whether rustup is there and has, or can fetch, the standard library for the boards.
fn rustup_has_target() -> bool {
    let mut add = Command::new("rustup");
    add.args(["target", "add", TARGET]).current_dir(root()).stdout(Stdio::null()).stderr(Stdio::null());
    add.status().is_ok_and(|status| status.success())
}

fn debian_compiler() -> Result<()> {
    let library = Path::new("/usr/lib/rustlib").join(TARGET);
    if !library.exists() {
        if !step::has("dpkg") {
            bail!(
                "`rustup target add {TARGET}` does not work here, and this is no Debian whose compiler could be used"
            );
        }
        step::quiet(
            "Allowing packages for arm64",
            Command::new("dpkg").args(["--add-architecture", "arm64"]),
        )?;
        packages::install_if(true, packages::CROSS_COMPILER)?;
    }
    Ok(())
}
