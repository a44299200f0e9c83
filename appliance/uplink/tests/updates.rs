//! Updates against a real server on the loopback that cuts connections: what is fetched twice, what a restart loses, what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs::File,
    io::Cursor,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use cairn_bundle::{Chunking, Head, Listing, Manifest, PayloadKind, ReadAt, Version, write};
use cairn_slots::{
    BootControl, FileDevice, Partitions, SlotId, SlotPair, System, boot_control::Places, durable::Folder,
    record::Record,
};
use cairn_sync::http::UpdateResult;
use cairn_uplink::updates::{
    Found, Offer, Origin, Privileged, Repository, Turn,
    fetch::{Https, Stick, Transport},
    files::{self, FileError, Wanted},
    install::{MANIFEST, Pace, Progress, UpdateError, install},
    outcomes::Outcomes,
    policy::Wishes,
    service::{Order, Parts, Status, Updates},
};
use futures::{FutureExt, future::BoxFuture};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};

const PATIENCE: Duration = Duration::from_secs(180);
const SIZES: [usize; 2] = [256 << 10, 3 << 20];

/// A static server that breaks every connection after so many bytes of an answer.
struct Server {
    folder: PathBuf,
    cut_after: AtomicU64,
    served: AtomicU64,
    requests: AtomicU64,
}

impl Server {
    async fn start(folder: &Path, cut_after: u64) -> (Arc<Self>, Https) {
        let server = Arc::new(Self {
            folder: folder.to_owned(),
            cut_after: cut_after.into(),
            served: 0.into(),
            requests: 0.into(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&serving), connection));
            }
        });
        // The provider is the process's; whoever comes second finds it there.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        (server, Https::new(reqwest::Client::new(), &base))
    }
}

/// One answer for each connection; what was written arrives, then the connection ends, however much was promised.
async fn serve(server: Arc<Server>, mut connection: TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if connection.read(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        request.push(byte[0]);
    }
    let request = String::from_utf8(request).unwrap();
    let name = request.split(' ').nth(1).unwrap().trim_start_matches('/');
    let content = std::fs::read(server.folder.join(name)).unwrap();
    let range = request.lines().find_map(|line| line.strip_prefix("range: bytes=")).unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
    let part = &content[start..=end.min(content.len() - 1)];
    let cut = usize::try_from(server.cut_after.load(SeqCst)).unwrap_or(usize::MAX);
    let sent = &part[..part.len().min(cut)];
    let head = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {start}-{end}/{}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        content.len(),
        part.len()
    );
    server.requests.fetch_add(1, SeqCst);
    server.served.fetch_add(sent.len() as u64, SeqCst);
    // Whoever has heard enough may be gone.
    if connection.write_all(head.as_bytes()).await.is_ok() && connection.write_all(sent).await.is_ok() {
        drop(connection.shutdown().await);
    }
}

/// A card as files, with the supervisor's own code on it.
struct Card {
    folder: PathBuf,
    listing: Listing,
    restarts: AtomicU64,
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
        let places = Places { first: 0, second: 4096 };
        let boot = BootControl::new(FileDevice::new(control).unwrap(), places);
        System::new(boot, Folder(self.folder.clone()), SlotId::A, "1.0.0".parse().unwrap())
    }

    fn holds(&self, slot: SlotId, payloads: &[Vec<u8>; 2]) -> bool {
        PayloadKind::ALL.into_iter().all(|kind| {
            let mut content = vec![0; payloads[kind as usize].len()];
            self.slot(slot).of(kind).read_exact_at(0, &mut content).unwrap();
            content == payloads[kind as usize]
        })
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
            let bytes = std::fs::read(evidence.join(MANIFEST)).unwrap();
            let manifest =
                Manifest::parse(&bytes, &self.listing.manifest).map_err(|error| error.to_string())?;
            let tried = self.system().try_new(&self.slot(SlotId::B), &manifest, self.listing.manifest, || {});
            tried.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn restart(&self) -> BoxFuture<'_, Result<(), String>> {
        self.restarts.fetch_add(1, SeqCst);
        async { Ok(()) }.boxed()
    }

    fn try_again(&self, version: Version) -> BoxFuture<'_, Result<(), String>> {
        async move { self.system().try_again(version).map_err(|error| error.to_string()) }.boxed()
    }

    fn record(&self) -> Record {
        self.system().record().unwrap()
    }
}

struct World {
    folder: tempfile::TempDir,
    card: Arc<Card>,
    offer: Offer,
    new: [Vec<u8>; 2],
    /// Bytes that the device must fetch: what its slot lacks, and the head.
    needed: u64,
}

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

