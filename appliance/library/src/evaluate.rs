//! How good search and refusal are, measured on real questions, and the parameters that follow.
//!
//! Two sets of questions are used together over one index: the headings of FAQ documents that Debian packages
//! carry, removed from the text that is indexed, with the passages below them as the right ones; and the questions
//! in `evaluate/` over the sample library, of which some have no answer there. Half of each, chosen by a hash of
//! the question, tunes; the other half is only reported on.

mod cache;
mod calibration;
mod corpus;
mod latency;
mod manuals;
mod marks;
mod questions;
mod ranking;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use cairn_inference::{Embed, EmbedRole, InferenceError};
use cairn_store::{OpenOptions, Store, StoreError};

pub use calibration::{Calibration, CurvePoint};
pub use latency::{Latency, measure as measure_latency};
pub use marks::MarkingReport;
pub use ranking::{Quality, RankingReport};

use crate::{
    index::Courtesy,
    library::{Parts, Patience},
};

/// Passages embedded at once.
const BATCH: usize = 16;

/// A measurement waits for the model: what is judged is what is found, not how busy the machine is.
const UNHURRIED: Patience = Patience {
    question: Duration::from_secs(600),
    sentences: Duration::from_secs(600),
    check: Duration::from_secs(600),
};

/// What the evaluation works on.
pub struct Settings {
    /// The sample library.
    pub sample: PathBuf,
    /// The folder with `answerable.json` and `unanswerable.json`.
    pub questions: PathBuf,
    /// Where Debian packages are unpacked, one folder each, and embeddings kept between runs; made when missing.
    pub documents: PathBuf,
    /// The embedding model.
    pub embed: Arc<dyn Embed>,
    /// Told what is being done.
    pub report: Box<dyn Fn(&str) + Send + Sync>,
}

/// Why the evaluation could not be done.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// A file could not be read or written.
    #[error("{what}: {source}")]
    Io {
        /// Which one.
        what: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A question file makes no sense.
    #[error("{what}: {source}")]
    Questions {
        /// Which one.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A package could not be fetched.
    #[error("{0}")]
    Package(String),
    /// A document could not be read.
    #[error(transparent)]
    Extract(#[from] crate::extract::ExtractError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The embedding model failed.
    #[error("embedding: {0}")]
    Embed(#[from] InferenceError),
    /// The question names a passage that is not there.
    #[error("no passage of {document} stands under {heading:?}")]
    NoSuchHeading {
        /// The document.
        document: String,
        /// The heading.
        heading: String,
    },
}

/// What came out.
#[derive(Debug)]
pub struct Report {
    /// Passages in the index.
    pub passages: usize,
    /// Documents in the index.
    pub documents: usize,
    /// Search.
    pub ranking: RankingReport,
    /// Marked sentences.
    pub marking: Vec<MarkingReport>,
    /// Refusal with embeddings.
    pub verdict: Calibration,
    /// Refusal by words alone.
    pub verdict_by_words: Calibration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} passages of {} documents", self.passages, self.documents)?;
        writeln!(f, "\nSearch\n{}", self.ranking)?;
        writeln!(
            f,
            "Marked sentences\n{:<28} {:>5} {:>8} {:>8} {:>8}",
            "set", "n", "found", "right", "no answer"
        )?;
        for report in &self.marking {
            writeln!(f, "{report}")?;
        }
        writeln!(f, "\nRefusal, with embeddings\n{}", self.verdict)?;
        write!(f, "Refusal, by words alone\n{}", self.verdict_by_words)
    }
}

/// Builds the index in a temporary folder, asks every question, tunes on one half and reports on the other.
///
/// # Errors
/// [`EvaluateError`] says what is missing or failed.
pub async fn run(settings: Settings) -> Result<Report, EvaluateError> {
    let say = &settings.report;
    let io = |what: &str, source| EvaluateError::Io { what: what.to_owned(), source };
    std::fs::create_dir_all(&settings.documents)
        .map_err(|error| io("making the folder of documents", error))?;
    say("fetching manuals");
    let manuals = manuals::fetch(&settings.documents)?;
    say("reading documents");
    let corpus = corpus::Corpus::read(&settings.sample, &settings.questions, &manuals)?;

    let folder = tempfile::tempdir().map_err(|error| io("making a temporary folder", error))?;
    let (store, _) = Store::open(folder.path(), OpenOptions::default())?;
    let embed: Arc<dyn Embed> =
        Arc::new(cache::Cached::open(settings.embed, settings.documents.join("embeddings"))?);
    let parts = Parts {
        store: store.clone(),
        embed: embed.clone(),
        generate: Arc::new(NoGenerator),
        courtesy: Courtesy::default(),
        patience: UNHURRIED,
    };
    let asked = corpus.index(&store).await?;
    let passages = corpus.passages();
    say(&format!(
        "embedding {passages} passages of {} documents, for {} questions",
        corpus.documents(),
        asked.len()
    ));
    embed_all(&store, embed.as_ref(), passages, say).await?;

    say("asking");
    let outcomes = questions::ask_all(&parts, &asked, say).await?;
    Ok(Report {
        passages,
        documents: corpus.documents(),
        ranking: ranking::tune(&outcomes),
        marking: marks::report(&outcomes),
        verdict: calibration::calibrate(&outcomes, calibration::Features::WithMeaning),
        verdict_by_words: calibration::calibrate(&outcomes, calibration::Features::WordsOnly),
    })
}

async fn embed_all(
    store: &Store,
    embed: &dyn Embed,
    passages: usize,
    say: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), EvaluateError> {
    let mut done = 0;
    loop {
        let batch = store.pending_embeddings(BATCH).await?;
        if batch.is_empty() {
            return Ok(());
        }
        let (ids, texts): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let before = done;
        done += ids.len();
        let vectors = embed.embed(texts, EmbedRole::Passage).await?;
        store.put_embeddings(ids.into_iter().zip(vectors).collect()).await?;
        if before / 500 != done / 500 {
            say(&format!("  {done} of {passages}"));
        }
    }
}

/// Nothing is written here.
struct NoGenerator;

impl cairn_inference::Generate for NoGenerator {
    fn generate(
        &self,
        _: cairn_inference::GenerateRequest,
    ) -> futures::stream::BoxStream<'static, cairn_inference::GenerateEvent> {
        let failed = cairn_inference::GenerateEvent::Failed(InferenceError::NoModel);
        Box::pin(futures::stream::iter([failed]))
    }
}
