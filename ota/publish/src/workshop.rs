//! A maintainer's folder: what is published, what waits for signatures, and the step from one to the other.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    num::NonZeroU64,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use cairn_trust::{Listed, System};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tough::{
    TargetName,
    schema::{
        self, Hashes, Metafile, RoleKeys, RoleType, Root, Signature, Signed, Snapshot, Target, Targets,
        Timestamp, key::Key,
    },
};

use crate::{
    files,
    keys::{FileKey, Signer},
};

const SPEC: &str = "1.0.31";
const DAY: u64 = 24 * 60 * 60;

/// Who signs a role, how many must, and how long it is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolePlan {
    /// Names of the keys.
    pub keys: Vec<String>,
    /// How many of them must sign.
    pub threshold: u64,
    /// Days until the metadata expire.
    pub days: u64,
}

/// `workshop.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Says which keys count. Kept offline.
    pub root: RolePlan,
    /// Says what there is.
    pub targets: RolePlan,
    /// Says which targets belong together. Signed by a computer that is online.
    pub snapshot: RolePlan,
    /// Says that a snapshot is the newest. Signed by a computer that is online.
    pub timestamp: RolePlan,
}

impl Config {
    /// Roles with their plans.
    #[must_use]
    pub fn roles(&self) -> [(RoleType, &RolePlan); 4] {
        [
            (RoleType::Root, &self.root),
            (RoleType::Targets, &self.targets),
            (RoleType::Snapshot, &self.snapshot),
            (RoleType::Timestamp, &self.timestamp),
        ]
    }

    fn check(&self) -> Result<()> {
        for (role, plan) in self.roles() {
            let distinct: std::collections::BTreeSet<_> = plan.keys.iter().collect();
            if plan.threshold == 0 || (distinct.len() as u64) < plan.threshold || plan.days == 0 {
                bail!(
                    "{role}: {} of {} keys for {} days make no sense",
                    plan.threshold,
                    distinct.len(),
                    plan.days
                );
            }
        }
        Ok(())
    }
}

/// What became of signing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Outcome {
    /// More signatures are needed: how many there are, how many there must be.
    Waiting {
        /// Good signatures.
        have: u64,
        /// The threshold.
        need: u64,
    },
    /// The metadata are published with this version.
    Published {
        /// Of the role.
        version: u64,
    },
}

/// A maintainer's folder.
#[derive(Debug)]
pub struct Workshop {
    folder: PathBuf,
    config: Config,
    /// Now, in seconds since 1970.
    now: u64,
}

impl Workshop {
    /// Begins: `workshop.json`, root metadata signed by `signers`, and an empty repository.
    ///
    /// # Errors
    /// Where the folder has a workshop already or the plan makes no sense.
    pub fn create(
        folder: &Path,
        config: Config,
        signers: &BTreeMap<String, FileKey>,
        now: u64,
    ) -> Result<Self> {
        config.check()?;
        let workshop = Self { folder: folder.to_owned(), config, now };
        if workshop.path("workshop.json").exists() {
            bail!("{} is a workshop already", folder.display());
        }
        for part in ["draft", "images", "keys", "repository/metadata", "repository/targets"] {
            fs::create_dir_all(workshop.path(part))?;
        }
        for (name, key) in signers {
            workshop.keep_public(name, &key.key())?;
        }
        let mut root = Signed { signed: workshop.new_root(NonZeroU64::MIN)?, signatures: Vec::new() };
        let mut targets = Signed {
            signed: Targets::new(
                SPEC.to_owned(),
                NonZeroU64::MIN,
                workshop.expiry(&workshop.config.targets)?,
            ),
            signatures: Vec::new(),
        };
        targets.signed.delegations = None;
        for (name, key) in signers {
            if workshop.config.root.keys.contains(name) {
                add_signature(&mut root, key)?;
            }
            if workshop.config.targets.keys.contains(name) {
                add_signature(&mut targets, key)?;
            }
        }
        root.signed.verify_role(&root).context("the root metadata lack signatures")?;
        root.signed.verify_role(&targets).context("the targets metadata lack signatures")?;
        files::write(&workshop.metadata("1.root.json"), &json(&root)?)?;
        files::write(&workshop.metadata("1.targets.json"), &json(&targets)?)?;
        workshop.publish_snapshot(signers, &targets)?;
        files::write(&workshop.path("workshop.json"), &json(&workshop.config)?)?;
        Ok(workshop)
    }

