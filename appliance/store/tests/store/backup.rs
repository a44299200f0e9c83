//! Backup and restore through real files.

use std::{
    fs,
    io::{Cursor, Write},
    ops::ControlFlow,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_store::{BackupError, ListQuery, Progress, Secret, Store, StoreError};
use cairn_sync::{Kind, Role};

use crate::common::{Hub, notice, options, system};

/// A writer that the test can read.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn passphrase() -> Secret {
    Secret::new("correct horse battery")
}

async fn backed_up(hub: &Hub) -> Vec<u8> {
    let to = Shared::default();
    hub.store.backup(&hub.keeper, Box::new(to.clone()), passphrase(), Progress::default()).await.unwrap();
    to.bytes()
}

fn refusal(bytes: &[u8], with: &Secret, dir: &Path) -> BackupError {
    let file = dir.join("given.age");
    fs::write(&file, bytes).unwrap();
    let target = dir.join("target");
    match cairn_store::restore(&file, with, &target, &Progress::default()) {
        Err(StoreError::Backup(error)) => {
            let mut left: Vec<_> =
                fs::read_dir(&target).unwrap().flatten().map(|entry| entry.file_name()).collect();
            left.retain(|name| name != "lock");
            assert!(left.is_empty(), "{error}: {left:?}");
            error
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_comes_back_under_a_new_identity() {
    let hub = Hub::new().await;
    let ana = hub.person("ana", Role::Volunteer).await;
    let document = hub.document(&ana, None, "Manual", "the content").await;
    hub.notice(&ana, "kept").await;
    let session = hub.store.open_session(ana.person().unwrap(), None).await.unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let (to, count) = (Shared::default(), told.clone());
    let progress = Progress::new(move |progress| {
        count.store(progress.total_bytes - progress.done_bytes, Ordering::SeqCst);
        ControlFlow::Continue(())
    });
    told.store(1, Ordering::SeqCst);
    let summary = hub.store.backup(&hub.keeper, Box::new(to.clone()), passphrase(), progress).await.unwrap();
    assert_eq!((summary.files, summary.hub_name.as_str()), (1, "Test hub"));
    assert_eq!(told.load(Ordering::SeqCst), 0, "it says when all is done");
    let bytes = to.bytes();
    assert!(bytes.starts_with(b"age-encryption.org/v1"));
    assert!(!bytes.windows(11).any(|window| window == b"the content"));
    assert!(matches!(
        hub.store.backup(&ana, Box::new(Shared::default()), passphrase(), Progress::default()).await,
        Err(StoreError::Forbidden { .. })
    ));

    let file = hub.dir.path().join("backup.age");
    fs::write(&file, &bytes).unwrap();
    let target = hub.dir.path().join("restored");
    let restored = cairn_store::restore(&file, &passphrase(), &target, &Progress::default()).unwrap();
    assert_eq!(restored, summary);
    let (store, report) = Store::open(&target, options()).unwrap();
    assert_eq!(report.findings, []);
    assert_ne!(store.hub_id(), hub.store.hub_id());
    assert_eq!(store.get(&system(), document.id).await.unwrap(), document);
    let (file, _) = store.open_file(&system(), document.id).await.unwrap();
    assert_eq!(std::io::read_to_string(file).unwrap(), "the content");
    assert_eq!(store.settings().await.unwrap().hub_name, "Test hub");
    assert!(store.find_login("ana").await.unwrap().is_some());
    assert!(store.viewer_for_session(&session).await.unwrap().is_none(), "sessions are not in a backup");
    assert_eq!(store.pending_documents(1, 10).await.unwrap().len(), 1, "the index is filled again");
}

#[tokio::test]
async fn what_was_there_is_kept_aside_and_the_page_can_stage_it() {
    let hub = Hub::new().await;
    hub.notice(&hub.keeper, "in the backup").await;
    let bytes = backed_up(&hub).await;
    let later = hub.notice(&hub.keeper, "later").await;
    let path = hub.dir.path().join("hub");
    let running = fs::canonicalize(&path).unwrap();
    let file = hub.dir.path().join("given.age");
    fs::write(&file, &bytes).unwrap();
    let error = cairn_store::restore(&file, &passphrase(), &running, &Progress::default()).unwrap_err();
    assert!(matches!(error, StoreError::InUse(_)));
    let ana = hub.person("ana", Role::Volunteer).await;
    let from = || Box::new(Cursor::new(bytes.clone()));
    assert!(hub.store.stage_restore(&ana, from(), passphrase(), Progress::default()).await.is_err());
    hub.store.stage_restore(&hub.keeper, from(), passphrase(), Progress::default()).await.unwrap();
    assert!(hub.store.get(&system(), later.id).await.is_ok(), "until the next start nothing changes");
    hub.store.close();
    drop(hub.store);
    let (store, report) = Store::open(&path, options()).unwrap();
    assert!(report.findings[0].text.contains("replaced/1"), "{report:?}");
    let titles = store.list(&system(), ListQuery::of(Kind::Notice)).await.unwrap();
    assert_eq!(titles.items.iter().map(|record| record.text("title")).collect::<Vec<_>>(), ["in the backup"]);
    drop(store);
    let old = path.join("replaced/1");
    let (old, _) = Store::open(&old, options()).unwrap();
    assert!(old.get(&system(), later.id).await.is_ok(), "what was replaced can be opened as a hub");
}

#[tokio::test]
async fn a_wrong_cut_or_changed_file_is_refused_and_nothing_is_touched() {
    let hub = Hub::new().await;
    hub.document(&hub.keeper, None, "Manual", &"content ".repeat(20_000)).await;
    let bytes = backed_up(&hub).await;
    let dir = tempfile::tempdir().unwrap();
    let refuse = |bytes: &[u8]| refusal(bytes, &passphrase(), dir.path());
    assert!(matches!(
        refusal(&bytes, &Secret::new("wrong horse battery"), dir.path()),
        BackupError::WrongPassphrase
    ));
    assert!(matches!(refuse(b"GIF89a"), BackupError::NotABackup | BackupError::Truncated));
    assert!(matches!(refuse(b""), BackupError::NotABackup | BackupError::Truncated));
    for cut in [200, bytes.len() / 2, bytes.len() - 1] {
        let error = refuse(&bytes[..cut]);
        assert!(matches!(error, BackupError::Truncated | BackupError::Damaged(_)), "{cut}: {error}");
    }
    for place in [bytes.len() / 3, bytes.len() / 2, bytes.len() - 5] {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        let error = refuse(&changed);
        assert!(matches!(error, BackupError::Damaged(_)), "{place}: {error}");
    }
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"more");
    assert!(matches!(refuse(&longer), BackupError::Damaged(_)));
}

#[tokio::test]
async fn it_can_be_stopped_and_a_weak_passphrase_is_refused() {
    let hub = Hub::new().await;
    hub.document(&hub.keeper, None, "Manual", &"content ".repeat(50_000)).await;
    let stop = || {
        Progress::new(|progress| {
            if progress.done_bytes > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    };
    let made = hub.store.backup(&hub.keeper, Box::new(Shared::default()), passphrase(), stop()).await;
    assert!(matches!(made, Err(StoreError::Backup(BackupError::Stopped))));
    let weak = hub
        .store
        .backup(&hub.keeper, Box::new(Shared::default()), Secret::new("short"), Progress::default())
        .await;
    assert!(matches!(weak, Err(StoreError::Backup(BackupError::WeakPassphrase))));
    let bytes = backed_up(&hub).await;
    let staged =
        hub.store.stage_restore(&hub.keeper, Box::new(Cursor::new(bytes)), passphrase(), stop()).await;
    assert!(matches!(staged, Err(StoreError::Backup(BackupError::Stopped))));
    let names: Vec<String> = fs::read_dir(hub.dir.path().join("hub"))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("backup-") || name.starts_with("restore"))
        .collect();
    assert_eq!(names, [""; 0], "nothing half done stays");
}

#[tokio::test]
async fn a_backup_is_one_moment_while_others_write() {
    let hub = Hub::new().await;
    for number in 0..50 {
        hub.notice(&hub.keeper, &format!("{number}")).await;
    }
    let (store, keeper) = (hub.store.clone(), hub.keeper.clone());
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writing = tokio::spawn(async move {
        let mut count = 0;
        while stopped.try_recv().is_err() {
            store.create(&keeper, Kind::Notice, None, notice("more"), None).await.unwrap();
            count += 1;
        }
        count
    });
    let bytes = backed_up(&hub).await;
    stop.send(()).unwrap();
    assert!(writing.await.unwrap() > 0);
    let file = hub.dir.path().join("given.age");
    fs::write(&file, bytes).unwrap();
    let target = hub.dir.path().join("target");
    let summary = cairn_store::restore(&file, &passphrase(), &target, &Progress::default()).unwrap();
    let (store, _) = Store::open(&target, options()).unwrap();
    let counts = store.counts(&system()).await.unwrap();
    assert_eq!(counts.values().sum::<u64>(), summary.records);
    assert!(counts[&Kind::Notice] >= 50);
}
