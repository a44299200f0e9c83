//! The table of attacks of the TUF specification (section 1.5.2), each refused for the right reason and without a trace in the
//! trust store.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::{path::Path, sync::Arc, time::Duration};

use cairn_publish::workshop::{add_signature, json, read};
use cairn_trust::{Channel, Clock, Error, Freshness, Limits, Memory, Role, Store, Trust, storage::Folder};
use common::{DAY, Gives, Hub, Mirror, START, World};
use tough::schema::{Root, Signed, Targets, Timestamp};

/// What the metadata in a memory say; their order in it does not matter.
fn meaning(memory: &Memory) -> Vec<Option<serde_json::Value>> {
    let files = ["root.json", "timestamp.json", "snapshot.json", "targets.json"].into_iter();
    files
        .map(|name| memory.file(name).map(|text| serde_json::from_str(&text.to_lowercase()).unwrap()))
        .collect()
}

/// The hub refuses what `rule` gives, and remembers what it did before.
async fn refused(hub: &mut Hub, source: Arc<Mirror>, now: u64) -> Error {
    let before = hub.stored();
    let error = hub.trust.refresh(source, Clock::Trusted(now), Channel::Online).await;
    let error = error.expect_err("it must be refused");
    assert_eq!(hub.stored(), before, "{error}");
    assert_eq!(hub.trust.memory(), &before, "{error}");
    error
}

fn honest(folder: &Path) -> Arc<Mirror> {
    Mirror::new(folder, |_| None)
}

#[tokio::test]
async fn a_wrong_mirror_is_refused() {
    let (world, other) = (World::new(), World::new());
    world.release("a");
    other.release("evil");
    let mut hub = world.hub();
    hub.look(&world.repository(), START).await.unwrap();
    let error = refused(&mut hub, honest(&other.repository()), START).await;
    assert!(matches!(error, Error::Signatures(Role::Timestamp)), "{error}");
}

#[tokio::test]
async fn arbitrary_software_is_refused() {
    let world = World::new();
    let target = world.release("a");
    let mut hub = world.hub();
    hub.look(&world.repository(), START).await.unwrap();
    world.release("b");
    // Another file in the list, by somebody who can change files but not sign.
    let targets = std::fs::read_to_string(world.repository().join("metadata/3.targets.json")).unwrap();
    let evil = targets.replace("b.pack", "e.pack").into_bytes();
    let mirror = Mirror::new(&world.repository(), move |path| {
        path.ends_with("3.targets.json").then(|| Gives::Bytes(evil.clone()))
    });
    let before = hub.stored();
    let error = hub.trust.refresh(mirror, Clock::Trusted(START), Channel::Online).await.unwrap_err();
    assert!(matches!(error, Error::Mixed(_)), "{error}");
    assert_eq!(hub.stored().file("targets.json"), before.file("targets.json"));
    // And a file that is not the one that was signed.
    let catalogue = hub.look(&world.repository(), START).await.unwrap();
    let mut check = catalogue.entry(&target).unwrap().check();
    check.update(b"content of A").unwrap();
    assert!(matches!(check.finish(), Err(Error::Mixed(_))));
    let mut check = catalogue.entry(&target).unwrap().check();
    assert!(matches!(check.update(b"content of a and more"), Err(Error::TooLarge { .. })));
}

#[tokio::test]
async fn a_rollback_is_refused() {
    let world = World::new();
    world.release("a");
    let old = world.copy("old");
    world.release("b");
    let mut hub = world.hub();
    hub.look(&world.repository(), START).await.unwrap();
    let error = refused(&mut hub, honest(&old), START).await;
    assert!(matches!(error, Error::Rollback(_)), "{error}");
}

#[tokio::test]
async fn a_freeze_is_noticed() {
    let world = World::new();
    world.release("a");
    let mut hub = world.hub();
    hub.look(&world.repository(), START).await.unwrap();
    let error = refused(&mut hub, honest(&world.repository()), START + 15 * DAY).await;
    assert!(matches!(error, Error::Expired { role: Role::Timestamp, .. }), "{error}");
}

