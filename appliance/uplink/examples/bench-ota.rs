//! What an update costs to fetch, on real pairs of slot images, beside what other ways would fetch on the same pair in the same run; and how
//! long an install takes and how much memory it holds at most.
//!
//! `bench-ota NAME=OLD=NEW …`: folders with `boot.img` and `root.img` each. Prints a table for docs/BENCHMARKS.md.
//! `bench-ota --install FOLDER` is the process that installs, alone, so that its peak is its own.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a program that measures: what is wrong must stop it"
)]

use std::{
    collections::HashSet,
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use cairn_bundle::{Chunking, Head, InPlace, Listing, LocalChunks, PayloadKind, Plan, Version, write};
use cairn_slots::{
    BootControl, FileDevice, Partitions, SlotId, SlotPair, System, boot_control::Places, durable::Folder,
    record::Record,
};
use cairn_uplink::updates::{
    Offer, Privileged, Turn,
    fetch::Stick,
    install::{MANIFEST, Pace, Progress, install},
};
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::watch;

const BUNDLE: &str = "system.bundle";
const DELTA: &str = "system.delta";
/// casync's own default is 64 KiB on average, a quarter of it at least and four times at most.
const CASYNC: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];
/// RAUC's adaptive updates compare blocks of 4 KiB.
const RAUC: usize = 4 << 10;
/// With a window as large as the old payload.
const XDELTA: &[&str] = &["xdelta3", "-e", "-f", "-9", "-S", "lzma", "-B", "536870912", "-s"];
/// The differences of what resembles and the rest, compressed with bzip2; `bidiff` is the same in Rust. On images that resemble each other
/// little it may search for hours.
const BSDIFF: &[&str] = &["bsdiff"];
/// How long another program may take for a payload.
const PATIENCE: Duration = Duration::from_secs(300);

/// The payloads of a slot.
struct Images([Vec<u8>; 2]);

impl Images {
    fn read(folder: &Path) -> Self {
        Self(["boot.img", "root.img"].map(|name| fs::read(folder.join(name)).unwrap()))
    }

    fn source(&self, kind: PayloadKind) -> write::Source<'_> {
        let bytes = &self.0[kind as usize];
        write::Source { bytes, length: bytes.len() as u64, verity: None }
    }

    fn both(&self) -> [write::Source<'_>; 2] {
        PayloadKind::ALL.map(|kind| self.source(kind))
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|bytes| bytes.len() as u64).sum()
    }
}

fn bundle(version: &str, images: &Images, file: &Path) -> Listing {
    let input = write::Input {
        board: "qemu-virt".parse().unwrap(),
        version: version.parse().unwrap(),
        built: 1_790_000_000,
        schema: None,
        chunking: Chunking::default(),
        boot: images.source(PayloadKind::Boot),
        root: images.source(PayloadKind::Root),
    };
    let mut spool = tempfile::tempfile().unwrap();
    write::bundle(&input, &mut spool, &mut File::create(file).unwrap()).unwrap()
}

fn head_of(file: &Path, listing: &Listing) -> Head {
    let mut head = vec![0; usize::try_from(listing.head_length()).unwrap()];
    File::open(file).unwrap().read_exact_at(&mut head, 0).unwrap();
    Head::parse(&head, listing).unwrap()
}

/// Compressed chunks of 64 KiB on average that the old images lack.
fn casync(old: &Images, new: &Images) -> u64 {
    let [least, average, most] = CASYNC;
    let cut = |images: &Images, each: &mut dyn FnMut([u8; 32], &[u8])| {
        for bytes in &images.0 {
            for chunk in fastcdc::v2020::FastCDC::new(bytes, least, average, most) {
                let content = &bytes[chunk.offset..chunk.offset + chunk.length];
                each(*blake3::hash(content).as_bytes(), content);
            }
        }
    };
    let mut known = HashSet::new();
    cut(old, &mut |hash, _| {
        known.insert(hash);
    });
    let mut fetched = 0;
    cut(new, &mut |hash, content| {
        if known.insert(hash) {
            fetched += zstd::bulk::compress(content, 3).unwrap().len() as u64;
        }
    });
    fetched
}

