//! A whole life of updates, with real processes: maintainers publish with `cairn-publish`, a hub whose card is a few files finds, fetches,
//! writes, checks, flips, restarts, proves itself and stays; an unfit version leads back to the old one; a hub without the internet is
//! updated by an upload, a stick and another hub. The boot loader is played by its model in `cairn-slots`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::type_complexity,
    reason = "a test program: what is wrong must stop it"
)]

mod running;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
};

use cairn_slots::{
    BootControl, FileDevice, SlotId,
    boot_control::{Boot, Places},
};
use running::{Hub, Keeper, cairn, folder, until};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const BOARD: &str = "qemu-virt";
/// Sizes of the payloads, and of the partitions that hold them.
const BOOT: usize = 512 << 10;
const ROOT: usize = 8 << 20;
const PARTITION: u64 = 12 << 20;
/// Where in the root payload something else stands in every version.
const CHANGED: std::ops::Range<usize> = 3_000_000..4_500_000;
/// An address that no machine has (RFC 5737).
const NOWHERE: &str = "203.0.113.1:80";
/// The supervisor's exit code for "start the system anew".
const RESTART: i32 = 7;

fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// What the root payload of a version begins with, and by which the boot loader of this test starts it.
fn payloads(version: &str, listen: &str) -> [Vec<u8>; 2] {
    let mut root = noise(2, ROOT);
    let number: u64 = version.bytes().map(u64::from).sum();
    root[CHANGED].copy_from_slice(&noise(number, CHANGED.len()));
    let mut head = json!({ "version": version, "listen": listen }).to_string().into_bytes();
    head.resize(512, b' ');
    root[..512].copy_from_slice(&head);
    [noise(1, BOOT), root]
}

/// A maintainer's workshop, and its repository behind a wire that counts.
struct Workshop {
    folder: tempfile::TempDir,
    server: Child,
    url: String,
    wire: Arc<Wire>,
}

#[derive(Default)]
struct Wire {
    carried: AtomicU64,
    /// Carries no more than this.
    most: AtomicU64,
    cut: AtomicBool,
}

