//! The repository by The Update Framework: files come over HTTPS, from a folder or from another hub; `cairn-trust` decides whether they are
//! believed. What was believed is laid out for the supervisor, which believes nobody else's word and looks again.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use cairn_bundle::{Board, Version};
use cairn_slots::durable;
use cairn_trust::{
    Body, Catalogue, Channel, Clock, Directory, Entry, Fetch, FetchError, Freshness, Limits, Pack, PackKind,
    Store, System, Trust, local_folder,
    rollout::{Decision, Seed},
    storage::Folder,
};
use futures::{FutureExt, StreamExt, future::BoxFuture};

use super::{
    Found, Offer, Origin, Repository, Turn,
    fetch::{Https, Stick, Transport},
    files::Wanted,
    packs::{MAX_PACKS, Offered, PackName, plain as plain_pack},
};

/// Folder of the metadata, in a repository and in the evidence.
pub const METADATA: &str = "metadata";
/// How long a server may take to begin an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Most root metadata that are looked for to complete the chain.
const MAX_ROOTS: u64 = 128;
/// The file with the random bytes of this hub's place in rollouts.
const SEED: &str = "seed";

/// What a repository is looked at with.
pub struct Believed {
    /// The board that this is.
    pub board: Board,
    /// Where the repository is on the network, if anywhere.
    pub url: Option<String>,
    /// The root metadata that the image brings along.
    pub root: String,
    /// When the image was built, in seconds since 1970.
    pub built: u64,
    /// A folder of our own.
    pub folder: PathBuf,
    /// The supervisor's evidence.
    pub evidence: PathBuf,
    /// The client, which takes no redirects.
    pub client: reqwest::Client,
    /// Set while the network's repository was reached at the last look.
    pub reached: Arc<AtomicBool>,
    /// What is known of the time.
    pub clock: Arc<dyn Fn() -> Clock + Send + Sync>,
}

/// The repository. Whatever it says was signed by keys that this hub trusts.
pub struct Tuf {
    believed: Believed,
    /// Opened at the first look, so that a lost store is told where people see it.
    trust: tokio::sync::Mutex<Option<Trust<Folder>>>,
    seed: Seed,
}