#[tokio::test]
async fn a_fast_forward_is_recovered_from_by_new_keys() {
    let mut world = World::new();
    world.release("a");
    let mut hub = world.hub();
    // The online key was stolen, and the thief makes all later versions look old.
    let stolen = world.copy("stolen");
    let path = stolen.join("metadata/timestamp.json");
    let mut timestamp: Signed<Timestamp> = read(&path).unwrap();
    timestamp.signed.version = 1_000_000.try_into().unwrap();
    add_signature(&mut timestamp, &world.keys["online-1"]).unwrap();
    std::fs::write(&path, json(&timestamp).unwrap()).unwrap();
    hub.look(&stolen, START).await.unwrap();
    let error = refused(&mut hub, honest(&world.repository()), START).await;
    assert!(matches!(error, Error::Rollback(_)), "{error}");
    // A new root with another online key, signed by two of three.
    let fresh = common::key(world.folder.path(), "online-2");
    let mut workshop = world.workshop();
    workshop.keep_public("online-2", &cairn_publish::keys::Signer::key(&fresh)).unwrap();
    world.keys.insert("online-2".to_owned(), fresh);
    let mut config = workshop.config().clone();
    config.snapshot.keys = vec!["online-2".to_owned()];
    config.timestamp.keys = vec!["online-2".to_owned()];
    workshop.draft_root(config).unwrap();
    workshop.sign_root(&world.keys["root-1"]).unwrap();
    workshop.sign_root(&world.keys["root-2"]).unwrap();
    world.workshop().refresh(&world.keys).unwrap();
    let catalogue = hub.look(&world.repository(), START).await.unwrap();
    assert_eq!(catalogue.versions().0, 2);
    let error = refused(&mut hub, honest(&stolen), START).await;
    assert!(matches!(error, Error::Signatures(Role::Timestamp)), "the thief is out: {error}");
}

#[tokio::test]
async fn endless_data_are_cut_off() {
    let world = World::new();
    world.release("a");
    for file in ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"] {
        let mut hub = world.hub();
        let mirror =
            Mirror::new(&world.repository(), move |path| path.ends_with(file).then_some(Gives::Endless));
        let error = hub.trust.refresh(mirror, Clock::Trusted(START), Channel::Online).await.unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{file}: {error}");
        assert_eq!(hub.stored().file(file), None, "{file}");
    }
}

#[tokio::test]
async fn a_slow_mirror_is_given_up() {
    let world = World::new();
    for file in ["2.root.json", "timestamp.json", "snapshot.json", "targets.json"] {
        let hub = world.hub();
        let store = Store::open(Folder::open(hub.folder.path().join("trust")).unwrap()).unwrap();
        let limits = Limits { patience: Duration::from_millis(300), ..Limits::default() };
        let mut trust = Trust::new(store, hub.folder.path().to_owned(), limits);
        let mirror =
            Mirror::new(&world.repository(), move |path| path.ends_with(file).then_some(Gives::Stuck));
        let looked = trust.refresh(mirror, Clock::Trusted(START), Channel::Online);
        let error = tokio::time::timeout(Duration::from_secs(120), looked).await.expect("it gives up");
        assert!(matches!(error, Err(Error::TooSlow { .. })), "{file}: {error:?}");
    }
}

#[tokio::test]
async fn files_of_two_moments_do_not_mix() {
    let world = World::new();
    world.release("a");
    let old = world.copy("old");
    world.release("b");
    let mut hub = world.hub();
    for (new, instead) in [("3.snapshot.json", "2.snapshot.json"), ("3.targets.json", "2.targets.json")] {
        let bytes = std::fs::read(old.join("metadata").join(instead)).unwrap();
        let mirror = Mirror::new(&world.repository(), move |path| {
            path.ends_with(new).then(|| Gives::Bytes(bytes.clone()))
        });
        let error = hub.trust.refresh(mirror, Clock::Trusted(START), Channel::Online).await.unwrap_err();
        assert!(matches!(error, Error::Mixed(_)), "{new}: {error}");
    }
    assert_eq!(hub.stored().file("targets.json"), None);
}

#[tokio::test]
async fn nothing_extraneous_is_taken() {
    let world = World::new();
    world.release("a");
    std::fs::write(world.repository().join("targets/extra.pack"), b"more").unwrap();
    let catalogue = world.hub().look(&world.repository(), START).await.unwrap();
    assert!(catalogue.entry("extra.pack").is_none());
    assert_eq!(catalogue.entries().count(), 1);
}

