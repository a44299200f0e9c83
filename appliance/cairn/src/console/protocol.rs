//! What commands ask for and what they are answered.

use serde::{Deserialize, Serialize};

/// A command.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Answer a question.
    Ask { text: String, model: Option<String> },
    /// Search the library.
    Search { text: String, limit: u32 },
    /// Add the document that comes with this message.
    AddDocument { file_name: String },
    /// List models.
    Models,
    /// Install the model that comes with this message.
    AddModel { name: String },
    /// Remove a model.
    RemoveModel { name: String },
    /// Write a backup to the file that comes with this message.
    Backup { passphrase: String },
    /// How the hub is.
    Health,
    /// Enrol with a gateway.
    Enrol { url: String, token: String, plain_loopback: bool },
    /// Where synchronisation stands; `now`: after a round.
    Sync { now: bool },
    /// Everything that helps to help, as JSON.
    Support,
}

/// One step of an answer. [`Step::Done`] and [`Step::Failed`] are last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Of [`Request::Ask`].
    Ask(AskStep),
    /// Of [`Request::Search`].
    Hits(Vec<HitLine>),
    /// Of [`Request::Models`].
    Models(Vec<ModelLine>),
    /// Of [`Request::Health`].
    Health(Box<Health>),
    /// Of [`Request::Sync`].
    Sync(SyncLine),
    /// Of [`Request::Support`]: a piece of JSON.
    Support(String),
    /// Of [`Request::AddDocument`]: it is there; how searchable it is, in words.
    Added { title: String, outcome: String, searchable: bool },
    /// How far long work is, in bytes.
    Progress { done: u64, total: u64 },
    /// It is done; what was done, in words.
    Done(String),
    /// It failed.
    Failed(Trouble),
}

/// Why a command failed, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Trouble {
    pub(crate) happened: String,
    pub(crate) kept: Option<String>,
    pub(crate) next: Option<String>,
}

/// One step of an answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AskStep {
    /// The passages; whether they answer.
    Passages { hits: Vec<HitLine>, answerable: bool, took_ms: u64 },
    /// Others are before this question.
    Queued { place: u32 },
    /// The model reads.
    Started { model: String },
    /// What came so far is void.
    Restarted,
    /// More of the answer.
    Text { text: String },
    /// A checked sentence.
    Sentence { text: String, citations: Vec<u32>, supported: bool },
    /// There is no written answer, and why.
    NoAnswer { why: String },
    /// The answer broke off.
    Broken { why: String },
    /// It is complete.
    Complete { tokens: u32, prefill_ms: u64, decode_ms: u64 },
}

/// A passage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HitLine {
    pub(crate) title: String,
    pub(crate) heading: String,
    /// The text in stretches, and which of them answer.
    pub(crate) text: Vec<(String, bool)>,
    pub(crate) score: f32,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModelLine {
    pub(crate) name: String,
    pub(crate) family: String,
    pub(crate) quantization: String,
    pub(crate) parameters: u64,
    pub(crate) bytes: u64,
    pub(crate) state: ModelState,
}

/// What a model is at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ModelState {
    Loaded,
    Loading { percent: u8 },
    Available,
    Refused { reason: String },
}

/// How the hub is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Health {
    pub(crate) well: bool,
    pub(crate) version: String,
    pub(crate) ready_for_s: u64,
    pub(crate) addresses: Vec<String>,
    pub(crate) claimed: bool,
    pub(crate) database_connected: bool,
    pub(crate) inference_connected: bool,
    pub(crate) models_loaded: u32,
    pub(crate) documents: u64,
    pub(crate) indexed: u64,
    pub(crate) passages: u64,
    pub(crate) embedded: u64,
    pub(crate) roles: Vec<RoleLine>,
    pub(crate) memory: Option<MemoryLine>,
    pub(crate) disk: Option<MemoryLine>,
    pub(crate) temperature_c: Option<f32>,
    /// What opening the records found and did.
    pub(crate) findings: Vec<String>,
}

/// Where synchronisation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SyncLine {
    /// `not enrolled`, `off`, `idle`, `busy`, `waiting` or `stopped`.
    pub(crate) state: String,
    pub(crate) gateway: Option<String>,
    pub(crate) community: Option<String>,
    /// When records are exchanged, in words.
    pub(crate) way: String,
    pub(crate) queue: u64,
    pub(crate) conflicts: u64,
    pub(crate) refused: u64,
    pub(crate) last_success_s: Option<u64>,
    pub(crate) trouble: Option<String>,
}

/// Used and total bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemoryLine {
    pub(crate) used: u64,
    pub(crate) total: u64,
}

/// One role.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RoleLine {
    pub(crate) role: String,
    pub(crate) state: String,
    pub(crate) restarts: u32,
    pub(crate) last_failure: Option<String>,
    pub(crate) memory: Option<u64>,
    pub(crate) lacking: Vec<String>,
}