impl Tuf {
    /// Makes this hub's place in rollouts, once.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn new(believed: Believed) -> io::Result<Self> {
        fs::create_dir_all(&believed.folder)?;
        let seed = seed(&believed.folder)?;
        Ok(Self { believed, trust: tokio::sync::Mutex::new(None), seed })
    }

    async fn look(&self, running: Version, origin: Origin) -> Result<Found, String> {
        let believed = &self.believed;
        let (inner, transport, channel): (Arc<dyn Fetch>, Arc<dyn Transport>, Channel) = match &origin {
            Origin::Network => {
                let url = believed.url.as_deref().ok_or("this image names no repository")?;
                let fetch =
                    Http { client: believed.client.clone(), base: url.trim_end_matches('/').to_owned() };
                (Arc::new(fetch), Arc::new(Https::new(believed.client.clone(), url)), Channel::Online)
            }
            Origin::Hub(url) => {
                let fetch =
                    Http { client: believed.client.clone(), base: url.trim_end_matches('/').to_owned() };
                (Arc::new(fetch), Arc::new(Https::new(believed.client.clone(), url)), Channel::ByHand)
            }
            Origin::Folder(folder) => {
                (Arc::new(Directory(folder.clone())), Arc::new(Stick(folder.clone())), Channel::ByHand)
            }
        };
        let source = Arc::new(Noted { inner, taken: Arc::default() });
        let clock = (believed.clock)();
        let mut trust = self.trust.lock().await;
        let opened = match trust.as_mut() {
            Some(opened) => opened,
            None => trust.insert(self.open().map_err(|error| error.to_string())?),
        };
        let looked = opened.refresh(Arc::clone(&source) as _, clock, channel).await;
        if origin == Origin::Network {
            // A server that is refused was reached.
            let away = matches!(
                looked,
                Err(cairn_trust::Error::Unreachable(_) | cairn_trust::Error::TooSlow { .. })
            );
            believed.reached.store(!away, Ordering::Relaxed);
        }
        let catalogue = looked.map_err(|error| error.to_string())?;
        let kept = self.keep_evidence(&source, catalogue.versions().0).await;
        kept.map_err(|error| format!("the signed metadata could not be kept: {error}"))?;
        let nothing = Version { major: 0, minor: 0, patch: 0 };
        let newest = catalogue.newest_system(&believed.board, nothing).and_then(|(entry, _)| wanted(entry));
        let offer = catalogue.newest_system(&believed.board, running);
        let offer = offer.map(|(entry, system)| self.offer(&catalogue, entry, system, clock));
        let unproven = !matches!(catalogue.freshness(), Freshness::Proven);
        let withdrawn = catalogue.withdrawn(&believed.board);
        let packs = packs(&catalogue);
        Ok(Found { offer, newest, withdrawn, packs, transport, unproven })
    }

    fn open(&self) -> Result<Trust<Folder>, cairn_trust::Error> {
        let folder = &self.believed.folder;
        let store = Store::open_or_begin(&folder.join("trust"), &self.believed.root, self.believed.built)?;
        let scratch = local_folder(folder)
            .map_err(|source| cairn_trust::Error::Storage { what: "prepare a copy of", source })?;
        Ok(Trust::new(store, scratch, Limits::default()))
    }

    fn offer(&self, catalogue: &Catalogue, entry: &Entry, system: &System, clock: Clock) -> Offer {
        let mut listing = system.listing.clone();
        listing.deltas.retain_mut(|delta| {
            let place = catalogue.entry(&delta.target).filter(|entry| entry.length == delta.length);
            place.map(|entry| delta.target = entry.path()).is_some()
        });
        let version = listing.version.to_string();
        let turn = match system.rollout.decide(self.seed, &version, clock.at_least()) {
            Decision::Install => Turn::Come,
            Decision::Wait(time) => Turn::At(time),
            Decision::Paused | Decision::Halted => Turn::Held,
        };
        Offer { listing, target: entry.path(), notes: system.notes.clone(), turn }
    }

    /// Lays out what was believed as a repository of its own. The timestamp goes last: what it speaks of is there by then.
    async fn keep_evidence(&self, source: &Noted, root: u64) -> io::Result<()> {
        let folder = self.believed.evidence.join(METADATA);
        fs::create_dir_all(&folder)?;
        // The supervisor may know an older root than we do, and follows them one by one.
        for number in 1..=root.min(MAX_ROOTS) {
            let name = format!("{number}.root.json");
            if !folder.join(&name).is_file() {
                source.note(&format!("{METADATA}/{name}"), Limits::default().root).await;
            }
        }
        let taken = source.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let metadata: Vec<(&str, &Vec<u8>)> = taken
            .iter()
            .filter_map(|(path, bytes)| Some((path.strip_prefix("metadata/")?, bytes)))
            .filter(|(name, _)| plain(name))
            .collect();
        let known = |name: &str| metadata.iter().any(|(taken, _)| *taken == name);
        for entry in fs::read_dir(&folder)?.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !name.ends_with(".root.json") && name != "timestamp.json" && !known(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        let folder = durable::Folder(folder);
        let last = |name: &str| name == "timestamp.json";
        for (name, bytes) in metadata.iter().filter(|(name, _)| !last(name)) {
            durable::replace(&folder, name, bytes)?;
        }
        for (name, bytes) in metadata.iter().filter(|(name, _)| last(name)) {
            durable::replace(&folder, name, bytes)?;
        }
        Ok(())
    }
}

impl Repository for Tuf {
    fn check(&self, running: Version, origin: Origin) -> BoxFuture<'_, Result<Found, String>> {
        self.look(running, origin).boxed()
    }

    fn has_network(&self) -> bool {
        self.believed.url.is_some()
    }
}