/// Blocks of 4 KiB that the old images lack, as they are, and the index of hashes by which a device finds out.
fn rauc(old: &Images, new: &Images) -> u64 {
    let blocks = |images: &Images| -> Vec<[u8; 32]> {
        images
            .0
            .iter()
            .flat_map(|bytes| bytes.chunks(RAUC))
            .map(|block| *blake3::hash(block).as_bytes())
            .collect()
    };
    let mut known: HashSet<[u8; 32]> = blocks(old).into_iter().collect();
    known.insert(*blake3::hash(&[0; RAUC]).as_bytes());
    let all = blocks(new);
    let missing = all.iter().filter(|hash| known.insert(**hash)).count();
    (missing * RAUC + all.len() * 32) as u64
}

/// What another program makes of each payload, told the old one, the new one and where to; nothing where it takes too long.
fn made_by(program: &[&str], old: &Path, new: &Path, work: &Path) -> Option<u64> {
    let out = work.join("made");
    ["boot.img", "root.img"]
        .iter()
        .map(|name| {
            let mut command = Command::new("timeout");
            command.arg(PATIENCE.as_secs().to_string()).args(program);
            let status = command.arg(old.join(name)).arg(new.join(name)).arg(&out).status().unwrap();
            assert!(status.success() || status.code() == Some(124), "{program:?}: {status}");
            status.success().then(|| fs::metadata(&out).unwrap().len())
        })
        .sum()
}

/// A card of files, with the supervisor's own code on it.
struct Card {
    folder: PathBuf,
    listing: Listing,
    running: cairn_slots::record::Release,
}

impl Card {
    fn slot(&self, slot: SlotId) -> Partitions<FileDevice> {
        let open = |kind: PayloadKind| {
            let path = self.folder.join(format!("{kind}-{slot}"));
            FileDevice::new(File::options().read(true).write(true).open(path).unwrap()).unwrap()
        };
        Partitions { boot: open(PayloadKind::Boot), root: open(PayloadKind::Root) }
    }

    fn system(&self) -> System<BootControl<FileDevice>, Folder> {
        let control = File::options().read(true).write(true).open(self.folder.join("control")).unwrap();
        let boot = BootControl::new(FileDevice::new(control).unwrap(), Places { first: 0, second: 4096 });
        System::new(boot, Folder(self.folder.clone()), SlotId::A, self.running.version)
    }
}

impl Privileged for Card {
    fn open(&self) -> BoxFuture<'_, Result<SlotPair<FileDevice, FileDevice>, String>> {
        async {
            let target = self.system().open_for_writing().map_err(|error| error.to_string())?;
            Ok(SlotPair { active: self.slot(target.other()), target: self.slot(target) })
        }
        .boxed()
    }

    fn try_new(&self, evidence: PathBuf) -> BoxFuture<'_, Result<(), String>> {
        async move {
            let bytes = fs::read(evidence.join(MANIFEST)).unwrap();
            let manifest = cairn_bundle::Manifest::parse(&bytes, &self.listing.manifest).unwrap();
            let tried = self.system().try_new(&self.slot(SlotId::B), &manifest, self.listing.manifest, || {});
            tried.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), String>> {
        async { Ok(()) }.boxed()
    }

    fn try_again(&self, _version: Version) -> BoxFuture<'_, Result<(), String>> {
        async { Ok(()) }.boxed()
    }

    fn record(&self) -> Record {
        Record { running: Some(self.running), ..Record::default() }
    }
}

/// Peak resident memory of this process, KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

async fn install_alone(folder: PathBuf) {
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let listing: Listing = serde_json::from_slice(&read("listing.json")).unwrap();
    let running = serde_json::from_slice(&read("running.json")).unwrap();
    let card = Card { folder: folder.clone(), listing: listing.clone(), running };
    let offer = Offer { listing, target: BUNDLE.into(), notes: String::new(), turn: Turn::Come };
    let (progress, following) = watch::channel(Progress::default());
    let before = peak();
    let began = Instant::now();
    let stick = Stick(folder.clone());
    install(&offer, &stick, &card, folder.join("evidence"), &Pace::new(|| false), &progress).await.unwrap();
    let took = began.elapsed();
    let fetched = following.borrow().fetched;
    println!("{} {} {} {}", peak(), before, took.as_millis(), fetched);
}

