//! Real files are damaged; the hub opens, says what happened, and keeps what was damaged.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use cairn_store::{OpenReport, Passage, Severity, Store, StoreError};
use cairn_sync::RecordId;

use crate::common::{Hub, options, system};

/// A hub with a snapshot, one notice before it and one after, closed.
async fn closed_hub() -> (tempfile::TempDir, PathBuf, RecordId, RecordId, cairn_sync::HubId) {
    let hub = Hub::new().await;
    for number in 0..200 {
        hub.notice(&hub.keeper, &format!("filler {number} {}", "x".repeat(200))).await;
    }
    let before = hub.notice(&hub.keeper, "before").await.id;
    hub.store.snapshot().await.unwrap();
    let after = hub.notice(&hub.keeper, "after").await.id;
    let id = hub.store.hub_id();
    hub.store.close();
    let path = hub.dir.path().join("hub");
    let Hub { dir, store, .. } = hub;
    drop(store);
    (dir, path, before, after, id)
}

fn overwrite(path: &Path, from: u64, length: usize) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&vec![0xA5; length], from).unwrap();
}

fn only_finding(report: &OpenReport) -> (Severity, String, String) {
    assert_eq!(report.findings.len(), 1, "{report:?}");
    let finding = &report.findings[0];
    (finding.severity, finding.text.clone(), finding.advice.clone())
}

fn kept(dir: &Path, name: &str) -> Vec<PathBuf> {
    let folders =
        fs::read_dir(dir.join("damaged")).map(|all| all.flatten().collect::<Vec<_>>()).unwrap_or_default();
    folders.into_iter().map(|folder| folder.path().join(name)).filter(|path| path.exists()).collect()
}

#[tokio::test]
async fn damaged_records_fall_back_to_the_newest_good_snapshot() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 6] = [
        ("header of zeros", |path| {
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(&[0; 100], 0).unwrap();
        }),
        ("pages flipped", |path| {
            let pages = fs::metadata(path).unwrap().len() / 4096;
            (1..pages).step_by(2).for_each(|page| overwrite(path, page * 4096, 4096));
        }),
        ("cut in the middle", |path| {
            let length = fs::metadata(path).unwrap().len();
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length / 2).unwrap();
        }),
        ("empty", |path| drop(fs::File::create(path).unwrap())),
        ("not a database", |path| fs::write(path, "hello, this is no database at all").unwrap()),
        ("another database", |path| {
            fs::remove_file(path).unwrap();
            rusqlite::Connection::open(path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        }),
    ];
    for (name, damage) in damages {
        let (_dir, path, before, after, id) = closed_hub().await;
        damage(&path.join("records.db"));
        let damaged = fs::read(path.join("records.db")).unwrap();
        let (store, report) = Store::open(&path, options()).unwrap();
        let (severity, text, advice) = only_finding(&report);
        assert_eq!(severity, Severity::Lost, "{name}");
        assert!(
            text.contains("damaged") && text.contains("snapshot from 20") && text.contains("UTC"),
            "{text}"
        );
        assert!(advice.contains("backup"), "{advice}");
        assert_eq!(store.get(&system(), before).await.unwrap().text("title"), "before", "{name}");
        assert!(store.get(&system(), after).await.is_err(), "{name}");
        assert_ne!(store.hub_id(), id, "counters must not be used twice: a new storage epoch");
        let files = kept(&path, "records.db");
        assert_eq!(files.len(), 1, "{name}");
        assert_eq!(fs::read(&files[0]).unwrap(), damaged, "{name}: the damaged file is kept as it was");
        drop(store);
        let (_store, report) = Store::open(&path, options()).unwrap();
        assert_eq!(report.findings, [], "{name}: told once");
    }
}

#[tokio::test]
async fn a_missing_database_of_a_used_hub_is_no_new_hub() {
    let (_dir, path, before, _, _) = closed_hub().await;
    fs::remove_file(path.join("records.db")).unwrap();
    let (store, report) = Store::open(&path, options()).unwrap();
    let (severity, text, _) = only_finding(&report);
    assert_eq!(severity, Severity::Lost);
    assert!(text.contains("gone") && text.contains("snapshot"), "{text}");
    assert!(store.get(&system(), before).await.is_ok());
    assert!(store.setup_state().await.unwrap().claimed);
}

#[tokio::test]
async fn a_damaged_snapshot_is_passed_over_for_an_older_one() {
    let (_dir, path, before, after, _) = closed_hub().await;
    let (store, _) = Store::open(&path, options()).unwrap();
    let newest = store.snapshot().await.unwrap().path;
    drop(store);
    overwrite(&newest, 4096, 3 * 4096);
    overwrite(&path.join("records.db"), 0, 4096);
    let (store, report) = Store::open(&path, options()).unwrap();
    assert_eq!(only_finding(&report).0, Severity::Lost);
    assert!(store.get(&system(), before).await.is_ok());
    assert!(store.get(&system(), after).await.is_err());
}