    /// Opens one.
    ///
    /// # Errors
    /// Where the folder has none.
    pub fn open(folder: &Path, now: u64) -> Result<Self> {
        let config: Config = read(&folder.join("workshop.json"))?;
        config.check()?;
        Ok(Self { folder: folder.to_owned(), config, now })
    }

    /// The plan.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Now, in seconds since 1970.
    #[must_use]
    pub const fn now(&self) -> u64 {
        self.now
    }

    /// A path in the workshop.
    #[must_use]
    pub fn path(&self, part: &str) -> PathBuf {
        self.folder.join(part)
    }

    /// A metadata file of the repository.
    #[must_use]
    pub fn metadata(&self, name: &str) -> PathBuf {
        self.path("repository/metadata").join(name)
    }

    /// The newest root metadata.
    ///
    /// # Errors
    /// Where there is none.
    pub fn root(&self) -> Result<Signed<Root>> {
        let mut newest = None;
        for number in 1_u64.. {
            let path = self.metadata(&format!("{number}.root.json"));
            if !path.exists() {
                break;
            }
            newest = Some(path);
        }
        read(&newest.context("there is no root metadata")?)
    }

    /// The published targets metadata.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn targets(&self) -> Result<Signed<Targets>> {
        let timestamp: Signed<Timestamp> = read(&self.metadata("timestamp.json"))?;
        let version = |meta: &HashMap<String, Metafile>, name: &str| {
            meta.get(name).map(|file| file.version).with_context(|| format!("{name} is not listed"))
        };
        let snapshot = version(&timestamp.signed.meta, "snapshot.json")?;
        let snapshot: Signed<Snapshot> = read(&self.metadata(&format!("{snapshot}.snapshot.json")))?;
        let targets = version(&snapshot.signed.meta, "targets.json")?;
        read(&self.metadata(&format!("{targets}.targets.json")))
    }

    /// The targets metadata that wait for signatures; the published ones as the next version where none wait.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn draft(&self) -> Result<Signed<Targets>> {
        let path = self.path("draft/targets.json");
        if path.exists() {
            return read(&path);
        }
        let mut draft = self.targets()?;
        draft.signed.version = next(draft.signed.version);
        draft.signatures.clear();
        Ok(draft)
    }

    /// Changes the draft. Signatures that it had are gone.
    ///
    /// # Errors
    /// What `change` says.
    pub fn edit(&self, change: impl FnOnce(&mut Targets) -> Result<()>) -> Result<()> {
        let mut draft = self.draft()?;
        change(&mut draft.signed)?;
        draft.signed.expires = self.expiry(&self.config.targets)?;
        draft.signatures.clear();
        files::write(&self.path("draft/targets.json"), &json(&draft)?)
    }

    /// Puts a file into the repository and lists it in the draft. The file is there before anything names it.
    ///
    /// # Errors
    /// What the system reports.
    pub fn add_target(&self, name: &str, file: &Path, listed: &Listed) -> Result<()> {
        let target = self.place(name, file, listed)?;
        self.edit(|targets| {
            targets.add_target(target_name(name)?, target);
            Ok(())
        })
    }

    /// Puts a file into the repository.
    ///
    /// # Errors
    /// What the system reports.
    pub fn place(&self, name: &str, file: &Path, listed: &Listed) -> Result<Target> {
        let (length, sha256) = files::measure(file)?;
        let path = self.path("repository/targets").join(format!("{}.{name}", files::hex(&sha256)));
        if !path.exists() {
            let fresh = files::fresh(&path)?;
            fs::copy(file, &fresh).with_context(|| format!("cannot copy to {}", fresh.display()))?;
            files::put(&fresh, &path)?;
        }
        let custom = HashMap::from([listed.to_custom()?]);
        let hashes = Hashes { sha256: sha256.into(), _extra: HashMap::new() };
        Ok(Target { length, hashes, custom, _extra: HashMap::new() })
    }

    /// Changes what the draft says about a system version.
    ///
    /// # Errors
    /// Where there is no such version.
    pub fn edit_system(&self, target: &str, change: impl FnOnce(&mut System)) -> Result<()> {
        self.edit(|targets| edit_in(targets, target, change))
    }

    /// Signs the draft of the targets; publishes it when enough have signed. `online` are the keys of snapshot and timestamp.
    ///
    /// # Errors
    /// Where nothing waits, or the key does not count.
    pub fn sign_targets(&self, key: &dyn Signer, online: &BTreeMap<String, FileKey>) -> Result<Outcome> {
        let path = self.path("draft/targets.json");
        let mut draft: Signed<Targets> = read(&path).context("no targets wait for a signature")?;
        let root = self.root()?.signed;
        self.must_count(&root, RoleType::Targets, key)?;
        add_signature(&mut draft, key)?;
        files::write(&path, &json(&draft)?)?;
        if let Err(error) = root.verify_role(&draft) {
            return waiting(&root, RoleType::Targets, draft.signatures.len(), &error);
        }
        let version = draft.signed.version;
        files::write(&self.metadata(&format!("{version}.targets.json")), &json(&draft)?)?;
        self.publish_snapshot(online, &draft)?;
        fs::remove_file(&path)?;
        Ok(Outcome::Published { version: version.get() })
    }

    /// Changes what is published about system versions, signs and publishes that at once, and nothing else of what may wait in a draft: the
    /// draft gets the same change, and waits on. Where one key is not enough, the change goes into the draft with its first signature.
    ///
    /// # Errors
    /// Where there is no such version, or the key does not count.
    pub fn change_published(
        &self,
        systems: &[String],
        change: impl Fn(&mut System),
        key: &dyn Signer,
        online: &BTreeMap<String, FileKey>,
    ) -> Result<Outcome> {
        let all = |targets: &mut Targets| systems.iter().try_for_each(|name| edit_in(targets, name, &change));
        let root = self.root()?.signed;
        self.must_count(&root, RoleType::Targets, key)?;
        let path = self.path("draft/targets.json");
        let mut draft = self.draft()?;
        let before = draft.signed.clone();
        all(&mut draft.signed)?;
        if !path.exists() || self.config.targets.threshold > 1 {
            // A draft that says so already keeps the signatures that it has.
            if draft.signed != before || !path.exists() {
                self.edit(all)?;
            }
            return self.sign_targets(key, online);
        }
        let mut apart = self.targets()?;
        let version = next(apart.signed.version);
        apart.signed.version = version;
        apart.signed.expires = self.expiry(&self.config.targets)?;
        all(&mut apart.signed)?;
        apart.signatures.clear();
        add_signature(&mut apart, key)?;
        root.verify_role(&apart).context("one signature is not enough")?;
        // First the draft: one with a number that is taken could not be published any more.
        draft.signed.version = next(version);
        draft.signatures.clear();
        files::write(&path, &json(&draft)?)?;
        files::write(&self.metadata(&format!("{version}.targets.json")), &json(&apart)?)?;
        self.publish_snapshot(online, &apart)?;
        Ok(Outcome::Published { version: version.get() })
    }

    /// Makes a draft of the next root metadata, after a change of `workshop.json` (another key, another threshold).
    ///
    /// # Errors
    /// Where the plan makes no sense.
    pub fn draft_root(&mut self, config: Config) -> Result<()> {
        config.check()?;
        self.config = config;
        let root = self.new_root(next(self.root()?.signed.version))?;
        files::write(&self.path("draft/workshop.json"), &json(&self.config)?)?;
        files::write(&self.path("draft/root.json"), &json(&Signed { signed: root, signatures: Vec::new() })?)
    }

    /// Signs the draft of the root; publishes it when enough of the old and of the new keys have signed.
    ///
    /// # Errors
    /// Where nothing waits, or the key counts in neither.
    pub fn sign_root(&self, key: &dyn Signer) -> Result<Outcome> {
        let path = self.path("draft/root.json");
        let mut draft: Signed<Root> = read(&path).context("no root waits for a signature")?;
        let old = self.root()?.signed;
        if self.must_count(&old, RoleType::Root, key).is_err() {
            self.must_count(&draft.signed, RoleType::Root, key)?;
        }
        add_signature(&mut draft, key)?;
        files::write(&path, &json(&draft)?)?;
        for root in [&old, &draft.signed] {
            if let Err(error) = root.verify_role(&draft) {
                return waiting(root, RoleType::Root, draft.signatures.len(), &error);
            }
        }
        let version = draft.signed.version;
        files::write(&self.metadata(&format!("{version}.root.json")), &json(&draft)?)?;
        let config = self.path("draft/workshop.json");
        if config.exists() {
            files::put(&config, &self.path("workshop.json"))?;
        }
        fs::remove_file(&path)?;
        Ok(Outcome::Published { version: version.get() })
    }

    /// Signs snapshot and timestamp anew, so that they do not expire.
    ///
    /// # Errors
    /// Where an online key is missing.
    pub fn refresh(&self, online: &BTreeMap<String, FileKey>) -> Result<()> {
        self.publish_snapshot(online, &self.targets()?)
    }

    /// Publishes snapshot and timestamp for targets metadata that may lack signatures: what a thief of the online key can do.
    #[doc(hidden)]
    pub fn publish_as_if_signed(
        &self,
        online: &BTreeMap<String, FileKey>,
        targets: &Signed<Targets>,
    ) -> Result<()> {
        self.publish_snapshot(online, targets)
    }

    /// Keeps a public key, so that root metadata can be made without the private ones.
    ///
    /// # Errors
    /// What the system reports.
    pub fn keep_public(&self, name: &str, key: &Key) -> Result<()> {
        files::write(&self.path("keys").join(format!("{name}.pub.json")), &json(key)?)
    }

    /// New snapshot, then new timestamp: the last rename is the moment at which readers see the new version.
    fn publish_snapshot(&self, online: &BTreeMap<String, FileKey>, targets: &Signed<Targets>) -> Result<()> {
        let old: Option<Signed<Timestamp>> = read(&self.metadata("timestamp.json")).ok();
        let version = old.as_ref().map_or(NonZeroU64::MIN, |old| next(old.signed.version));
        // Never a number twice, even where a publication was cut off before its timestamp.
        let mut snapshot_version = old
            .and_then(|old| old.signed.meta.get("snapshot.json").map(|file| next(file.version)))
            .unwrap_or(NonZeroU64::MIN);
        while self.metadata(&format!("{snapshot_version}.snapshot.json")).exists() {
            snapshot_version = next(snapshot_version);
        }
        let mut snapshot =
            Snapshot::new(SPEC.to_owned(), snapshot_version, self.expiry(&self.config.snapshot)?);
        // The file as it is published: written anew, the same metadata come in another order.
        let path = self.metadata(&format!("{}.targets.json", targets.signed.version));
        let published = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        snapshot.meta.insert("targets.json".to_owned(), listed_file(targets.signed.version, &published));
        let snapshot = self.signed(snapshot, &self.config.snapshot, online)?;
        let bytes = json(&snapshot)?;
        files::write(&self.metadata(&format!("{snapshot_version}.snapshot.json")), &bytes)?;
        let mut timestamp = Timestamp::new(SPEC.to_owned(), version, self.expiry(&self.config.timestamp)?);
        timestamp.meta.insert("snapshot.json".to_owned(), listed_file(snapshot_version, &bytes));
        let timestamp = self.signed(timestamp, &self.config.timestamp, online)?;
        files::write(&self.metadata("timestamp.json"), &json(&timestamp)?)
    }

    fn signed<T: schema::Role>(
        &self,
        role: T,
        plan: &RolePlan,
        keys: &BTreeMap<String, FileKey>,
    ) -> Result<Signed<T>> {
        let mut signed = Signed { signed: role, signatures: Vec::new() };
        for name in &plan.keys {
            if let Some(key) = keys.get(name) {
                add_signature(&mut signed, key)?;
            }
        }
        if (signed.signatures.len() as u64) < plan.threshold {
            bail!("{} needs {} of the keys {}", T::TYPE, plan.threshold, plan.keys.join(", "));
        }
        Ok(signed)
    }

    fn new_root(&self, version: NonZeroU64) -> Result<Root> {
        let mut keys = HashMap::new();
        let mut roles = HashMap::new();
        for (role, plan) in self.config.roles() {
            let mut keyids = Vec::new();
            for name in &plan.keys {
                let key: Key = read(&self.path("keys").join(format!("{name}.pub.json")))?;
                let id = key.key_id()?;
                keyids.push(id.clone());
                keys.insert(id, key);
            }
            let threshold = NonZeroU64::new(plan.threshold).context("a threshold of 0")?;
            roles.insert(role, RoleKeys { keyids, threshold, _extra: HashMap::new() });
        }
        Ok(Root {
            spec_version: SPEC.to_owned(),
            consistent_snapshot: true,
            version,
            expires: self.expiry(&self.config.root)?,
            keys,
            roles,
            _extra: HashMap::new(),
        })
    }

    fn expiry(&self, plan: &RolePlan) -> Result<jiff::Timestamp> {
        let ends = self.now.saturating_add(plan.days.saturating_mul(DAY));
        Ok(jiff::Timestamp::from_second(i64::try_from(ends)?)?)
    }

    fn must_count(&self, root: &Root, role: RoleType, key: &dyn Signer) -> Result<()> {
        let key = key.key();
        if root.keys(role).any(|known| *known == key) {
            Ok(())
        } else {
            bail!("this key does not sign {role}")
        }
    }
}

