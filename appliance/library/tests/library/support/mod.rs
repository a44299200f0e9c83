//! A hub in a temporary folder: the real store, the real confined reader, and models that the test controls.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use cairn_inference::{
    EMBEDDING_DIMENSIONS, Embed, EmbedRole, Finish, Generate, GenerateEvent, GenerateRequest, InferenceError,
};
use cairn_library::{Library, LibraryConfig, extract::ExtractorCommand};
use cairn_store::{OpenOptions, Part, Store, Viewer};
use cairn_sync::{Fields, Kind, RecordId, Value};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use tempfile::TempDir;

/// How long anything here may take on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Embeds by hashing words: texts that share words are near each other. Says nothing about a real model's
/// quality; that is measured by `evaluate`.
#[derive(Default)]
pub struct HashingModel {
    pub down: AtomicBool,
    pub embedded: AtomicUsize,
}

impl Embed for HashingModel {
    fn embed(
        &self,
        texts: Vec<String>,
        _: EmbedRole,
    ) -> BoxFuture<'static, Result<Vec<Vec<f32>>, InferenceError>> {
        if self.down.load(Ordering::SeqCst) {
            return async { Err(InferenceError::NotConnected) }.boxed();
        }
        self.embedded.fetch_add(texts.len(), Ordering::SeqCst);
        let vectors = texts.iter().map(|text| hashed(text)).collect();
        async move { Ok(vectors) }.boxed()
    }
}

fn hashed(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0_f32; EMBEDDING_DIMENSIONS];
    for word in text.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 3) {
        let stem: String = word.chars().take(5).collect();
        let hash = stem.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        vector[(hash % EMBEDDING_DIMENSIONS as u64) as usize] += 1.0;
    }
    vector[0] += 0.01;
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.into_iter().map(|value| value / norm).collect()
}

/// Plays events and remembers what it was asked.
#[derive(Default)]
pub struct Script {
    pub events: Mutex<Vec<GenerateEvent>>,
    /// After its events the stream stays open instead of ending.
    pub hangs: AtomicBool,
    pub requests: Mutex<Vec<GenerateRequest>>,
    pub dropped: Arc<AtomicUsize>,
}

impl Script {
    /// An answer in pieces of a few letters, as a model sends it.
    pub fn answers(text: &str) -> Arc<Self> {
        let mut events = vec![GenerateEvent::Started { model: "test".into(), prompt_tokens: 10 }];
        let letters: Vec<char> = text.chars().collect();
        events.extend(letters.chunks(5).map(|piece| GenerateEvent::Text(piece.iter().collect())));
        events.push(GenerateEvent::Done { tokens: 10, finish: Finish::Stop, prefill_ms: 1, decode_ms: 2 });
        Self::plays(events)
    }

    pub fn plays(events: Vec<GenerateEvent>) -> Arc<Self> {
        Arc::new(Self { events: Mutex::new(events), ..Self::default() })
    }

    pub fn requests(&self) -> Vec<GenerateRequest> {
        self.requests.lock().unwrap().clone()
    }
}

impl Generate for Script {
    fn generate(&self, request: GenerateRequest) -> BoxStream<'static, GenerateEvent> {
        self.requests.lock().unwrap().push(request);
        let events = futures::stream::iter(self.events.lock().unwrap().clone());
        let tail = if self.hangs.load(Ordering::SeqCst) {
            futures::stream::pending().boxed()
        } else {
            futures::stream::empty().boxed()
        };
        let guard = Dropped(self.dropped.clone());
        let all = events.chain(tail).map(move |event| {
            let _held_as_long_as_the_stream = &guard;
            event
        });
        all.boxed()
    }
}

struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct Hub {
    pub store: Store,
    pub library: Library,
    pub model: Arc<HashingModel>,
    pub folder: TempDir,
}

/// A hub whose model answers nothing.
pub fn hub() -> Hub {
    hub_with(Script::plays(vec![GenerateEvent::Failed(InferenceError::NoModel)]))
}

pub fn hub_with(generate: Arc<dyn Generate>) -> Hub {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path(), OpenOptions::default()).unwrap();
    let model = Arc::new(HashingModel::default());
    let library = start(&store, model.clone(), generate);
    Hub { store, library, model, folder }
}

pub fn start(store: &Store, embed: Arc<dyn Embed>, generate: Arc<dyn Generate>) -> Library {
    let mut config = LibraryConfig::new(extractor());
    config.limits.retry = Duration::from_millis(50);
    Library::start(store.clone(), embed, generate, config)
}

/// The confined reader as a program of its own, which cargo builds for tests.
pub fn extractor() -> ExtractorCommand {
    ExtractorCommand::new(env!("CARGO_BIN_EXE_extract-child"), [""; 0])
}

pub const fn console() -> Viewer {
    Viewer::system(Part::Console)
}

/// Adds a document without indexing it.
pub async fn add(store: &Store, title: &str, file_name: &str, bytes: &[u8]) -> RecordId {
    let mut writer = store.blob_writer(64 << 20).unwrap();
    writer.write(bytes).unwrap();
    let blob = writer.finish().unwrap();
    let fields: Fields = [
        ("title".to_owned(), Value::from(title)),
        ("file".to_owned(), Value::Text(blob.to_string())),
        ("file_name".to_owned(), Value::from(file_name)),
        ("media_type".to_owned(), Value::from("text/markdown")),
        ("size".to_owned(), Value::Int(bytes.len() as i64)),
    ]
    .into();
    store.create(&console(), Kind::Document, None, fields, None).await.unwrap().id
}

/// Adds a file of the sample library and waits until it can be found by words and by meaning.
pub async fn add_sample(hub: &Hub, names: &[&str]) {
    for name in names {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sample").join(name);
        let bytes = std::fs::read(&path).unwrap();
        add(&hub.store, name, name, &bytes).await;
    }
    let progress = tokio::time::timeout(DEADLINE, hub.library.settled()).await.unwrap();
    assert_eq!(progress.counts.indexed, names.len() as u64, "{progress:?}");
    assert_eq!(progress.counts.embedded, progress.counts.passages, "{progress:?}");
}