impl Workshop {
    fn command(folder: &Path) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_cairn")).with_file_name("cairn-publish");
        assert!(program.exists(), "cairn-publish is not built: cargo test --no-run -p cairn-publish");
        let mut command = Command::new(program);
        command.args(["--folder", folder.to_str().unwrap(), "--json"]);
        command.env("CAIRN_PUBLISH_PASSPHRASE", "correct horse battery");
        command
    }

    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        run(Self::command(folder.path()).args(["init", "--work", "1"]));
        let mut server = Self::command(folder.path())
            .args(["serve", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(server.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().trim_start_matches("http://").split('/').next().unwrap().to_owned();
        let wire = Arc::new(Wire { most: u64::MAX.into(), ..Wire::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let carrying = Arc::clone(&wire);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (wire, address) = (Arc::clone(&carrying), address.clone());
                tokio::spawn(async move { drop(carry(&wire, near, &address).await) });
            }
        });
        Self { folder, server, url, wire }
    }

    fn publish(&self, version: &str, listen: &str) {
        let [boot, root] = payloads(version, listen);
        let path = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("boot.img"), boot).unwrap();
        fs::write(path("root.img"), root).unwrap();
        let command = || Self::command(self.folder.path());
        let name = ["--board", BOARD, "--version", version];
        let notes = format!("What is new in {version}");
        run(command()
            .arg("add-system")
            .args(name)
            .args(["--boot", &path("boot.img"), "--root", &path("root.img")])
            .args(["--notes", &notes]));
        run(command().arg("rollout").args(name).args(["--over-hours", "0"]));
        run(command().args(["sign", "--key", "release-1"]));
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Length of a version's bundle.
    fn bundle(&self, version: &str) -> u64 {
        let ends = format!("system-{BOARD}-{version}.cairn");
        let files = fs::read_dir(self.repository().join("targets")).unwrap().flatten();
        let mut lengths = files.filter(|file| file.file_name().to_string_lossy().contains(&ends));
        lengths.next().unwrap_or_else(|| panic!("no bundle {ends}")).metadata().unwrap().len()
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Carries bytes to the server and counts those that come back.
async fn carry(wire: &Wire, near: TcpStream, address: &str) -> std::io::Result<()> {
    let far = TcpStream::connect(address).await?;
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let asking = tokio::io::copy(&mut near_in, &mut far_out);
    let answering = async {
        let mut piece = vec![0; 16 << 10];
        loop {
            let count = far_in.read(&mut piece).await?;
            if count == 0 || wire.cut.load(SeqCst) {
                return std::io::Result::Ok(());
            }
            let carried = wire.carried.fetch_add(count as u64, SeqCst) + count as u64;
            near_out.write_all(&piece[..count]).await?;
            if carried >= wire.most.load(SeqCst) {
                // The line is up and nothing comes any more, until somebody pulls the plug.
                wire.cut.store(true, SeqCst);
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        done = answering => done,
        done = asking => done.map(drop),
    }
}

/// A device: a card of files, and what the boot loader and the initramfs do with it.
struct Machine {
    card: tempfile::TempDir,
}

impl Machine {
    fn new(workshop: &Workshop, version: &str) -> Self {
        let card = folder();
        let path = |name: &str| card.path().join(name);
        fs::create_dir_all(path("run/part")).unwrap();
        let sparse = |name: &str, size: u64| fs::File::create(path(name)).unwrap().set_len(size).unwrap();
        sparse("card", 8 << 20);
        for name in ["boot-a", "boot-b", "root-a", "root-b"] {
            sparse(name, PARTITION);
            std::os::unix::fs::symlink(path(name), path("run/part").join(name)).unwrap();
        }
        for (kind, payload) in ["boot-a", "root-a"].into_iter().zip(payloads(version, "127.0.0.1:0")) {
            fs::OpenOptions::new().write(true).open(path(kind)).unwrap().write_all_at(&payload, 0).unwrap();
        }
        let image = path("image");
        for folder in ["usr/lib", "usr/share/cairn/hardware/qemu-virt", "proc/device-tree"] {
            fs::create_dir_all(image.join(folder)).unwrap();
        }
        let board = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../hardware/qemu-virt/board.toml");
        fs::copy(board, image.join("usr/share/cairn/hardware/qemu-virt/board.toml")).unwrap();
        fs::write(image.join("proc/device-tree/compatible"), "linux,dummy-virt\0").unwrap();
        fs::write(image.join("usr/share/cairn/build-time"), "1790000000\n").unwrap();
        let root = workshop.repository().join("metadata/1.root.json");
        fs::copy(root, image.join("usr/share/cairn/root.json")).unwrap();
        Self { card }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.card.path().join(name)
    }

    fn holds(&self, slot: &str, version: &str, listen: &str) -> bool {
        ["boot", "root"].into_iter().zip(payloads(version, listen)).all(|(kind, payload)| {
            let content = fs::read(self.path(&format!("{kind}-{slot}"))).unwrap();
            content.starts_with(&payload)
        })
    }

    /// The boot loader chooses, and the initramfs says what it opened; where the system of that slot listens.
    fn boot(&self) -> (Boot, String) {
        let card = fs::OpenOptions::new().read(true).write(true).open(self.path("card")).unwrap();
        let boot = BootControl::new(FileDevice::new(card).unwrap(), Places::OF_IMAGE).boot().unwrap();
        let slot = boot.slot.letter();
        let mut head = vec![0; 512];
        fs::File::open(self.path(&format!("root-{slot}"))).unwrap().read_exact_at(&mut head, 0).unwrap();
        let system: Value = serde_json::from_slice(&head).unwrap();
        let (version, listen) = (system["version"].as_str().unwrap(), system["listen"].as_str().unwrap());
        fs::write(self.path("image/usr/lib/os-release"), format!("ID=cairn\nVERSION_ID={version}\n"))
            .unwrap();
        let card = self.path("card");
        let said = format!("CARD={}\nSLOT={slot}\nTRIAL={}\n", card.display(), u8::from(boot.trial));
        fs::write(self.path("run/boot"), said).unwrap();
        (boot, listen.to_owned())
    }

    fn words(&self, url: Option<&str>, stick: Option<&Path>) -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut words = vec![
            "--slots".to_owned(),
            text(&self.path("run")),
            "--image".to_owned(),
            text(&self.path("image")),
        ];
        words.extend(url.iter().flat_map(|url| ["--updates-url".to_owned(), (*url).to_owned()]));
        words.extend(stick.iter().flat_map(|stick| ["--stick".to_owned(), text(stick)]));
        words
    }

    /// Power on, with a system that is well.
    async fn start(&self, data: tempfile::TempDir, url: Option<&str>, stick: Option<&Path>) -> (Boot, Hub) {
        let (boot, _) = self.boot();
        let words = self.words(url, stick);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        (boot, Hub::start_with(data, &words).await)
    }
}

async fn updates(keeper: &Keeper) -> Value {
    keeper.get("/api/v1/updates").await.error_for_status().unwrap().json().await.unwrap()
}

async fn ask(keeper: &Keeper, what: Value) {
    let answer = keeper.post("/api/v1/updates", &json!({ "ask": what })).await;
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
}

async fn until_status(keeper: &Keeper, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let last = std::cell::RefCell::new(Value::Null);
    let waited = until(what, async || {
        let now = updates(keeper).await;
        last.replace(now.clone());
        holds(&now).then_some(now)
    });
    waited.await
}

/// Wishes under which no restart comes by itself while the test runs.
fn wishes(share: bool) -> Value {
    let hour = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600 % 24;
    let (from, until) = ((hour + 6) % 24, (hour + 7) % 24);
    json!({ "wishes": { "paused": false, "metered": false, "window_from": from, "window_until": until, "share": share } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_updated_proves_itself_and_goes_back_from_what_is_unfit() {
    let workshop = Workshop::new().await;
    workshop.publish("1.0.0", "127.0.0.1:0");
    let machine = Machine::new(&workshop, "1.0.0");
    let url = Some(workshop.url.as_str());
    let (boot, hub) = machine.start(folder(), url, None).await;
    assert_eq!((boot.slot, boot.trial), (SlotId::A, false));
    let keeper = hub.claim().await;
    ask(&keeper, wishes(false)).await;
    let status = until_status(&keeper, "it has looked", |status| status["looked_s"].is_u64()).await;
    assert_eq!((&status["phase"], &status["running"]), (&json!("current"), &json!("1.0.0")), "{status}");
    let notice = keeper.notice("before the update").await.unwrap();

    // A new version is found and fetched; the power goes in the middle.
    workshop.publish("1.1.0", "127.0.0.1:0");
    let changed = CHANGED.len() as u64;
    let begun = workshop.wire.carried.load(SeqCst);
    workshop.wire.most.store(begun + changed / 2, SeqCst);
    ask(&keeper, json!("look")).await;
    until("half of it has come", async || workshop.wire.cut.load(SeqCst).then_some(())).await;
    hub.kill();
    let (_, data) = hub.ended().await;
    let before_cut = workshop.wire.carried.load(SeqCst) - begun;
    workshop.wire.most.store(u64::MAX, SeqCst);
    workshop.wire.cut.store(false, SeqCst);

    // It goes on from what is in the slot, and nobody restarts it by themselves.
    let (boot, hub) = machine.start(data, url, None).await;
    assert_eq!((boot.slot, boot.trial), (SlotId::A, false));
    let keeper = hub.sign_in().await;
    let status =
        until_status(&keeper, "it is written and checked", |status| status["phase"] == "ready").await;
    assert_eq!(status["next"], "1.1.0", "{status}");
    let carried = workshop.wire.carried.load(SeqCst) - begun;
    let (full, share) = (workshop.bundle("1.1.0"), changed * 115 / 100 + (160 << 10));
    println!(
        "bundle {full} bytes, changed {changed}; carried {carried}, of these before the cut {before_cut}"
    );
    assert!(full > 8_000_000 && carried < share, "{carried} bytes were fetched, at most {share} expected");
    assert!(machine.holds("b", "1.1.0", "127.0.0.1:0"));
    let page = keeper.get("/settings/updates").await.text().await.unwrap();
    assert!(page.contains("1.1.0") && page.contains("What is new in 1.1.0"), "{page}");

    // "Install now" restarts; the new system is tried, proves itself and stays.
    ask(&keeper, json!("now")).await;
    let (ended, data) = hub.ended().await;
    assert_eq!(ended.code(), Some(RESTART));
    let (boot, hub) = machine.start(data, url, None).await;
    assert_eq!((boot.slot, boot.trial), (SlotId::B, true));
    let keeper = hub.sign_in().await;
    let status = until_status(&keeper, "it stays", |status| status["confirmed"] == "1.1.0").await;
    assert_eq!((&status["slot"], &status["came_back"]), (&json!("b"), &json!(false)), "{status}");
    let health: Value = keeper.get("/api/health-check").await.json().await.unwrap();
    assert_eq!(health["updates"], "current", "{health}");
    let metrics = keeper.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("cairn_update_running{version=\"1.1.0\"} 1"), "{metrics}");
    assert_eq!(keeper.get(&format!("/api/v1/records/notice/{notice}")).await.status(), 200);

    // An unfit version, brought by an upload: it cannot serve its page.
    let photo = keeper.put("/api/v1/updates/files/photo.jpg", b"no part of a repository".to_vec()).await;
    assert_eq!(photo.status(), 422);
    workshop.publish("1.2.0", NOWHERE);
    for part in ["metadata", "targets"] {
        for file in fs::read_dir(workshop.repository().join(part)).unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            if part == "metadata" || name.contains("1.2.0") {
                let path = format!("/api/v1/updates/files/{name}");
                let sent = keeper.put(&path, fs::read(file.path()).unwrap()).await;
                assert_eq!(sent.status(), 204, "{name}");
            }
        }
    }
    ask(&keeper, json!("look_at_upload")).await;
    let status =
        until_status(&keeper, "the upload is believed", |status| status["offer"]["version"] == "1.2.0").await;
    assert_eq!((&status["offer"]["by_hand"], &status["unproven"]), (&json!(true), &json!(true)), "{status}");
    ask(&keeper, json!("now")).await;
    let (ended, data) = hub.ended().await;
    assert_eq!(ended.code(), Some(RESTART));
    let (boot, listen) = machine.boot();
    assert_eq!((boot.slot, boot.trial, listen.as_str()), (SlotId::A, true, NOWHERE));
    let mut unfit = cairn(&["run", "--listen", &listen, "--no-mdns"])
        .args(machine.words(url, None))
        .arg("--data")
        .arg(data.path())
        .spawn()
        .unwrap();
    let ended = until("it gives up", async || unfit.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(RESTART), "the supervisor itself gives the hub back");

    // The old one is back, says why, and does not try it again before somebody says so.
    let (boot, hub) = machine.start(data, url, None).await;
    assert_eq!((boot.slot, boot.trial), (SlotId::B, false));
    let keeper = hub.sign_in().await;
    ask(&keeper, json!("look")).await;
    let status = until_status(&keeper, "it knows what failed", |status| {
        status["came_back"] == true && status["offer"]["failed_before"] == true
    });
    let status = status.await;
    assert_eq!((&status["phase"], &status["next"]), (&json!("current"), &Value::Null), "{status}");
    assert_eq!(status["failed"][0]["version"], "1.2.0");
    let reason = status["failed"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("hub failed") && status["failed"][0]["part"] == "supervisor", "{status}");
    let page = keeper.get("/settings/updates").await.text().await.unwrap();
    assert!(page.contains("hub failed") && page.contains("Try 1.2.0 again"), "{page}");
    assert_eq!(keeper.get(&format!("/api/v1/records/notice/{notice}")).await.status(), 200);
    ask(&keeper, json!({ "try_again": "1.2.0" })).await;
    let again = until_status(&keeper, "it is ready once more", |status| status["phase"] == "ready").await;
    assert_eq!(again["failed"], json!([]), "{again}");

    // It passes on what it has verified; a hub without the internet takes it from there, and another from a stick.
    ask(&keeper, wishes(true)).await;
    until_status(&keeper, "the copy is made", |status| status["sharing"] == "ready").await;
    let stick = folder();
    run(Command::new("cp")
        .arg("-r")
        .args([workshop.repository().join("metadata"), workshop.repository().join("targets")])
        .arg(stick.path()));
    for way in [json!({ "look_at_hub": hub.address().unwrap() }), json!("look_at_stick")] {
        let other = Machine::new(&workshop, "1.0.0");
        let (_, second) = other.start(folder(), None, Some(stick.path())).await;
        let keeper = second.claim().await;
        ask(&keeper, way.clone()).await;
        let status =
            until_status(&keeper, "it is offered", |status| status["offer"]["version"] == "1.2.0").await;
        assert_eq!((&status["network"], &status["trouble"]), (&json!(false), &Value::Null), "{status}");
        ask(&keeper, json!("now")).await;
        let (ended, _) = second.ended().await;
        assert_eq!(ended.code(), Some(RESTART), "{way}");
        assert!(other.holds("b", "1.2.0", NOWHERE) && other.boot().0.trial, "{way}");
    }
}
