//! Unfit systems of each class. Each is published, installed over HTTPS and tried like any other; the old system must come back by
//! itself, soon enough, with what was written, and say why. What is wrong with them stands in `faults/` (files laid over the root of a good
//! system) or is done to their boot files here.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{
    in_force,
    machine::{Card, STARTS_WITHIN, prepared},
    repository::Repository,
    serial::plain,
    update::{UPDATES_WITHIN, claimed},
};

/// The files of a system that is to be published.
struct System {
    /// For files that are made here.
    folder: tempfile::TempDir,
    boot: PathBuf,
    root: PathBuf,
}

impl System {
    /// The good one that follows the card's.
    fn good(version: &str) -> Result<Self> {
        Self::of(&prepared("CAIRN_UPDATES")?.join(format!("system-stable-{version}")))
    }

    /// One with the files of `faults/<name>`.
    fn with_fault(name: &str, version: &str) -> Result<Self> {
        Self::of(
            &prepared("CAIRN_UPDATES")?.join("faults").join(name).join(format!("system-stable-{version}")),
        )
    }

    fn of(system: &Path) -> Result<Self> {
        let folder = tempfile::TempDir::with_prefix("cairn-unfit-")?;
        Ok(Self { folder, boot: system.join("boot.img"), root: system.join("root.img") })
    }