/// A hub with a system in slot A, and a repository whose system differs in about a third.
fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let old = [noise(1, SIZES[0]), noise(2, SIZES[1])];
    let mut new = old.clone();
    new[1].splice(500_000..1_500_000, noise(3, 1_000_100));
    new[1].truncate(SIZES[1]);
    new[0].splice(0..40_000, noise(4, 40_000));
    let source = |bytes: &'static [u8]| write::Source {
        bytes: Box::leak(Box::new(bytes.to_vec())),
        length: bytes.len() as u64,
        verity: None,
    };
    let leak = |bytes: &Vec<u8>| -> &'static [u8] { Box::leak(bytes.clone().into_boxed_slice()) };
    let input = write::Input {
        board: "qemu-virt".parse().unwrap(),
        version: "1.1.0".parse().unwrap(),
        built: 1_700_000_000,
        schema: None,
        chunking: Chunking::default(),
        boot: source(leak(&new[0])),
        root: source(leak(&new[1])),
    };
    let mut file = Vec::new();
    let listing = write::bundle(&input, &mut Cursor::new(Vec::new()), &mut file).unwrap();
    std::fs::write(folder.path().join("system.bundle"), &file).unwrap();
    for (kind, size) in PayloadKind::ALL.into_iter().zip(SIZES) {
        std::fs::write(folder.path().join(format!("{kind}-a")), &old[kind as usize]).unwrap();
        std::fs::write(folder.path().join(format!("{kind}-b")), vec![0; size]).unwrap();
    }
    std::fs::write(folder.path().join("control"), vec![0; 8192]).unwrap();
    let head = Head::parse(&file[..usize::try_from(listing.head_length()).unwrap()], &listing).unwrap();
    let mut local = cairn_bundle::LocalChunks::none();
    for kind in PayloadKind::ALL {
        let content = &old[kind as usize];
        local.scan(kind, content, content.len() as u64, head.manifest.chunking).unwrap();
    }
    let plan = cairn_bundle::Plan::chunks(&head, &local, &cairn_bundle::InPlace::none());
    let needed = plan.fetch_bytes() + listing.head_length();
    assert!(needed < listing.length / 2, "the test is about a small difference");
    let card =
        Arc::new(Card { folder: folder.path().to_owned(), listing: listing.clone(), restarts: 0.into() });
    let offer = Offer { listing, target: "system.bundle".into(), notes: "Better.".into(), turn: Turn::Come };
    World { folder, card, offer, new, needed }
}

fn calm() -> Pace {
    Pace::new(|| false)
}