#[tokio::test]
async fn keys_stolen_below_the_threshold_are_of_no_use() {
    let world = World::new();
    world.release("a");
    let mut hub = world.hub();
    hub.look(&world.repository(), START).await.unwrap();
    // A new root by one root key of three.
    let mut root: Signed<Root> = read(&world.repository().join("metadata/1.root.json")).unwrap();
    root.signed.version = 2.try_into().unwrap();
    root.signatures.clear();
    add_signature(&mut root, &world.keys["root-2"]).unwrap();
    let bytes = json(&root).unwrap();
    let mirror = Mirror::new(&world.repository(), move |path| {
        path.ends_with("2.root.json").then(|| Gives::Bytes(bytes.clone()))
    });
    let error = refused(&mut hub, mirror, START).await;
    assert!(matches!(error, Error::Signatures(Role::Root)), "{error}");
    // A release by one release key of three, with the online key in the same hands.
    let evil = world.copy("evil");
    let mut targets: Signed<Targets> = read(&evil.join("metadata/2.targets.json")).unwrap();
    targets.signed.version = 3.try_into().unwrap();
    targets.signatures.clear();
    add_signature(&mut targets, &world.keys["release-2"]).unwrap();
    let thief = World { folder: tempfile::tempdir().unwrap(), keys: world.keys, now: START };
    let shop = thief.folder.path().join("workshop");
    for part in ["draft", "keys"] {
        std::fs::create_dir_all(shop.join(part)).unwrap();
    }
    std::fs::rename(&evil, shop.join("repository")).unwrap();
    let config = world.folder.path().join("workshop/workshop.json");
    std::fs::copy(config, shop.join("workshop.json")).unwrap();
    std::fs::write(shop.join("repository/metadata/3.targets.json"), json(&targets).unwrap()).unwrap();
    thief.workshop().publish_as_if_signed(&thief.keys, &targets).unwrap();
    let before = hub.stored();
    let error = hub.look(&thief.repository(), START).await.unwrap_err();
    assert!(matches!(error, Error::Signatures(Role::Targets)), "{error}");
    assert_eq!(hub.stored().file("targets.json"), before.file("targets.json"));
}

#[tokio::test]
async fn any_bit_of_any_file_counts() {
    let world = World::new();
    world.release("a");
    let mut hub = world.hub();
    hub.look(&world.repository(), START).await.unwrap();
    world.release("b");
    let whole = {
        let mut other = world.hub();
        other.look(&world.repository(), START).await.unwrap();
        meaning(&other.stored())
    };
    let mut flips = 0;
    for file in ["timestamp.json", "3.snapshot.json", "3.targets.json"] {
        let good = std::fs::read(world.repository().join("metadata").join(file)).unwrap();
        for at in (0..good.len()).step_by(5) {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at / 5 % 8);
            let mirror = Mirror::new(&world.repository(), move |path| {
                path.ends_with(file).then(|| Gives::Bytes(bytes.clone()))
            });
            let looked = hub.trust.refresh(mirror, Clock::Trusted(START), Channel::Online).await;
            flips += 1;
            match looked {
                // A capital in place of a small hexadecimal digit means the same.
                Ok(_) => assert_eq!(meaning(&hub.stored()), whole, "{file} at {at}"),
                Err(_) => assert_ne!(meaning(&hub.stored())[3], whole[3], "{file} at {at}"),
            }
            if meaning(&hub.stored()) == whole {
                hub = world.hub();
            }
        }
    }
    println!("{flips} flipped bits");
}

#[tokio::test]
async fn a_stick_may_be_old_but_not_older() {
    let mut world = World::new();
    world.release("a");
    let stick = world.copy("stick");
    let mut hub = world.hub();
    let later = START + 60 * DAY;
    let by_hand = |folder: &Path| Arc::new(cairn_trust::Directory(folder.to_owned()));
    let catalogue = hub.trust.refresh(by_hand(&stick), Clock::Trusted(later), Channel::ByHand).await.unwrap();
    let expired = vec![Role::Timestamp, Role::Snapshot];
    assert_eq!(catalogue.freshness(), &Freshness::Unproven { expired });
    world.now = later;
    world.release("b");
    let catalogue = hub.look(&world.repository(), later).await.unwrap();
    assert_eq!(catalogue.freshness(), &Freshness::Proven);
    let error = hub.trust.refresh(by_hand(&stick), Clock::Trusted(later), Channel::ByHand).await.unwrap_err();
    assert!(matches!(error, Error::Rollback(_)), "{error}");
}

#[tokio::test]
async fn without_the_time_newer_is_taken_and_older_refused() {
    let world = World::new();
    world.release("a");
    let old = world.copy("old");
    world.release("b");
    let mut hub = world.hub();
    let clock = Clock::NotBefore(START + 900 * DAY);
    let look = |folder: &Path| Arc::new(cairn_trust::Directory(folder.to_owned()));
    let catalogue = hub.trust.refresh(look(&world.repository()), clock, Channel::Online).await.unwrap();
    assert!(matches!(catalogue.freshness(), Freshness::Unproven { expired } if expired.len() == 4));
    let error = hub.trust.refresh(look(&old), clock, Channel::Online).await.unwrap_err();
    assert!(matches!(error, Error::Rollback(_)), "{error}");
}

#[tokio::test]
async fn the_clock_does_not_run_backwards() {
    let world = World::new();
    world.release("a");
    let mut hub = world.hub();
    hub.trust.saw_time(START + 100 * DAY).unwrap();
    assert_eq!(hub.stored().floor(), START + 100 * DAY);
    // Somebody sets the clock back to when the metadata were still good.
    let error = refused(&mut hub, honest(&world.repository()), START).await;
    assert!(matches!(error, Error::Expired { role: Role::Timestamp, .. }), "{error}");
}