    /// Changes one of its boot files.
    fn with_boot_file(mut self, name: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Result<Self> {
        let (boot, file) = (self.folder.path().join("boot.img"), self.folder.path().join(name));
        std::fs::copy(&self.boot, &boot)?;
        let inside = format!("::/{name}");
        let tool = |program: &str, from: &Path, to: &Path| -> Result<()> {
            let done = Command::new(program).args(["-o", "-i"]).arg(&boot).args([from, to]).output()?;
            ensure!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
            Ok(())
        };
        tool("mcopy", Path::new(&inside), &file)?;
        std::fs::write(&file, change(std::fs::read(&file)?))?;
        tool("mcopy", &file, Path::new(&inside))?;
        self.boot = boot;
        Ok(self)
    }
}

/// A file as an archive of its own (`newc`, Documentation/driver-api/early-userspace/buffer-format.rst): appended to an initramfs it takes the
/// place of the file of that name.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, mode, content) in [(name, 0o100_755, content), ("TRAILER!!!", 0, [].as_slice())] {
        let length = u32::try_from(content.len()).unwrap();
        let named = u32::try_from(name.len() + 1).unwrap();
        bytes.extend(b"070701");
        for field in [1, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, named, 0_u32] {
            bytes.extend(format!("{field:08x}").bytes());
        }
        bytes.extend(name.bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// Seconds since its kernel started that a machine last told of.
fn uptime(console: &str) -> Option<f64> {
    let of = |line: &str| line.strip_prefix('[')?.split(']').next()?.trim().parse::<f64>().ok();
    console.lines().rev().map(plain).find_map(|line| of(&line))
}

/// Installs a system; the old one must come back within `minutes` of the new one's own clock, and know `reason` (of `part`, where one said so).
async fn comes_back(
    name: &str,
    unfit: impl Fn(&str) -> Result<System>,
    part: Option<&str>,
    reason: &str,
    minutes: f64,
) {
    let repository = Repository::serve().await.unwrap();
    let versions = repository.versions().unwrap();
    let system = unfit(&versions[1]).unwrap();
    repository.publish_parts(&versions[1], &system.boot, &system.root).unwrap();
    let card = Card::new().unwrap();
    let mut machine = card.start(&format!("unfit-{name}")).unwrap();
    let hub = claimed(&mut machine).await.unwrap();
    let notice = hub.notice("before an unfit system").await.unwrap();
    hub.ask(json!("now")).await.unwrap();
    machine.until_it_says_after(0, &["cairn: slot=b trial=1"], UPDATES_WITHIN).await.unwrap();
    let from = machine.serial().find("cairn: slot=b trial=1").unwrap();
    let said = machine.until_it_says_after(from, &["cairn: slot=a trial=0"], UPDATES_WITHIN).await.unwrap();
    let tried = said.split("cairn: slot=a trial=0").next().unwrap_or_default();
    let took = uptime(tried).unwrap_or_default();
    machine.until_healthy().await.unwrap();

    let knows = |status: &Value| status["came_back"] == true;
    let status = hub.until_updates("it knows that it came back", STARTS_WITHIN, knows).await.unwrap();
    println!("FIGURE {name}: {took:.0} s after its start the old system comes back: {}", status["failed"][0]);
    let failed = &status["failed"][0];
    assert_eq!(
        (&status["running"], &failed["version"]),
        (&json!(versions[0]), &json!(versions[1])),
        "{status}"
    );
    assert_eq!(failed["part"].as_str(), part, "{failed}");
    let why = failed["reason"].as_str().unwrap();
    assert!(why.contains(reason), "{why:?} does not say {reason:?}");
    assert!(took < 60.0 * minutes, "it took {took} s");
    assert!(hub.has_notice(&notice, "before an unfit system").await.unwrap(), "what was written is gone");
    let page = hub.text("/settings/updates").await.unwrap();
    assert!(page.contains(&format!("Try {} again", versions[1])), "the page does not offer it: {page}");
    // It is not tried again by itself: the boot state is settled and the version is known.
    hub.ask(json!("look")).await.unwrap();
    let known = |status: &Value| status["offer"]["failed_before"] == true;
    let status = hub.until_updates("it knows the version", UPDATES_WITHIN, known).await.unwrap();
    assert_eq!(status["next"], Value::Null, "{status}");
    assert_eq!((in_force(&card).default.letter(), in_force(&card).trial), ("a", None));
}

const SILENT: &str = "did not start, or stopped before it could say why";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_kernel_panics_goes_back() {
    let unfit = |version: &str| {
        System::good(version)?.with_boot_file("cmdline.txt", |line| {
            [line.trim_ascii_end(), b" rdinit=/none root=/dev/none\n"].concat()
        })
    };
    comes_back("kernel-panics", unfit, None, SILENT, 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_init_hangs_goes_back() {
    let unfit = |version: &str| {
        let init = std::fs::read_to_string("../image/initramfs/init").context("the initramfs' init")?;
        let (begin, rest) = init.split_once("\nwaited=0\n").context("init has another form than expected")?;
        let hangs = archive("init", format!("{begin}\nsleep 1000000\nwaited=0\n{rest}").as_bytes());
        System::good(version)?.with_boot_file("initramfs", |mut all| {
            all.resize(all.len().next_multiple_of(4), 0);
            [all, hangs.clone()].concat()
        })
    };
    comes_back("init-hangs", unfit, None, SILENT, 7.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_supervisor_crashes_goes_back() {
    let unfit = |version: &str| System::with_fault("supervisor-crashes", version);
    comes_back("supervisor-crashes", unfit, None, SILENT, 5.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_supervisor_says_nothing_goes_back() {
    let unfit = |version: &str| System::with_fault("supervisor-says-nothing", version);
    comes_back("supervisor-says-nothing", unfit, None, SILENT, 22.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_open_its_records_goes_back() {
    let unfit = |version: &str| System::with_fault("database-refuses", version);
    comes_back("database-refuses", unfit, Some("database"), "takes no writes", 12.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_hub_cannot_start_goes_back() {
    let unfit = |version: &str| System::with_fault("hub-cannot-start", version);
    comes_back("hub-cannot-start", unfit, Some("supervisor"), "cannot be emptied", 5.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_page_is_down_goes_back() {
    let unfit = |version: &str| System::with_fault("page-down", version);
    comes_back("page-down", unfit, Some("page"), "does not answer", 14.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_reaches_nobody_goes_back() {
    let unfit = |version: &str| System::with_fault("network-dead", version);
    comes_back("network-dead", unfit, Some("uplink"), "updates: ", 18.0).await;
}

#[test]
fn the_kernels_clock_is_read_from_the_console() {
    let console =
        "[    0.000000] Booting Linux\r\n[   12.345678] last\r\n[\u{1b}[0;32m  OK  \u{1b}[0m] Started x.\r\n";
    assert_eq!(uptime(console), Some(12.345_678));
    assert_eq!(archive("init", b"abc").len() % 4, 0);
}