fn measure(name: &str, old: &Path, new: &Path) -> String {
    let (old_images, new_images) = (Images::read(old), Images::read(new));
    let work = tempfile::tempdir().unwrap();
    let path = |name: &str| work.path().join(name);
    let old_listing = bundle("1.0.0", &old_images, &path("old.bundle"));
    let mut listing = bundle("1.1.0", &new_images, &path(BUNDLE));
    let head = head_of(&path(BUNDLE), &listing);
    let mut local = LocalChunks::none();
    for kind in PayloadKind::ALL {
        let bytes = &old_images.0[kind as usize];
        local.scan(kind, bytes, bytes.len() as u64, head.manifest.chunking).unwrap();
    }
    let chunks = Plan::chunks(&head, &local, &InPlace::none()).fetch_bytes() + listing.head_length();
    let [boot, root] = old_images.both();
    let from = write::Old { version: "1.0.0".parse().unwrap(), manifest: old_listing.manifest, boot, root };
    let made = write::delta(
        &from,
        &head,
        listing.manifest,
        new_images.both(),
        DELTA.into(),
        &mut File::create(path(DELTA)).unwrap(),
    );
    let made = made.unwrap().listing;
    let delta = made.length + listing.head_length();
    if made.length < listing.length {
        listing.deltas.push(made);
    }
    let full = listing.length;
    let (casync, rauc) = (casync(&old_images, &new_images), rauc(&old_images, &new_images));
    let [bsdiff, xdelta] = [BSDIFF, XDELTA].map(|program| made_by(program, old, new, work.path()));
    let size = new_images.bytes();

    // The install by itself, in a process of its own.
    for (kind, bytes) in PayloadKind::ALL.into_iter().zip(&old_images.0) {
        fs::write(path(&format!("{kind}-a")), bytes).unwrap();
        let room = new_images.0[kind as usize].len().max(bytes.len()) as u64;
        File::create(path(&format!("{kind}-b"))).unwrap().set_len(room).unwrap();
    }
    fs::write(path("control"), vec![0; 8192]).unwrap();
    fs::write(path("listing.json"), serde_json::to_vec(&listing).unwrap()).unwrap();
    let running = cairn_slots::record::Release { version: from.version, manifest: old_listing.manifest };
    fs::write(path("running.json"), serde_json::to_vec(&running).unwrap()).unwrap();
    drop((old_images, new_images));
    let program = std::env::current_exe().unwrap();
    let output = Command::new(program).arg("--install").arg(work.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let figures: Vec<u64> = String::from_utf8(output.stdout)
        .unwrap()
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let share = |bytes: u64| format!("{:.1} %", bytes as f64 * 100.0 / full as f64);
    let others =
        |bytes: Option<u64>| bytes.map_or_else(|| format!("over {} min", PATIENCE.as_secs() / 60), share);
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    format!(
        "| {name} | {} | {} | {} | **{}** | {} | {} | {} | {} | {:.1} s | {} |\n",
        mib(size),
        mib(full),
        share(chunks),
        share(chunks.min(delta)),
        others(bsdiff),
        others(xdelta),
        share(casync),
        share(rauc),
        figures[2] as f64 / 1000.0,
        mib(figures[0] << 10),
    )
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, folder] = words.as_slice()
        && flag == "--install"
    {
        let installing = tokio::spawn(install_alone(folder.into()));
        return installing.await.unwrap();
    }
    let pairs = Arc::new(words);
    println!(
        "| pair | images, MiB | bundle, MiB | chunks | **fetched** | bsdiff | xdelta3 | casync, 64 KiB | RAUC, 4 KiB | install | peak, MiB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for pair in pairs.iter() {
        let parts: Vec<&str> = pair.split('=').collect();
        assert_eq!(parts.len(), 3, "{pair} is not NAME=OLD=NEW");
        print!("{}", measure(parts[0], Path::new(parts[1]), Path::new(parts[2])));
    }
}