async fn install_into(world: &World, transport: &dyn Transport) -> Result<(), UpdateError> {
    let (progress, _) = watch::channel(Progress::default());
    let evidence = world.folder.path().join("evidence");
    install(&world.offer, transport, world.card.as_ref(), evidence, &calm(), &progress).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_again_and_again_costs_next_to_nothing() {
    let world = world();
    let (server, https) = Server::start(world.folder.path(), 100_000).await;
    install_into(&world, &https).await.unwrap();
    assert!(world.card.holds(SlotId::B, &world.new));
    let (served, requests) = (server.served.load(SeqCst), server.requests.load(SeqCst));
    println!("needed {} bytes, served {served} in {requests} requests", world.needed);
    assert!(requests > 8, "{requests}");
    assert!(served <= world.needed + world.needed / 20, "{served} of {}", world.needed);
    assert_eq!(world.card.record().attempt.unwrap().release.version, "1.1.0".parse().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_in_the_middle_fetch_nothing_again_that_is_there() {
    let world = world();
    let (server, https) = Server::start(world.folder.path(), u64::MAX).await;
    let mut restarts = 0;
    // The process is stopped after every 200 kB.
    for _ in 0..50 {
        let stop_at = server.served.load(SeqCst) + 200_000;
        server.cut_after.store(50_000, SeqCst);
        let stopped = async {
            while server.served.load(SeqCst) < stop_at {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            done = install_into(&world, &https) => { done.unwrap(); break; }
            () = stopped => restarts += 1,
        }
    }
    let served = server.served.load(SeqCst);
    println!("needed {} bytes, served {served} with {restarts} restarts", world.needed);
    assert!(world.card.holds(SlotId::B, &world.new));
    assert!(restarts >= 3, "{restarts}");
    // Each restart asks for the head again, and loses what was on its way (an answer of 50 kB here) and the chunk that was
    // not whole yet: only whole chunks are verified, and only what is verified is written.
    let unfinished = 50_000 + u64::from(cairn_bundle::limits::MAX_CHUNK);
    let lost = restarts * (world.offer.listing.head_length() + unfinished);
    assert!(served <= world.needed + lost + world.needed / 20, "{served} of {} and {lost}", world.needed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stick_takes_the_same_way() {
    let world = world();
    install_into(&world, &Stick(world.folder.path().to_owned())).await.unwrap();
    assert!(world.card.holds(SlotId::B, &world.new));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wrong_bit_is_refused_and_nothing_is_tried() {
    let world = world();
    let path = world.folder.path().join("system.bundle");
    let mut file = std::fs::read(&path).unwrap();
    let middle = file.len() / 2;
    file[middle] ^= 1;
    std::fs::write(&path, file).unwrap();
    let (_, https) = Server::start(world.folder.path(), u64::MAX).await;
    let refused = install_into(&world, &https).await.unwrap_err();
    assert!(matches!(refused, UpdateError::Install(_) | UpdateError::Bundle(_)), "{refused}");
    assert_eq!(world.card.record(), Record::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_resumed_verified_and_put_in_place_whole() {
    let folder = tempfile::tempdir().unwrap();
    let content = noise(9, 2_000_000);
    std::fs::write(folder.path().join("model.gguf"), &content).unwrap();
    let (server, https) = Server::start(folder.path(), 300_000).await;
    let place = folder.path().join("models");
    std::fs::create_dir(&place).unwrap();
    let place = place.join("small.gguf");
    // What an earlier run left behind.
    std::fs::write(place.with_file_name("small.gguf.part"), &content[..700_000]).unwrap();
    let mut wanted =
        Wanted { target: "model.gguf".into(), length: 2_000_000, sha256: Sha256::digest(&content).into() };
    files::fetch(&wanted, &https, &place).await.unwrap();
    assert_eq!(std::fs::read(&place).unwrap(), content);
    assert_eq!(server.served.load(SeqCst), 1_300_000);
    assert!(!place.with_file_name("small.gguf.part").exists());
    wanted.sha256[0] ^= 1;
    let refused = files::fetch(&wanted, &https, &place).await.unwrap_err();
    assert!(matches!(refused, FileError::Differs(_)), "{refused}");
    assert_eq!(std::fs::read(&place).unwrap(), content, "the old one stays");
}

struct Published(Offer, PathBuf);

impl Repository for Published {
    fn check(&self, running: Version, _origin: Origin) -> BoxFuture<'_, Result<Found, String>> {
        let newer = self.0.listing.version > running;
        let transport: Arc<dyn Transport> = Arc::new(Stick(self.1.clone()));
        let offer = newer.then(|| self.0.clone());
        async move {
            Ok(Found {
                offer,
                newest: None,
                withdrawn: Vec::new(),
                packs: Vec::new(),
                transport,
                unproven: false,
            })
        }
        .boxed()
    }
}

async fn until(updates: &Updates, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    let mut following = updates.follow();
    let waited = tokio::time::timeout(PATIENCE, following.wait_for(|status| holds(status))).await;
    waited.unwrap_or_else(|_| panic!("{what}: {:?}", updates.status())).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_installs_waits_for_the_keeper_restarts_and_does_not_try_what_failed() {
    let world = world();
    let start = |card: Arc<Card>| {
        let parts = Parts {
            repository: Arc::new(Published(world.offer.clone(), world.folder.path().to_owned())),
            privileged: card,
            running: "1.0.0".parse().unwrap(),
            folder: world.folder.path().join("updates"),
            pace: calm(),
            packs: None,
            outcomes: Arc::new(Outcomes::open(&world.folder.path().join("updates"))),
            // Without the time it never restarts by itself.
            time_known: Arc::new(|| false),
        };
        Updates::start(parts)
    };
    let updates = start(Arc::clone(&world.card));
    let version: Version = "1.1.0".parse().unwrap();
    until(&updates, "it is ready", |status| status.ready == Some(version)).await;
    assert_eq!(world.card.restarts.load(SeqCst), 0);
    assert!(updates.order(Order::Now));
    tokio::time::timeout(PATIENCE, async {
        while world.card.restarts.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();

    // The restart: the new system is tried, fails, and the old one starts again.
    drop(updates);
    let boot = BootControl::new(
        FileDevice::new(
            File::options().read(true).write(true).open(world.folder.path().join("control")).unwrap(),
        )
        .unwrap(),
        Places { first: 0, second: 4096 },
    );
    assert!(boot.boot().unwrap().trial);
    assert_eq!(boot.boot().unwrap().slot, SlotId::A);
    world.card.system().start().unwrap();
    assert_eq!(world.card.record().bad.len(), 1);

    let updates = start(Arc::clone(&world.card));
    let status = until(&updates, "it has looked", |status| status.looked.is_some()).await;
    let waiting = Outcomes::open(&world.folder.path().join("updates")).waiting();
    assert_eq!(waiting.len(), 1, "the gateway is to hear of it: {waiting:?}");
    assert_eq!((waiting[0].version.as_str(), waiting[0].result), ("1.1.0", UpdateResult::RolledBack));
    assert!(status.ready.is_none() && status.installing.is_none());
    assert!(matches!(status.last, Some(cairn_slots::record::Ended::Failed(_))));
    assert!(updates.order(Order::Wish(Wishes { metered: true, ..Wishes::default() })));
    let status = until(&updates, "the wish is kept", |status| status.wishes.metered).await;
    assert!(status.ready.is_none(), "what failed is not tried again by itself");
    assert!(updates.order(Order::TryAgain(version)));
    assert!(updates.order(Order::Now));
    until(&updates, "it is ready again", |status| status.ready == Some(version)).await;
}
