//! A maintainer's workshop with two of three keys for everything that matters, and a hub that looks at it.

#![allow(dead_code, unreachable_pub, reason = "each test file uses what it needs")]

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_publish::{
    keys::FileKey,
    workshop::{Config, Outcome, RolePlan, Workshop},
};
use cairn_trust::{
    Body, Catalogue, Channel, Clock, Directory, Error, Fetch, FetchError, Limits, Listed, Memory, Pack,
    Store, Trust, storage::Folder,
};
use futures::{StreamExt, stream};
use tempfile::TempDir;

/// When it all begins, in seconds since 1970.
pub const START: u64 = 1_800_000_000;
pub const DAY: u64 = 86_400;

pub struct World {
    pub folder: TempDir,
    pub keys: BTreeMap<String, FileKey>,
    pub now: u64,
}

pub fn key(folder: &Path, name: &str) -> FileKey {
    FileKey::create(&folder.join(format!("{name}.age")), "correct horse", Some(1)).unwrap()
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plan = |prefix: &str, count: u32, threshold, days| RolePlan {
            keys: (1..=count).map(|number| format!("{prefix}-{number}")).collect(),
            threshold,
            days,
        };
        let config = Config {
            root: plan("root", 3, 2, 730),
            targets: plan("release", 3, 2, 365),
            snapshot: plan("online", 1, 1, 14),
            timestamp: plan("online", 1, 1, 14),
        };
        let mut keys = BTreeMap::new();
        for (_, plan) in config.roles() {
            for name in &plan.keys {
                keys.entry(name.clone()).or_insert_with(|| key(folder.path(), name));
            }
        }
        let shop = folder.path().join("workshop");
        std::fs::create_dir(&shop).unwrap();
        Workshop::create(&shop, config, &keys, START).unwrap();
        Self { folder, keys, now: START }
    }

    pub fn workshop(&self) -> Workshop {
        Workshop::open(&self.folder.path().join("workshop"), self.now).unwrap()
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.path().join("workshop/repository")
    }

    /// Publishes a small content pack, signed by two keys; gives the target's name.
    pub fn release(&self, name: &str) -> String {
        let file = self.folder.path().join("pack");
        std::fs::write(&file, format!("content of {name}")).unwrap();
        let target = format!("{name}.pack");
        let pack = Pack { name: name.to_owned(), revision: 1, memory: 0, title: String::new() };
        let workshop = self.workshop();
        workshop.add_target(&target, &file, &Listed::Content(pack)).unwrap();
        assert!(matches!(
            workshop.sign_targets(&self.keys["release-1"], &self.keys).unwrap(),
            Outcome::Waiting { have: 1, need: 2 }
        ));
        let outcome = workshop.sign_targets(&self.keys["release-3"], &self.keys).unwrap();
        assert!(matches!(outcome, Outcome::Published { .. }));
        target
    }

    /// A copy of the repository as it is now.
    pub fn copy(&self, name: &str) -> PathBuf {
        let to = self.folder.path().join(name);
        for part in ["metadata", "targets"] {
            std::fs::create_dir_all(to.join(part)).unwrap();
            for entry in std::fs::read_dir(self.repository().join(part)).unwrap() {
                let entry = entry.unwrap();
                std::fs::copy(entry.path(), to.join(part).join(entry.file_name())).unwrap();
            }
        }
        to
    }

    /// A hub whose image brought the first root metadata along.
    pub fn hub(&self) -> Hub {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::read_to_string(self.repository().join("metadata/1.root.json")).unwrap();
        let storage = Folder::open(folder.path().join("trust")).unwrap();
        let store = Store::create(storage, Memory::initial(root, START - DAY)).unwrap();
        let limits = Limits { patience: Duration::from_secs(60), ..Limits::default() };
        Hub { trust: Trust::new(store, folder.path().to_owned(), limits), folder }
    }
}

pub struct Hub {
    pub trust: Trust<Folder>,
    pub folder: TempDir,
}

impl Hub {
    pub async fn look(&mut self, repository: &Path, now: u64) -> Result<Catalogue, Error> {
        let source = Arc::new(Directory(repository.to_owned()));
        self.trust.refresh(source, Clock::Trusted(now), Channel::Online).await
    }

    /// What it would remember after a power cut.
    pub fn stored(&self) -> Memory {
        Store::open(Folder::open(self.folder.path().join("trust")).unwrap()).unwrap().memory().clone()
    }
}

/// What a mirror gives in place of a file.
pub enum Gives {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Bytes without end.
    Endless,
    /// A few bytes, then nothing more.
    Stuck,
}

type Rule = dyn Fn(&str) -> Option<Gives> + Send + Sync;

/// A mirror that cheats.
pub struct Mirror {
    pub honest: Directory,
    pub rule: Box<Rule>,
}

impl Mirror {
    pub fn new(folder: &Path, rule: impl Fn(&str) -> Option<Gives> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { honest: Directory(folder.to_owned()), rule: Box::new(rule) })
    }
}

impl fmt::Debug for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mirror that cheats")
    }
}

#[async_trait]
impl Fetch for Mirror {
    async fn open(&self, path: &str) -> Result<Body, FetchError> {
        match (self.rule)(path) {
            None => self.honest.open(path).await,
            Some(Gives::Bytes(bytes)) => Ok(Box::pin(stream::iter([Ok(Bytes::from(bytes))]))),
            Some(Gives::Endless) => Ok(Box::pin(stream::repeat_with(|| Ok(Bytes::from(vec![b' '; 4096]))))),
            Some(Gives::Stuck) => {
                Ok(Box::pin(stream::iter([Ok(Bytes::from_static(b"{"))]).chain(stream::pending())))
            }
        }
    }
}
