//! The indexer: hostile files, retries, deletion, and a process that is killed in the middle.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::support::{DEADLINE, HashingModel, Script, add, console, hub, start};
use cairn_inference::{GenerateEvent, InferenceError};
use cairn_library::{
    IndexOutcome, IndexState, Library, LibraryConfig, SearchQuery, extract::ExtractorCommand,
};
use cairn_store::{OpenOptions, Store, Viewer};
use cairn_sync::RecordId;

#[tokio::test]
async fn a_file_that_cannot_be_read_costs_one_file_and_is_named() {
    let hub = hub();
    let bad = add(&hub.store, "Broken book", "broken.epub", b"PK\x03\x04 this is no archive").await;
    let good = add(&hub.store, "Good", "good.md", b"# Good\n\nThe kettle is red.\n").await;
    let IndexOutcome::Failed { reason } = hub.library.index_now(bad).await.unwrap() else {
        panic!("it was read")
    };
    assert!(reason.contains("broken.epub"), "{reason}");
    assert!(matches!(hub.library.index_now(good).await.unwrap(), IndexOutcome::Indexed { .. }));
    let progress = hub.library.settled().await;
    assert_eq!((progress.counts.failed, progress.counts.indexed), (1, 1), "{progress:?}");
    assert_eq!(progress.state, IndexState::Idle);
    let again = hub.library.index_now(bad).await.unwrap();
    assert!(matches!(again, IndexOutcome::Failed { .. }), "a retry reads it again: {again:?}");
}

#[tokio::test]
async fn a_reader_that_cannot_be_started_is_tried_again_and_shown() {
    let hub = hub();
    let mut config = LibraryConfig::new(ExtractorCommand::new("/nonexistent/reader", [""; 0]));
    config.limits.retry = Duration::from_millis(20);
    let nothing = Script::plays(vec![GenerateEvent::Failed(InferenceError::NoModel)]);
    drop(hub.library);
    let library = Library::start(hub.store.clone(), hub.model.clone(), nothing, config);
    let id = add(&hub.store, "Waiting", "w.md", b"# W\n\ntext\n").await;
    assert!(library.index_now(id).await.is_err());
    let progress = library.settled().await;
    assert_eq!(progress.counts.failed, 0, "nothing is wrong with the file: {progress:?}");
    assert_eq!(progress.troubles.first().map(|trouble| trouble.document), Some(id), "{progress:?}");
    drop(library);
    let library = start(&hub.store, hub.model.clone(), Script::plays(Vec::new()));
    assert_eq!(library.settled().await.counts.indexed, 1);
}

#[tokio::test]
async fn two_askers_for_one_document_read_it_once() {
    let hub = hub();
    let id = add(&hub.store, "Twice", "t.md", b"# T\n\nOnce and only once.\n").await;
    let (one, two) = tokio::join!(hub.library.index_now(id), hub.library.index_now(id));
    assert!(matches!(
        (one.unwrap(), two.unwrap()),
        (IndexOutcome::Indexed { .. }, IndexOutcome::Indexed { .. })
    ));
    let hits = hub.library.search(&Viewer::anonymous(), SearchQuery::new("once")).await.unwrap().hits;
    assert_eq!(hits.len(), 1);
}

#[tokio::test]
async fn a_deleted_document_is_gone() {
    let hub = hub();
    let id = add(&hub.store, "Gone", "g.md", b"# G\n\nHere today.\n").await;
    hub.store.delete(&console(), id, None).await.unwrap();
    assert_eq!(hub.library.index_now(id).await.unwrap(), IndexOutcome::Gone);
    let progress = hub.library.settled().await;
    assert_eq!((progress.counts.documents, progress.counts.passages), (0, 0), "{progress:?}");
}

const DOCUMENTS: usize = 30;
const CHILD_FOLDER: &str = "CAIRN_TEST_INDEXER_FOLDER";

fn document(number: usize) -> String {
    let paragraph = |at: usize| {
        format!(
            "Paragraph {at} of document {number} tells how valve {} is opened with key {}. ",
            at * 7,
            at + number
        )
        .repeat(12)
    };
    (0..8).map(|at| format!("## Section {at}\n\n{}\n\n", paragraph(at))).collect()
}

/// Everything in the index, by file name and place.
async fn contents(store: &Store, documents: &[(String, RecordId)]) -> BTreeMap<(String, u32), String> {
    let mut all = BTreeMap::new();
    for (name, id) in documents {
        for passage in store.passages_of(&console(), *id, None, 1_000).await.unwrap() {
            let before = all.insert((name.clone(), passage.ordinal), passage.text);
            assert!(before.is_none(), "{name} has passage {} twice", passage.ordinal);
        }
    }
    all
}

async fn fill(store: &Store) -> Vec<(String, RecordId)> {
    let mut documents = Vec::new();
    for number in 0..DOCUMENTS {
        let name = format!("d{number}.md");
        documents.push((name.clone(), add(store, &name, &name, document(number).as_bytes()).await));
    }
    documents
}

/// Indexes the folder of the environment variable and prints a line whenever it got further. Run by the test below
/// in a process of its own; alone it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn indexer_process() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else { return };
    let (store, _) = Store::open(Path::new(&folder), OpenOptions::default()).unwrap();
    let library = start(&store, Arc::new(HashingModel::default()), Script::plays(Vec::new()));
    let mut last = None;
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        let counts = library.progress().counts;
        if counts.indexed == DOCUMENTS as u64 && counts.embedded == counts.passages {
            break;
        }
        if last != Some(counts) {
            eprintln!("{counts:?}");
            last = Some(counts);
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_killed_indexer_leaves_no_gap_and_no_duplicate() {
    let whole = hub();
    let documents = fill(&whole.store).await;
    whole.library.settled().await;
    let expected = contents(&whole.store, &documents).await;
    assert!(expected.len() > DOCUMENTS, "each document has several passages");

    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path(), OpenOptions::default()).unwrap();
    let documents = fill(&store).await;
    store.close();
    drop(store);

    let mut kills = 0;
    for steps in [1, 2, 3, 4, 5, 6, 8] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "indexing::indexer_process", "--nocapture"])
            .env(CHILD_FOLDER, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let seen =
            lines.map_while(Result::ok).filter(|line| line.contains("IndexProgress")).take(steps).count();
        child.kill().unwrap();
        child.wait().unwrap();
        kills += usize::from(seen == steps);
    }
    assert!(kills >= 4, "only {kills} processes were killed while they worked");

    let (store, _) = Store::open(folder.path(), OpenOptions::default()).unwrap();
    let model = Arc::new(HashingModel::default());
    let library = start(&store, model.clone(), Script::plays(Vec::new()));
    let progress = tokio::time::timeout(DEADLINE, library.settled()).await.unwrap();
    assert_eq!(contents(&store, &documents).await, expected);
    assert_eq!(progress.counts.passages, expected.len() as u64, "{progress:?}");
    assert_eq!(progress.counts.embedded, expected.len() as u64, "{progress:?}");
    eprintln!("{kills} kills; {} passages embedded after the last", model.embedded.load(Ordering::SeqCst));
}