#[tokio::test]
async fn without_a_snapshot_the_hub_starts_empty_and_says_so() {
    let (_dir, path, before, _, _) = closed_hub().await;
    fs::remove_dir_all(path.join("snapshots")).unwrap();
    overwrite(&path.join("records.db"), 0, 100);
    let (store, report) = Store::open(&path, options()).unwrap();
    let (severity, text, advice) = only_finding(&report);
    assert_eq!(severity, Severity::Lost);
    assert!(text.contains("starts empty") && advice.contains("Restore a backup"), "{text} {advice}");
    assert!(store.get(&system(), before).await.is_err());
    assert_eq!(kept(&path, "records.db").len(), 1);
}

#[tokio::test]
async fn three_snapshots_are_kept_and_a_damaged_database_replaces_none() {
    let (_dir, path, ..) = closed_hub().await;
    let (store, _) = Store::open(&path, options()).unwrap();
    for _ in 0..4 {
        store.snapshot().await.unwrap();
    }
    let before = store.snapshots().unwrap();
    assert_eq!(before.iter().map(|one| one.number).collect::<Vec<_>>(), [5, 4, 3]);
    // The database is damaged under the running hub.
    let pages = fs::metadata(path.join("records.db")).unwrap().len() / 4096;
    (2..pages).for_each(|page| overwrite(&path.join("records.db"), page * 4096, 4096));
    assert!(store.snapshot().await.is_err());
    assert_eq!(store.snapshots().unwrap(), before);
    assert_eq!(fs::read_dir(path.join("snapshots")).unwrap().count(), 3, "nothing half done stays");
}

#[tokio::test]
async fn a_damaged_index_is_made_anew_and_no_record_is_lost() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |path| overwrite(path, 0, 100),
        |path| overwrite(path, 4096, (fs::metadata(path).unwrap().len() - 4096) as usize),
        |path| drop(fs::File::create(path).unwrap()),
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(6000).unwrap(),
    ];
    for damage in damages {
        let hub = Hub::new().await;
        let document = hub.document(&hub.keeper, None, "Manual", "one").await;
        let passage = Passage {
            ordinal: 0,
            heading: String::new(),
            text: "pears".into(),
            location: Default::default(),
        };
        let blob = document.text("file").parse().unwrap();
        hub.store.put_passages(document.id, blob, 1, vec![passage.clone()]).await.unwrap();
        hub.store.close();
        let path = hub.dir.path().join("hub");
        drop(hub.store);
        damage(&path.join("index.db"));
        let (store, report) = Store::open(&path, options()).unwrap();
        let (severity, text, _) = only_finding(&report);
        assert_eq!(severity, Severity::Repaired);
        assert!(text.contains("search index") && text.contains("No record was lost"), "{text}");
        assert_eq!(kept(&path, "index.db").len(), 1);
        assert_eq!(store.get(&system(), document.id).await.unwrap(), document);
        assert_eq!(store.pending_documents(1, 10).await.unwrap().len(), 1, "it is read again");
        store.put_passages(document.id, blob, 1, vec![passage]).await.unwrap();
        assert_eq!(store.search_text(&system(), "pears", 5).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_index_of_another_schema_is_made_anew() {
    let (_dir, path, ..) = closed_hub().await;
    rusqlite::Connection::open(path.join("index.db"))
        .unwrap()
        .execute_batch("PRAGMA user_version = 77")
        .unwrap();
    let (store, report) = Store::open(&path, options()).unwrap();
    let (severity, text, _) = only_finding(&report);
    assert_eq!(severity, Severity::Note);
    assert!(text.contains("another release"), "{text}");
    assert!(store.index_progress().await.is_ok());
}

fn hashes(dir: &Path) -> Vec<(String, blake3::Hash)> {
    // A log that SQLite makes to look inside is empty.
    let bytes = |name: &str| fs::read(dir.join(name)).ok().filter(|bytes| !bytes.is_empty());
    ["records.db", "records.db-wal", "index.db"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), blake3::hash(&bytes(name)?))))
        .collect()
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_refused_in_a_sentence_and_left_untouched() {
    let (_dir, path, before, ..) = closed_hub().await;
    let newer = |min_reader: u32| {
        let connection = rusqlite::Connection::open(path.join("records.db")).unwrap();
        connection
            .execute_batch(&format!(
                "UPDATE hub SET value = {min_reader} WHERE name = 'min_reader'; PRAGMA user_version = 99; \
                 CREATE TABLE IF NOT EXISTS of_the_future (x)"
            ))
            .unwrap();
    };
    newer(98);
    let untouched = hashes(&path);
    let error = Store::open(&path, options()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, needs: 98, .. }));
    let text = error.to_string();
    assert!(text.contains("schema 99") && text.contains("untouched") && !text.contains('\n'), "{text}");
    assert_eq!(hashes(&path), untouched);
    // A newer one that states that this release can serve it is served, and stays what it is.
    newer(2);
    let (store, report) = Store::open(&path, options()).unwrap();
    assert_eq!((report.schema_before, report.schema), (99, 99));
    assert!(store.get(&system(), before).await.is_ok());
}

#[tokio::test]
async fn a_hub_is_opened_once() {
    let hub = Hub::new().await;
    assert!(matches!(Store::open(&hub.dir.path().join("hub"), options()), Err(StoreError::InUse(_))));
}
