//! Files, passages, search and garbage.

use cairn_store::{
    DocumentIndex, IndexProgress, Location, Passage, PassageId, Record, Store, StoreError, Viewer,
};
use cairn_sync::{BlobId, Kind, Role};

use crate::common::{Hub, fields, notice, options, system};

fn passages(texts: &[&str]) -> Vec<Passage> {
    texts
        .iter()
        .zip(0..)
        .map(|(text, ordinal)| Passage {
            ordinal,
            heading: format!("Part {ordinal}"),
            text: (*text).to_owned(),
            location: Location { page: Some(ordinal + 1), anchor: None },
        })
        .collect()
}

fn blob(document: &Record) -> BlobId {
    document.text("file").parse().unwrap()
}

async fn found(store: &Store, query: &str) -> Vec<String> {
    let hits = store.search_text(&system(), query, 10).await.unwrap();
    let ids: Vec<PassageId> = hits.iter().map(|hit| hit.passage).collect();
    store.passages(&system(), &ids).await.unwrap().into_iter().map(|passage| passage.text).collect()
}

/// An embedding that points along one axis.
fn axis(number: usize) -> Vec<f32> {
    let mut vector = vec![0.0; cairn_store::DIMENSIONS];
    vector[number] = 1.0;
    vector
}

#[tokio::test]
async fn a_file_is_kept_once_and_given_to_those_who_may_read_its_document() {
    let hub = Hub::new().await;
    let project = hub.project(&hub.keeper, "closed", false).await;
    let document = hub.document(&hub.keeper, Some(project.id), "T", "the content").await;
    assert_eq!(document.int("size"), Some(11), "measured, not believed");
    let (mut file, meta) = hub.store.open_file(&hub.keeper, document.id).await.unwrap();
    assert_eq!((meta.size, meta.blob), (11, BlobId::of(b"the content")));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    assert_eq!(text, "the content");
    let ana = hub.person("ana", Role::Volunteer).await;
    for viewer in [&ana, &Viewer::anonymous()] {
        assert!(matches!(hub.store.open_file(viewer, document.id).await, Err(StoreError::NotFound(_))));
    }
    let missing = fields([
        ("title", "T".into()),
        ("file", BlobId::of(b"elsewhere").to_string().into()),
        ("file_name", "a".into()),
        ("media_type", "text/plain".into()),
    ]);
    let refused = hub.store.create(&hub.keeper, Kind::Document, None, missing, None).await;
    assert!(matches!(refused, Err(StoreError::BlobMissing)));
}

#[tokio::test]
async fn passages_are_found_by_words_accents_and_unfinished_words() {
    let hub = Hub::new().await;
    let document = hub.document(&hub.keeper, None, "Manual", "x").await;
    let texts = ["Boil the water for one minute", "The café stays open", "Water the garden at night"];
    hub.store.put_passages(document.id, blob(&document), 1, passages(&texts)).await.unwrap();
    assert_eq!(
        found(&hub.store, "how do I boil water").await,
        [texts[0], texts[2]],
        "all the words count more"
    );
    assert_eq!(found(&hub.store, "CAFE").await, [texts[1]]);
    assert_eq!(found(&hub.store, "gard").await, [texts[2]]);
    assert_eq!(found(&hub.store, "manual").await.len(), 3, "the title counts too");
    assert_eq!(found(&hub.store, "\"; DROP TABLE words; -- NEAR(").await, [""; 0]);
    assert_eq!(found(&hub.store, "").await, [""; 0]);
    let of = hub.store.passages_of(&Viewer::anonymous(), document.id, Some(0), 1).await.unwrap();
    assert_eq!(
        (of.len(), of[0].ordinal, of[0].location.page, of[0].heading.as_str()),
        (1, 1, Some(2), "Part 1")
    );
}

