//! One look at a repository: from what is remembered to what is believed.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tough::{
    ExpirationEnforcement, Repository, RepositoryLoader,
    schema::{self, Signed},
};
use url::Url;

use crate::{
    Catalogue, Channel, Clock, Error, Fetch, Freshness, Limits, Memory, Role, Store, fetch::Limited,
    memory::MAX_MEMORY, storage::Storage,
};

/// The floor of the clock is written down when it has moved by this many seconds: a day, so that a hub that looks every
/// few hours does not wear its card for it.
const FLOOR_STEP: u64 = 24 * 60 * 60;
/// The roles in the order in which they are fetched.
const ROLES: [(Role, &str); 4] = [
    (Role::Root, "root.json"),
    (Role::Timestamp, "timestamp.json"),
    (Role::Snapshot, "snapshot.json"),
    (Role::Targets, "targets.json"),
];

/// Believes a repository, or not.
pub struct Trust<S> {
    store: Store<S>,
    scratch: PathBuf,
    limits: Limits,
}

impl<S: Storage> Trust<S> {
    /// `scratch` is a folder for `tough` to work in, on a file system in memory at best: nothing there needs to survive.
    #[must_use]
    pub const fn new(store: Store<S>, scratch: PathBuf, limits: Limits) -> Self {
        Self { store, scratch, limits }
    }

    /// What is remembered.
    #[must_use]
    pub const fn memory(&self) -> &Memory {
        self.store.memory()
    }

    /// Takes note of a trusted time.
    ///
    /// # Errors
    /// [`Error::Storage`].
    pub fn saw_time(&mut self, time: u64) -> Result<(), Error> {
        if time >= self.memory().floor().saturating_add(FLOOR_STEP) {
            let mut memory = self.memory().clone();
            memory.raise_floor(time);
            self.store.save(memory)?;
        }
        Ok(())
    }

    /// Looks at a repository. What comes out has been written down before this returns.
    ///
    /// # Errors
    /// Why the repository is refused. What was signed and newer up to the refused file is remembered, as the specification
    /// of TUF wants (5.3.8, 5.4.5, 5.5.7); nothing that was refused is.
    pub async fn refresh(
        &mut self,
        source: Arc<dyn Fetch>,
        clock: Clock,
        channel: Channel,
    ) -> Result<Catalogue, Error> {
        let clock = clock.floored(self.memory().floor());
        let scratch = |source| Error::Storage { what: "prepare a copy of", source };
        let folder = tempfile::tempdir_in(&self.scratch).map_err(scratch)?;
        self.lay_out(folder.path()).map_err(scratch)?;
        let transport = Limited::new(source, self.limits);
        let loaded = self.load(folder.path(), &transport).await;
        let seen = read_back(folder.path()).map_err(scratch)?;
        let mut memory = self.memory().clone();
        let verdict = learn(&mut memory, &seen, &transport, loaded.is_ok(), channel, clock);
        if let Clock::Trusted(time) = clock
            && verdict.is_ok()
            && time >= memory.floor().saturating_add(FLOOR_STEP)
        {
            memory.raise_floor(time);
        }
        if memory != *self.memory() {
            self.store.save(memory)?;
        }
        let freshness = verdict?;
        let failed = transport.noticed().failed.take();
        let repository = loaded.map_err(|error| Error::classify(&error, failed))?;
        Ok(Catalogue::new(&repository, freshness))
    }

    fn lay_out(&self, folder: &Path) -> io::Result<()> {
        let files = self.memory().files.iter().filter(|(name, _)| *name != "root.json");
        for (name, text) in files {
            // The names are those that `tough` made, which it escapes; nothing else may come between.
            if name.contains(['/', '\\']) || name.starts_with('.') {
                continue;
            }
            fs::write(folder.join(name), text)?;
        }
        Ok(())
    }

    async fn load(&self, folder: &Path, transport: &Limited) -> Result<Repository, tough::error::Error> {
        let root = self.memory().root().as_bytes();
        let limits = tough::Limits {
            max_root_size: self.limits.root,
            max_targets_size: self.limits.targets,
            max_timestamp_size: self.limits.timestamp,
            max_snapshot_size: self.limits.snapshot,
            max_root_updates: self.limits.roots,
        };
        RepositoryLoader::new(&root, base("metadata/"), base("targets/"))
            .transport(transport.clone())
            .limits(limits)
            .datastore(folder)
            // `tough` would ask the system's clock. Expiry is checked in `learn`, by the clock that is given.
            .expiration_enforcement(ExpirationEnforcement::Unsafe)
            .load()
            .await
    }
}

