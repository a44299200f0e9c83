//! How long a search takes in a library of many passages, without the embedding of the query.

use std::{fmt, sync::Arc, time::Instant};

use cairn_inference::{EMBEDDING_DIMENSIONS, Embed, EmbedRole, InferenceError};
use cairn_store::{Location, OpenOptions, Part, Passage, Store, Viewer};
use cairn_sync::{BlobId, Fields, Kind, Value};
use futures::{FutureExt, future::BoxFuture};

use super::{EvaluateError, NoGenerator, UNHURRIED};
use crate::{
    index::{Courtesy, READING_VERSION},
    library::Parts,
    search::{Mode, SearchQuery, search},
};

/// Passages of one made-up document.
const PER_DOCUMENT: usize = 250;
/// Words of one passage.
const WORDS: usize = 150;
/// Different words in the library; they are used about as unevenly as in real text (Zipf).
const VOCABULARY: usize = 20_000;
/// Searches measured.
const SEARCHES: usize = 200;

/// What was measured, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    /// Passages in the library.
    pub passages: usize,
    /// Half of the searches were faster.
    pub median_ms: f64,
    /// 95 of 100 were faster.
    pub p95_ms: f64,
    /// The slowest.
    pub worst_ms: f64,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passages, median_ms, p95_ms, worst_ms } = self;
        write!(
            f,
            "{passages:>7} passages: median {median_ms:.1} ms, p95 {p95_ms:.1} ms, worst {worst_ms:.1} ms"
        )
    }
}

/// Fills a temporary library with made-up text and measures hybrid searches in it.
///
/// # Errors
/// When the store refuses.
pub async fn measure(passages: usize) -> Result<Latency, EvaluateError> {
    let folder = tempfile::tempdir()
        .map_err(|source| EvaluateError::Io { what: "making a temporary folder".to_owned(), source })?;
    let (store, _) = Store::open(folder.path(), OpenOptions::default())?;
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    fill(&store, passages, &mut chance).await?;
    let parts = Parts {
        store: store.clone(),
        embed: Arc::new(AnyVector),
        generate: Arc::new(NoGenerator),
        courtesy: Courtesy::default(),
        patience: UNHURRIED,
    };
    let viewer = Viewer::anonymous();
    let progress = store.index_progress().await?;
    let mut times: Vec<f64> = Vec::with_capacity(SEARCHES);
    for _ in 0..SEARCHES {
        let text = (0..6).map(|_| chance.word()).collect::<Vec<_>>().join(" ");
        let query = SearchQuery { text, limit: 10, mode: Mode::Hybrid };
        let started = Instant::now();
        search(&parts, &viewer, &query, progress, started).await?;
        times.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len() - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    Ok(Latency { passages, median_ms: at(0.5), p95_ms: at(0.95), worst_ms: at(1.0) })
}

async fn fill(store: &Store, passages: usize, chance: &mut Chance) -> Result<(), EvaluateError> {
    let viewer = Viewer::system(Part::Console);
    for document in 0..passages.div_ceil(PER_DOCUMENT) {
        let mut writer = store.blob_writer(1 << 20)?;
        writer.write(document.to_string().as_bytes())?;
        let blob: BlobId = writer.finish()?;
        let name = format!("document {document}");
        let fields: Fields = [
            ("title".to_owned(), Value::from(name.as_str())),
            ("file".to_owned(), Value::Text(blob.to_string())),
            ("file_name".to_owned(), Value::from(name.as_str())),
            ("media_type".to_owned(), Value::from("text/plain")),
            ("size".to_owned(), Value::Int(1)),
        ]
        .into();
        let record = store.create(&viewer, Kind::Document, None, fields, None).await?;
        let made = (0_u32..)
            .take(PER_DOCUMENT.min(passages - document * PER_DOCUMENT))
            .map(|ordinal| Passage {
                ordinal,
                heading: String::new(),
                text: (0..WORDS).map(|_| chance.word()).collect::<Vec<_>>().join(" "),
                location: Location::default(),
            })
            .collect();
        store.put_passages(record.id, blob, READING_VERSION, made).await?;
    }
    loop {
        let batch = store.pending_embeddings(512).await?;
        if batch.is_empty() {
            return Ok(());
        }
        store.put_embeddings(batch.into_iter().map(|(id, _)| (id, chance.vector())).collect()).await?;
    }
}

/// Answers at once with some vector, so that only the search is measured.
struct AnyVector;

impl Embed for AnyVector {
    fn embed(
        &self,
        texts: Vec<String>,
        _: EmbedRole,
    ) -> BoxFuture<'static, Result<Vec<Vec<f32>>, InferenceError>> {
        let seed = texts.iter().map(String::len).sum::<usize>() as u64;
        let mut chance = Chance(seed | 1);
        let vectors = texts.iter().map(|_| chance.vector()).collect();
        async move { Ok(vectors) }.boxed()
    }
}

/// Xorshift (Marsaglia 2003): the same passages and queries in every run.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between 0 and 1.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn word(&mut self) -> String {
        let rank = (VOCABULARY as f64).powf(self.share()) as usize;
        format!("w{}x", base26(rank))
    }

    fn vector(&mut self) -> Vec<f32> {
        let values: Vec<f32> = (0..EMBEDDING_DIMENSIONS).map(|_| (self.share() - 0.5) as f32).collect();
        let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-9);
        values.into_iter().map(|value| value / norm).collect()
    }
}

fn base26(mut number: usize) -> String {
    let mut letters = String::new();
    loop {
        letters.push(char::from(b'a' + (number % 26) as u8));
        number /= 26;
        if number == 0 {
            return letters;
        }
    }
}
