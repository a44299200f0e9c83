//! A disk that is full or cannot be written: a real one, a small tmpfs in a mount namespace of the test's own. That needs
//! root (or user namespaces); where there is neither, the test says so and fails, because CI has it.

use std::{
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
};

use cairn_store::{Store, StoreError};
use cairn_sync::{BlobId, Kind};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::common::{account, fields, options, system};

const CHILD: &str = "CAIRN_STORE_DISK_TEST";

/// Runs a test of this program again as a process that has its own view of the mounted file systems.
fn in_own_namespace(test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1 passed"), "{text}");
}

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Must be called before any other thread of interest exists; the mounts go with the thread's namespace.
fn small_disk(at: &Path, size: &str) {
    unshare(CloneFlags::CLONE_NEWNS).expect("the test needs root to mount a small disk");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    mount(Some("small"), at, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str())).unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    if !is_child() {
        return in_own_namespace("disk::a_full_disk_refuses_and_loses_nothing");
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), "12m");
    runtime().block_on(async {
        let (store, _) = Store::open(dir.path(), options()).unwrap();
        store.claim("TESTCODE", account("ana"), "x", "en").await.unwrap();
        // A file that does not fit leaves nothing behind.
        let mut writer = store.blob_writer(1 << 30).unwrap();
        let piece = vec![7; 1 << 20];
        let error = (0..64).find_map(|_| writer.write(&piece).err()).unwrap();
        assert!(matches!(error, StoreError::DiskFull), "{error}");
        drop(writer);
        let temporary = dir.path().join("blobs/tmp");
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
        let mut writer = store.blob_writer(1 << 30).unwrap();
        writer.write(b"small").unwrap();
        assert_eq!(writer.finish().unwrap(), BlobId::of(b"small"));

        // Records until the disk is full: everything acknowledged is there, then and after.
        let body = "x".repeat(60_000);
        let mut acknowledged = Vec::new();
        let error = loop {
            let title = format!("{}", acknowledged.len());
            let fields =
                fields([("title", title.into()), ("level", "info".into()), ("body", body.clone().into())]);
            match store.create(&system(), Kind::Notice, None, fields, None).await {
                Ok(record) => acknowledged.push(record),
                Err(error) => break error,
            }
            assert!(acknowledged.len() < 1000);
        };
        assert!(matches!(error, StoreError::DiskFull), "{error}");
        assert!(error.to_string().contains("full"));
        assert!(!acknowledged.is_empty());
        assert!(matches!(store.snapshot().await, Err(StoreError::DiskFull)), "a snapshot that does not fit");
        let leftover = std::fs::read_dir(dir.path().join("snapshots")).map_or(0, Iterator::count);
        assert_eq!(leftover, 0);
        for record in &acknowledged {
            assert_eq!(&store.get(&system(), record.id).await.unwrap(), record);
        }
        store.close();
        drop(store);
        // Room again: it opens, has everything, and writes.
        let grown = Some("size=40m");
        mount(None::<&str>, dir.path(), None::<&str>, MsFlags::MS_REMOUNT, grown).unwrap();
        let (store, report) = Store::open(dir.path(), options()).unwrap();
        assert_eq!(report.findings, []);
        for record in &acknowledged {
            assert_eq!(&store.get(&system(), record.id).await.unwrap(), record);
        }
        let fields = fields([("title", "again".into()), ("level", "info".into())]);
        store.create(&system(), Kind::Notice, None, fields, None).await.unwrap();
    });
}

#[test]
fn a_read_only_disk_is_said_to_be_one_and_left_alone() {
    if !is_child() {
        return in_own_namespace("disk::a_read_only_disk_is_said_to_be_one_and_left_alone");
    }
    let dir = tempfile::tempdir().unwrap();
    small_disk(dir.path(), "30m");
    let path = dir.path().join("hub");
    runtime().block_on(async {
        let (store, _) = Store::open(&path, options()).unwrap();
        store.claim("TESTCODE", account("ana"), "x", "en").await.unwrap();
        store.close();
    });
    let before = blake3::hash(&std::fs::read(path.join("records.db")).unwrap());
    mount(None::<&str>, dir.path(), None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, None::<&str>)
        .unwrap();
    let error = Store::open(&path, options()).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly), "{error}");
    mount(None::<&str>, dir.path(), None::<&str>, MsFlags::MS_REMOUNT, None::<&str>).unwrap();
    assert_eq!(blake3::hash(&std::fs::read(path.join("records.db")).unwrap()), before);
    let (_store, report) = Store::open(&path, options()).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn a_disk_that_takes_nothing_more_while_the_hub_runs_still_serves_reads() {
    if !is_child() {
        return in_own_namespace(
            "disk::a_disk_that_takes_nothing_more_while_the_hub_runs_still_serves_reads",
        );
    }
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // No file may grow any more: what the kernel answers to a write is an error, as on a disk that gave up.
    // SIGXFSZ would end the process before it sees the error.
    let ignored = nix::sys::signal::SigSet::from(nix::sys::signal::Signal::SIGXFSZ);
    ignored.thread_block().unwrap();
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (store, _) = Store::open(dir.path(), options()).unwrap();
        store.claim("TESTCODE", account("ana"), "x", "en").await.unwrap();
        let everything = system();
        let made = |title: &str| {
            let fields = fields([("title", title.into()), ("level", "info".into())]);
            store.create(&everything, Kind::Notice, None, fields, None)
        };
        let kept = made("kept").await.unwrap();
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, 1, hard).unwrap();
        let refused = made("refused").await;
        let mut writer = store.blob_writer(100).unwrap();
        let file = writer.write(b"more than one byte");
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
        assert!(refused.is_err());
        assert!(matches!(file, Err(StoreError::DiskFull)), "{file:?}");
        assert_eq!(store.get(&system(), kept.id).await.unwrap(), kept);
        assert_eq!(
            store.counts(&system()).await.unwrap()[&Kind::Notice],
            1,
            "nothing of the refused write stayed"
        );
        made("again").await.unwrap();
    });
}