fn packs(catalogue: &Catalogue) -> Vec<Offered> {
    let offered = |(entry, kind, pack): (&Entry, PackKind, &Pack)| {
        let ending = entry.name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase())?;
        Some(Offered {
            pack: PackName { kind, name: pack.name.clone() },
            revision: pack.revision,
            title: pack.title.clone(),
            memory: pack.memory,
            wanted: wanted(entry)?,
            ending,
        })
    };
    let all = catalogue.packs().into_iter().filter_map(offered);
    all.filter(|offered| plain_pack(&offered.pack.name, &offered.ending)).take(MAX_PACKS).collect()
}

fn wanted(entry: &Entry) -> Option<Wanted> {
    let mut sha256 = [0; 32];
    for (byte, pair) in sha256.iter_mut().zip(entry.sha256.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Wanted { target: entry.path(), length: entry.length, sha256 })
}

/// Whether this can be a metadata file's name.
fn plain(name: &str) -> bool {
    name.ends_with(".json")
        && !name.starts_with('.')
        && name.len() <= 128
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// This hub's place, made once.
fn seed(folder: &Path) -> io::Result<Seed> {
    let folder = durable::Folder(folder.to_owned());
    if let Some(bytes) = durable::Files::read(&folder, SEED)?
        && let Ok(bytes) = <[u8; 16]>::try_from(bytes)
    {
        return Ok(Seed::from_random(bytes));
    }
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    durable::replace(&folder, SEED, &bytes)?;
    Ok(Seed::from_random(bytes))
}

/// Metadata over HTTP.
struct Http {
    client: reqwest::Client,
    base: String,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Http").field(&self.base).finish()
    }
}

#[async_trait]
impl Fetch for Http {
    async fn open(&self, path: &str) -> Result<Body, FetchError> {
        let failed = |error: reqwest::Error| FetchError::Failed(deepest(&error.without_url()));
        let request = self.client.get(format!("{}/{path}", self.base)).send();
        let answer = tokio::time::timeout(ANSWER_WITHIN, request)
            .await
            .map_err(|_| FetchError::Failed("the server does not answer".to_owned()))?
            .map_err(failed)?;
        match answer.status() {
            reqwest::StatusCode::OK => {}
            // Stores of objects say 403 of what is not there.
            reqwest::StatusCode::NOT_FOUND | reqwest::StatusCode::FORBIDDEN => {
                return Err(FetchError::NotFound);
            }
            other => return Err(FetchError::Failed(format!("the server answered {other}"))),
        }
        Ok(Box::pin(answer.bytes_stream().map(move |piece| piece.map_err(failed))))
    }
}

/// What went wrong stands at the end of the chain.
pub(super) fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    for _ in 0..16 {
        let Some(source) = deepest.source() else { break };
        deepest = source;
    }
    deepest.to_string()
}

/// Files by their path below the repository.
type Taken = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Takes note of all that is read through it. Whoever reads keeps the limits, and stops.
struct Noted {
    inner: Arc<dyn Fetch>,
    taken: Taken,
}

impl Noted {
    /// Reads a file for its note alone. One that is not there, or is too large, is not noted.
    async fn note(&self, path: &str, limit: u64) {
        let Ok(mut body) = self.open(path).await else { return };
        let mut length = 0_u64;
        let read = async {
            while let Some(piece) = body.next().await {
                length = length.saturating_add(piece.map_err(|_| ())?.len() as u64);
                if length > limit {
                    return Err(());
                }
            }
            Ok(())
        };
        let whole = matches!(tokio::time::timeout(ANSWER_WITHIN, read).await, Ok(Ok(())));
        if !whole {
            self.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
        }
    }
}

impl fmt::Debug for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Noted").field(&self.inner).finish()
    }
}

#[async_trait]
impl Fetch for Noted {
    async fn open(&self, path: &str) -> Result<Body, FetchError> {
        let body = self.inner.open(path).await?;
        let (taken, path) = (Arc::clone(&self.taken), path.to_owned());
        taken.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone(), Vec::new());
        Ok(Box::pin(body.inspect(move |piece| {
            if let Ok(piece) = piece
                && let Some(bytes) = taken.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&path)
            {
                bytes.extend_from_slice(piece);
            }
        })))
    }
}
