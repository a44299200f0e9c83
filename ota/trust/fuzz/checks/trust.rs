//! What strangers can put before a hub that believes one root: files of a repository that nobody signed, files of its own memory that
//! a card has damaged, descriptions of targets. Nothing is believed, what was believed stays, and everything ends.

use std::{collections::BTreeMap, io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_trust::{
    Body, Channel, Clock, Fetch, FetchError, Limits, Listed, Memory, Store, Trust,
    rollout::{Decision, Seed},
    storage::Storage,
};
use futures::stream;

use super::parts;

/// Root metadata with real keys, which nobody has any more.
const ROOT: &str = include_str!("root.json");
/// When the root metadata were made, in seconds since 1970.
const THEN: u64 = 1_795_000_000;

/// The first byte says what the rest is.
pub fn check(input: &[u8]) {
    match input.split_first() {
        Some((kind, rest)) if kind % 3 == 0 => listed(rest),
        Some((kind, rest)) if kind % 3 == 1 => memory(rest),
        Some((_, rest)) => repository(rest),
        None => {}
    }
}

/// What a target is, as its `custom` object says.
fn listed(bytes: &[u8]) {
    let Ok(listed) = serde_json::from_slice::<Listed>(bytes) else { return };
    let (_, value) = listed.to_custom().expect("it can be written");
    assert_eq!(serde_json::from_value::<Listed>(value).expect("what was written can be read"), listed);
    if let Listed::System(system) = listed
        && system.listing.check().is_ok()
    {
        let seed = Seed::from_random([7; 16]);
        let decision = system.rollout.decide(seed, "1.0.0", THEN);
        if system.rollout.halted {
            assert_eq!(decision, Decision::Halted);
        }
        // Whatever its figures: no sum of them overflows, and a turn is not before the start.
        assert!(system.rollout.turn(seed, "1.0.0") >= system.rollout.start);
        let _ = system.rollout.resumed(THEN).decide(seed, "1.0.0", THEN);
    }
}

#[derive(Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Storage for Files {
    fn read(&self, name: &str, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.0.get(name);
        Ok(bytes.map(|bytes| bytes[..bytes.len().min(limit as usize)].to_vec()))
    }
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.0.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }
    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let bytes = self.0.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.0.insert(to.to_owned(), bytes);
        Ok(())
    }
    fn sync_folder(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Two copies of the memory, each with bytes written over its end or in place of it.
fn memory(bytes: &[u8]) {
    let whole = Store::create(Files::default(), Memory::initial(ROOT.to_owned(), THEN)).expect("it begins");
    let remembered = whole.memory().clone();
    let mut files = whole.into_storage();
    let (first, second) = parts(bytes);
    let mut damaged = 0;
    for (name, over) in [("trust.a", first), ("trust.b", second)] {
        let Some((keep, over)) = over.split_first_chunk::<2>() else { continue };
        let copy = files.0.get_mut(name).expect("there are two copies");
        let before = copy.clone();
        copy.truncate(usize::from(u16::from_le_bytes(*keep)));
        copy.extend_from_slice(over);
        damaged += usize::from(*copy != before);
    }
    match Store::open(files) {
        Ok(store) => assert_eq!(*store.memory(), remembered, "nothing else carries the checksum"),
        Err(_) => assert_eq!(damaged, 2, "one whole copy is enough"),
    }
}

#[derive(Debug)]
struct Mirror(BTreeMap<&'static str, Vec<u8>>);

#[async_trait]
impl Fetch for Mirror {
    async fn open(&self, path: &str) -> Result<Body, FetchError> {
        let bytes = self.0.get(path).cloned().ok_or(FetchError::NotFound)?;
        Ok(Box::pin(stream::iter([Ok(Bytes::from(bytes))])))
    }
}

/// The files of a repository, none of which anybody signed.
fn repository(bytes: &[u8]) {
    let (root, rest) = parts(bytes);
    let (timestamp, rest) = parts(rest);
    let (snapshot, targets) = parts(rest);
    let files = [
        ("metadata/2.root.json", root),
        ("metadata/timestamp.json", timestamp),
        ("metadata/1.snapshot.json", snapshot),
        ("metadata/1.targets.json", targets),
    ];
    let files = files.into_iter().filter(|(_, bytes)| !bytes.is_empty());
    let mirror = Mirror(files.map(|(path, bytes)| (path, bytes.to_vec())).collect());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::create(Files::default(), Memory::initial(ROOT.to_owned(), THEN)).expect("it begins");
    let mut trust = Trust::new(store, folder.path().to_owned(), Limits::default());
    let before = trust.memory().clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("an event loop");
    let looked = runtime.block_on(trust.refresh(Arc::new(mirror), Clock::Trusted(THEN), Channel::Online));
    assert!(looked.is_err(), "nobody signed this");
    assert_eq!(trust.memory().names().collect::<Vec<_>>(), before.names().collect::<Vec<_>>());
}
