//! Root metadata: two of three holders replace a key, and hubs follow, however far behind they are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use cairn_publish::{keys::Signer, workshop::Outcome};
use common::{START, World, key};

fn replace(world: &mut World, old: &str, new: &str) {
    let fresh = key(world.folder.path(), new);
    let mut workshop = world.workshop();
    workshop.keep_public(new, &fresh.key()).unwrap();
    let mut config = workshop.config().clone();
    for name in config.root.keys.iter_mut().filter(|name| *name == old) {
        *name = new.to_owned();
    }
    workshop.draft_root(config).unwrap();
    world.keys.insert(new.to_owned(), fresh);
}

#[tokio::test]
async fn two_of_three_replace_a_key_and_hubs_follow() {
    let mut world = World::new();
    world.release("a");
    let (mut near, mut far) = (world.hub(), world.hub());
    near.look(&world.repository(), START).await.unwrap();
    replace(&mut world, "root-3", "root-4");
    let workshop = world.workshop();
    assert!(workshop.sign_root(&world.keys["release-1"]).is_err(), "another role's key does not count");
    let first = workshop.sign_root(&world.keys["root-1"]).unwrap();
    assert!(matches!(first, Outcome::Waiting { have: 1, need: 2 }), "{first:?}");
    // The new key alone does not make two of the *old* three.
    let second = workshop.sign_root(&world.keys["root-4"]).unwrap();
    assert!(matches!(second, Outcome::Waiting { have: 1, need: 2 }), "{second:?}");
    let third = workshop.sign_root(&world.keys["root-2"]).unwrap();
    assert_eq!(third, Outcome::Published { version: 2 });
    assert_eq!(near.look(&world.repository(), START).await.unwrap().versions().0, 2);
    // The next change is signed by the new key.
    replace(&mut world, "root-1", "root-5");
    let workshop = world.workshop();
    workshop.sign_root(&world.keys["root-4"]).unwrap();
    assert_eq!(workshop.sign_root(&world.keys["root-2"]).unwrap(), Outcome::Published { version: 3 });
    assert_eq!(near.look(&world.repository(), START).await.unwrap().versions().0, 3);
    assert_eq!(far.look(&world.repository(), START).await.unwrap().versions().0, 3);
    assert!(far.stored().root().contains("\"version\":3"));
}

#[tokio::test]
async fn signing_snapshot_and_timestamp_anew_leaves_the_targets_as_they_are() {
    let world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.release(name);
    }
    let mut hub = world.hub();
    for _ in 0..5 {
        world.workshop().refresh(&world.keys).unwrap();
        assert_eq!(hub.look(&world.repository(), START).await.unwrap().entries().count(), 4);
    }
}

#[test]
fn a_key_file_opens_with_its_passphrase_only() {
    let folder = tempfile::tempdir().unwrap();
    let made = key(folder.path(), "k");
    let path = folder.path().join("k.age");
    let opened = cairn_publish::keys::FileKey::open(&path, "correct horse").unwrap();
    assert_eq!(made.key(), opened.key());
    assert!(cairn_publish::keys::FileKey::open(&path, "wrong horse").is_err());
    assert!(
        cairn_publish::keys::FileKey::create(&path, "correct horse", Some(1)).is_err(),
        "never overwritten"
    );
}