#[tokio::test]
async fn the_index_follows_the_records() {
    let hub = Hub::new().await;
    let store = &hub.store;
    let document = hub.document(&hub.keeper, None, "Manual", "one").await;
    let pending = store.pending_documents(1, 10).await.unwrap();
    assert_eq!((pending.len(), pending[0].document, pending[0].blob), (1, document.id, blob(&document)));
    assert_eq!(store.document_index(&system(), document.id).await.unwrap(), DocumentIndex::Pending);
    let many: Vec<String> = (0..400).map(|number| format!("apples number {number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    store.put_passages(document.id, blob(&document), 1, passages(&many)).await.unwrap();
    assert_eq!(store.pending_documents(1, 10).await.unwrap(), []);
    assert_eq!(store.pending_documents(2, 10).await.unwrap().len(), 1, "a better extractor reads it again");
    let bare = store.pending_embeddings(1000).await.unwrap();
    assert_eq!(bare.len(), 400);
    store.put_embeddings(bare.iter().map(|(id, _)| (*id, axis(0))).collect()).await.unwrap();
    let expected = IndexProgress { documents: 1, indexed: 1, failed: 0, passages: 400, embedded: 400 };
    assert_eq!(store.index_progress().await.unwrap(), expected);
    assert_eq!(store.search_vector(&Viewer::anonymous(), &axis(0), 5).await.unwrap().len(), 5);

    // Replaced as a whole; what was there is nowhere any more.
    store.put_passages(document.id, blob(&document), 2, passages(&["pears"])).await.unwrap();
    assert_eq!(found(store, "apples").await, [""; 0]);
    assert_eq!(found(store, "pears").await, ["pears"]);
    assert_eq!(store.search_vector(&system(), &axis(0), 5).await.unwrap(), []);
    assert_eq!(store.passages(&system(), &[bare[0].0]).await.unwrap(), []);

    // Another file: the old text is out at once, before the new one is read.
    let other = hub.document(&hub.keeper, None, "Other", "two").await;
    let to = fields([("file", other.text("file").into())]);
    store.update(&hub.keeper, document.id, to, None, None).await.unwrap();
    assert_eq!(found(store, "pears").await, [""; 0]);
    let late = store.put_passages(document.id, blob(&document), 2, passages(&["late"])).await;
    assert!(matches!(late, Err(StoreError::NotFound(_))), "work on a file that was replaced is refused");
    store.mark_failed(document.id, blob(&other), 2, "The file is empty.").await.unwrap();
    assert_eq!(
        store.document_index(&system(), document.id).await.unwrap(),
        DocumentIndex::Failed { reason: "The file is empty.".into() }
    );
    assert_eq!(store.index_progress().await.unwrap().failed, 1);
    let pending = store.pending_documents(2, 10).await.unwrap();
    assert_eq!(pending.iter().map(|one| one.document).collect::<Vec<_>>(), [other.id]);

    store.put_passages(other.id, blob(&other), 2, passages(&["plums"])).await.unwrap();
    store.delete(&hub.keeper, other.id, None).await.unwrap();
    assert_eq!(found(store, "plums").await, [""; 0]);
}

#[tokio::test]
async fn limits_and_order_of_passages_are_checked() {
    let hub = Hub::new().await;
    let document = hub.document(&hub.keeper, None, "Manual", "one").await;
    let put = |passages| hub.store.put_passages(document.id, blob(&document), 1, passages);
    let long = "x".repeat(cairn_store::MAX_PASSAGE + 1);
    assert!(matches!(put(passages(&[&long])).await, Err(StoreError::Invalid(_))));
    let mut twice = passages(&["a", "b"]);
    twice[1].ordinal = 0;
    assert!(matches!(put(twice).await, Err(StoreError::Invalid(_))));
    assert!(hub.store.put_embeddings(vec![(PassageId(1), vec![0.0; 3])]).await.is_err());
    hub.store.put_embeddings(vec![(PassageId(999), axis(0))]).await.unwrap();
    assert_eq!(hub.store.search_vector(&system(), &axis(0), 5).await.unwrap(), []);
}

#[tokio::test]
async fn upkeep_tidies_the_index_after_a_document_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(dir.path(), cairn_store::OpenOptions { upkeep: true, ..options() }).unwrap();
    let keeper = store.claim("TESTCODE", crate::common::account("keeper"), "x", "en").await.unwrap();
    let keeper = crate::common::signed_in(&store, keeper.id).await;
    let hub = Hub { dir, store, keeper };
    let document = hub.document(&hub.keeper, None, "Oldname", "one").await;
    hub.store.put_passages(document.id, blob(&document), 1, passages(&["text"])).await.unwrap();
    assert_eq!(found(&hub.store, "oldname").await, ["text"]);
    let title = fields([("title", "Newname".into())]);
    hub.store.update(&hub.keeper, document.id, title, None, None).await.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while found(&hub.store, "newname").await.is_empty() {
        assert!(std::time::Instant::now() < deadline, "the new title is not found");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(found(&hub.store, "oldname").await, [""; 0]);
    hub.store.close();
}

#[tokio::test]
async fn a_long_import_leaves_room_for_a_person() {
    let hub = Hub::new().await;
    let document = hub.document(&hub.keeper, None, "Manual", "one").await;
    let text = "many words that make a passage as long as real ones are ".repeat(20);
    let texts = passages(&vec![text.as_str(); 6000]);
    let (store, file, id) = (hub.store.clone(), blob(&document), document.id);
    let import = tokio::spawn(async move { store.put_passages(id, file, 1, texts).await });
    let mut waits = Vec::new();
    while !import.is_finished() {
        let began = std::time::Instant::now();
        hub.store.create(&hub.keeper, Kind::Notice, None, notice("between"), None).await.unwrap();
        waits.push(began.elapsed());
    }
    import.await.unwrap().unwrap();
    waits.sort();
    let median = waits[waits.len() / 2];
    assert!(
        waits.len() > 20 && median < std::time::Duration::from_millis(500),
        "{} writes, {median:?}",
        waits.len()
    );
}