/// Where the files of a repository are for `tough`; [`Limited`] keeps the path only.
fn base(folder: &str) -> Url {
    // A constant that parses.
    #[expect(clippy::unwrap_used, reason = "both texts are constants, and a test loads from them")]
    Url::parse("cairn://repository/").and_then(|url| url.join(folder)).unwrap()
}

/// A scratch folder beside the trust store, for hubs without a file system in memory.
///
/// # Errors
/// What the system reports.
pub fn local_folder(store: &Path) -> io::Result<PathBuf> {
    let folder = store.join("scratch");
    // Leftovers of a run that a power cut ended.
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What `tough` left in its folder.
fn read_back(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut seen = BTreeMap::new();
    let mut total = 0_u64;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        total = total.saturating_add(entry.metadata()?.len());
        if total > MAX_MEMORY {
            return Err(io::Error::other("there is too much to remember"));
        }
        if name.ends_with(".json") && name != "latest_known_time.json" {
            seen.insert(name, fs::read_to_string(entry.path())?);
        }
    }
    Ok(seen)
}

/// Takes over what was verified, up to the first role that has expired.
fn learn(
    memory: &mut Memory,
    seen: &BTreeMap<String, String>,
    transport: &Limited,
    whole: bool,
    channel: Channel,
    clock: Clock,
) -> Result<Freshness, Error> {
    let asked = transport.noticed().asked.clone();
    let was_asked = |name: &str| asked.iter().any(|file| file == name || file.ends_with(&format!(".{name}")));
    let mut expired = Vec::new();
    for (number, (role, name)) in ROLES.into_iter().enumerate() {
        // A role is done when the next one was asked for.
        let done = whole || ROLES.get(number + 1).is_some_and(|(_, next)| was_asked(next));
        // Each root metadata on the way was checked against the one before, so that even half of the way is good.
        if !done && role != Role::Root {
            break;
        }
        let Some(text) = seen.get(name) else { continue };
        let now = clock.at_least();
        let ends = expires(role, text).ok_or_else(|| Error::Malformed(format!("{name} has no expiry")))?;
        let is_expired = done && now > ends;
        if is_expired && channel.enforces_expiry(clock) {
            // Root metadata stay in force until newer ones come, expired or not; anything else is not taken over.
            if role == Role::Root {
                keep(memory, name, text);
            }
            return Err(Error::Expired { role, expired: ends, now });
        }
        if is_expired {
            expired.push(role);
        }
        keep(memory, name, text);
        if role == Role::Root && done {
            // Where keys were replaced, `tough` forgets what the old ones signed (recovery from fast-forward).
            for gone in ["timestamp.json", "snapshot.json"] {
                if !seen.contains_key(gone) {
                    memory.files.remove(gone);
                }
            }
        }
    }
    if whole {
        // Delegated roles.
        seen.iter().for_each(|(name, text)| keep(memory, name, text));
    }
    Ok(if channel.enforces_expiry(clock) { Freshness::Proven } else { Freshness::Unproven { expired } })
}

/// Remembers a file, unless it says what is remembered already: `tough` writes the same metadata in another order each time,
/// and a hub that looks every few hours must not wear its card for that.
fn keep(memory: &mut Memory, name: &str, text: &str) {
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let known = memory.file(name).and_then(value);
    if known.is_none() || known != value(text) {
        memory.files.insert(name.to_owned(), text.to_owned());
    }
}

/// When a role's metadata expire, in seconds since 1970.
fn expires(role: Role, text: &str) -> Option<u64> {
    fn of<T: schema::Role + serde::de::DeserializeOwned>(text: &str) -> Option<u64> {
        let signed = serde_json::from_str::<Signed<T>>(text).ok()?;
        Some(u64::try_from(signed.signed.expires().as_second()).unwrap_or(0))
    }
    match role {
        Role::Root => of::<schema::Root>(text),
        Role::Timestamp => of::<schema::Timestamp>(text),
        Role::Snapshot => of::<schema::Snapshot>(text),
        Role::Targets => of::<schema::Targets>(text),
    }
}
