//! What a story of updates is played with: a maintainer's workshop behind a wire that counts and cuts, and a device whose card is a few files.

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
    BootControl, FileDevice,
    boot_control::{Boot, Places},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::running::{Hub, Keeper, folder, until};

pub(crate) const BOARD: &str = "qemu-virt";
/// Sizes of the payloads, and of the partitions that hold them.
const BOOT: usize = 512 << 10;
const ROOT: usize = 8 << 20;
const PARTITION: u64 = 12 << 20;
/// Where in the root payload something else stands in every version.
pub(crate) const CHANGED: std::ops::Range<usize> = 3_000_000..4_500_000;
/// An address that no machine has (RFC 5737).
pub(crate) const NOWHERE: &str = "203.0.113.1:80";
/// The supervisor's exit code for "start the system anew".
pub(crate) const RESTART: i32 = 7;

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
pub(crate) struct Workshop {
    pub(crate) folder: tempfile::TempDir,
    server: Child,
    pub(crate) url: String,
    pub(crate) wire: Arc<Wire>,
}

#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) carried: AtomicU64,
    /// Carries no more than this.
    pub(crate) most: AtomicU64,
    pub(crate) cut: AtomicBool,
}

impl Workshop {
    pub(crate) fn command(folder: &Path) -> Command {
        let program = Path::new(env!("CARGO_BIN_EXE_cairn")).with_file_name("cairn-publish");
        assert!(program.exists(), "cairn-publish is not built: cargo test --no-run -p cairn-publish");
        let mut command = Command::new(program);
        command.args(["--folder", folder.to_str().unwrap(), "--json"]);
        command.env("CAIRN_PUBLISH_PASSPHRASE", "correct horse battery");
        command
    }

    pub(crate) async fn new() -> Self {
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

    pub(crate) fn publish(&self, version: &str, listen: &str) {
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

    pub(crate) fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Length of a version's bundle.
    pub(crate) fn bundle(&self, version: &str) -> u64 {
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

pub(crate) fn run(command: &mut Command) {
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
pub(crate) struct Machine {
    card: tempfile::TempDir,
}

impl Machine {
    pub(crate) fn new(workshop: &Workshop, version: &str) -> Self {
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.card.path().join(name)
    }

    pub(crate) fn holds(&self, slot: &str, version: &str, listen: &str) -> bool {
        ["boot", "root"].into_iter().zip(payloads(version, listen)).all(|(kind, payload)| {
            let content = fs::read(self.path(&format!("{kind}-{slot}"))).unwrap();
            content.starts_with(&payload)
        })
    }

    /// The boot loader chooses, and the initramfs says what it opened; where the system of that slot listens.
    pub(crate) fn boot(&self) -> (Boot, String) {
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

    pub(crate) fn words(&self, url: Option<&str>, stick: Option<&Path>) -> Vec<String> {
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
    pub(crate) async fn start(
        &self,
        data: tempfile::TempDir,
        url: Option<&str>,
        stick: Option<&Path>,
    ) -> (Boot, Hub) {
        let (boot, _) = self.boot();
        let words = self.words(url, stick);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        (boot, Hub::start_with(data, &words).await)
    }
}

pub(crate) async fn updates(keeper: &Keeper) -> Value {
    keeper.get("/api/v1/updates").await.error_for_status().unwrap().json().await.unwrap()
}

pub(crate) async fn ask(keeper: &Keeper, what: Value) {
    let answer = keeper.post("/api/v1/updates", &json!({ "ask": what })).await;
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
}

pub(crate) async fn until_status(keeper: &Keeper, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let last = std::cell::RefCell::new(Value::Null);
    let waited = until(what, async || {
        let now = updates(keeper).await;
        last.replace(now.clone());
        holds(&now).then_some(now)
    });
    waited.await
}

/// Wishes under which no restart comes by itself while the test runs.
pub(crate) fn wishes(share: bool) -> Value {
    let hour = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600 % 24;
    let (from, until) = ((hour + 6) % 24, (hour + 7) % 24);
    json!({ "wishes": { "paused": false, "metered": false, "window_from": from, "window_until": until, "share": share } })
}