fn edit_in(targets: &mut Targets, target: &str, change: impl FnOnce(&mut System)) -> Result<()> {
    let entry = targets.targets.get_mut(&target_name(target)?);
    let entry = entry.with_context(|| format!("there is no {target}"))?;
    let Some(Listed::System(mut system)) = listed(entry) else { bail!("{target} is no system") };
    change(&mut system);
    entry.custom = HashMap::from([Listed::System(system).to_custom()?]);
    Ok(())
}

/// What a target is.
#[must_use]
pub fn listed(target: &Target) -> Option<Listed> {
    target.custom.get("cairn").and_then(|value| serde_json::from_value(value.clone()).ok())
}

/// A target's name: one plain file name.
///
/// # Errors
/// Where it is not.
pub fn target_name(name: &str) -> Result<TargetName> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(plain) {
        bail!("{name:?} is no name for a target: letters, digits, '.', '-' and '_'");
    }
    Ok(TargetName::new(name)?)
}

fn waiting(root: &Root, role: RoleType, have: usize, error: &schema::Error) -> Result<Outcome> {
    let need = root.roles.get(&role).map_or(0, |keys| keys.threshold.get());
    match error {
        schema::Error::SignatureThreshold { valid, .. } => Ok(Outcome::Waiting { have: *valid, need }),
        _ => Err(anyhow!("{have} signatures do not fit: {error}")),
    }
}

/// Adds a signature, in place of an older one of the same key.
///
/// # Errors
/// Where the key refuses.
pub fn add_signature<T: schema::Role>(signed: &mut Signed<T>, key: &dyn Signer) -> Result<()> {
    let keyid = key.key().key_id()?;
    let sig = key.sign(&signed.signed.canonical_form()?)?.into();
    signed.signatures.retain(|signature| signature.keyid != keyid);
    signed.signatures.push(Signature { keyid, sig });
    Ok(())
}

/// How a metadata file is listed in another.
fn listed_file(version: NonZeroU64, bytes: &[u8]) -> Metafile {
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec().into();
    let hashes = Some(Hashes { sha256, _extra: HashMap::new() });
    Metafile { length: Some(bytes.len() as u64), hashes, version, _extra: HashMap::new() }
}

fn next(version: NonZeroU64) -> NonZeroU64 {
    version.saturating_add(1)
}

/// As it stands in a file.
///
/// # Errors
/// Where it cannot be written as JSON.
pub fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads a file of JSON.
///
/// # Errors
/// Where it cannot be read.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("cannot read {}", path.display()))
}
