//! Signatures whose bodies are being moved to their modules.
#![allow(missing_docs, clippy::todo, clippy::unused_async, unused_variables)]

use std::{fs::File, io::{Read, Write}, path::Path, sync::Arc};
use std::collections::BTreeMap;
use tokio::sync::broadcast;
use cairn_sync::*;
use crate::*;

impl Store {
    pub fn open(dir: &Path, options: OpenOptions) -> Result<(Store, OpenReport)> { todo!() }
    pub fn close(&self) { todo!() }
    pub async fn create(&self, viewer: &Viewer, kind: Kind, project: Option<RecordId>, fields: Fields, change: Option<ChangeId>) -> Result<Record> { todo!() }
    pub async fn update(&self, viewer: &Viewer, id: RecordId, fields: Fields, base: Option<u64>, change: Option<ChangeId>) -> Result<Record> { todo!() }
    pub async fn delete(&self, viewer: &Viewer, id: RecordId, change: Option<ChangeId>) -> Result<()> { todo!() }
    pub async fn restore_record(&self, viewer: &Viewer, id: RecordId, change: Option<ChangeId>) -> Result<Record> { todo!() }
    pub async fn get(&self, viewer: &Viewer, id: RecordId) -> Result<Record> { todo!() }
    pub async fn get_many(&self, viewer: &Viewer, ids: &[RecordId]) -> Result<Vec<Record>> { todo!() }
    pub async fn list(&self, viewer: &Viewer, query: ListQuery) -> Result<Page<Record>> { todo!() }
    pub async fn history(&self, viewer: &Viewer, id: RecordId, after: Option<Cursor>, limit: u16) -> Result<Page<HistoryEntry>> { todo!() }
    pub async fn counts(&self, viewer: &Viewer) -> Result<BTreeMap<Kind, u64>> { todo!() }
    pub async fn may(&self, viewer: &Viewer, action: Action, on: impl Into<On>) -> Result<bool> { todo!() }
    pub async fn project_role(&self, viewer: &Viewer, project: RecordId) -> Result<Option<ProjectRole>> { todo!() }
    pub fn subscribe(&self) -> broadcast::Receiver<RecordChanged> { todo!() }
    pub async fn visible(&self, viewer: &Viewer, change: &RecordChanged) -> Result<bool> { todo!() }

    pub async fn setup_state(&self) -> Result<SetupState> { todo!() }
    pub async fn claim(&self, code: &str, account: NewAccount, hub_name: &str, language: &str) -> Result<Record> { todo!() }
    pub async fn sign_up(&self, account: NewAccount, by: SignUp) -> Result<Record> { todo!() }
    pub async fn add_account(&self, viewer: &Viewer, account: NewAccount, role: Role) -> Result<Record> { todo!() }
    pub async fn invite(&self, viewer: &Viewer, role: Role, valid_ms: u64) -> Result<InvitationCode> { todo!() }
    pub async fn invitations(&self, viewer: &Viewer) -> Result<Vec<Invitation>> { todo!() }
    pub async fn revoke_invitation(&self, viewer: &Viewer, id: u64) -> Result<()> { todo!() }
    pub async fn invitation_role(&self, code: &InvitationCode) -> Result<Option<Role>> { todo!() }
    pub async fn find_login(&self, login: &str) -> Result<Option<Login>> { todo!() }
    pub async fn set_password_hash(&self, viewer: &Viewer, person: RecordId, hash: Secret) -> Result<()> { todo!() }
    pub async fn open_session(&self, person: RecordId, ttl_ms: Option<u64>) -> Result<SessionToken> { todo!() }
    pub async fn viewer_for_session(&self, token: &SessionToken) -> Result<Option<Viewer>> { todo!() }
    pub async fn close_session(&self, token: &SessionToken) -> Result<()> { todo!() }
    pub async fn close_sessions_of(&self, viewer: &Viewer, person: RecordId) -> Result<u64> { todo!() }
    pub async fn create_api_token(&self, viewer: &Viewer, name: &str, ttl_ms: u64) -> Result<ApiToken> { todo!() }
    pub async fn api_tokens(&self, viewer: &Viewer) -> Result<Vec<ApiTokenInfo>> { todo!() }
    pub async fn revoke_api_token(&self, viewer: &Viewer, id: u64) -> Result<()> { todo!() }
    pub async fn viewer_for_token(&self, token: &str) -> Result<Option<Viewer>> { todo!() }

    pub async fn settings(&self) -> Result<Settings> { todo!() }
    pub async fn set_settings(&self, viewer: &Viewer, settings: Settings) -> Result<()> { todo!() }

    pub fn blob_writer(&self, limit: u64) -> Result<BlobWriter> { todo!() }
    pub async fn open_file(&self, viewer: &Viewer, document: RecordId) -> Result<(File, FileMeta)> { todo!() }
    pub async fn collect_garbage(&self) -> Result<Garbage> { todo!() }

    pub async fn put_passages(&self, document: RecordId, blob: BlobId, extractor_version: u32, passages: Vec<Passage>) -> Result<()> { todo!() }
    pub async fn mark_failed(&self, document: RecordId, blob: BlobId, extractor_version: u32, reason: &str) -> Result<()> { todo!() }
    pub async fn pending_documents(&self, extractor_version: u32, limit: usize) -> Result<Vec<PendingDocument>> { todo!() }
    pub async fn document_index(&self, viewer: &Viewer, document: RecordId) -> Result<DocumentIndex> { todo!() }
    pub async fn pending_embeddings(&self, limit: usize) -> Result<Vec<(PassageId, String)>> { todo!() }
    pub async fn put_embeddings(&self, embeddings: Vec<(PassageId, Vec<f32>)>) -> Result<()> { todo!() }
    pub async fn search_text(&self, viewer: &Viewer, query: &str, limit: usize) -> Result<Vec<Scored>> { todo!() }
    pub async fn search_vector(&self, viewer: &Viewer, query: &[f32], limit: usize) -> Result<Vec<Scored>> { todo!() }
    pub async fn passages(&self, viewer: &Viewer, ids: &[PassageId]) -> Result<Vec<StoredPassage>> { todo!() }
    pub async fn passages_of(&self, viewer: &Viewer, document: RecordId, after: Option<u32>, limit: usize) -> Result<Vec<StoredPassage>> { todo!() }
    pub async fn index_progress(&self) -> Result<IndexProgress> { todo!() }

    pub async fn backup(&self, viewer: &Viewer, to: Box<dyn Write + Send>, passphrase: Secret, progress: Progress) -> Result<BackupSummary> { todo!() }
    pub async fn stage_restore(&self, viewer: &Viewer, from: Box<dyn Read + Send>, passphrase: Secret, progress: Progress) -> Result<BackupSummary> { todo!() }
    pub async fn snapshot(&self) -> Result<SnapshotTaken> { todo!() }
    pub async fn health(&self) -> Health { todo!() }
    pub async fn support_facts(&self, viewer: &Viewer) -> Result<SupportFacts> { todo!() }
    pub async fn outbox_len(&self) -> Result<u64> { todo!() }
    pub fn hub_id(&self) -> HubId { todo!() }
}

pub fn restore(from: &Path, passphrase: &Secret, dir: &Path, progress: &Progress) -> Result<BackupSummary> { todo!() }

/// A record, or a place where one could be.
pub enum On { Record(Box<Record>), Place(Kind, Option<RecordId>) }
impl From<&Record> for On { fn from(record: &Record) -> Self { Self::Record(Box::new(record.clone())) } }
impl From<(Kind, Option<RecordId>)> for On { fn from((kind, project): (Kind, Option<RecordId>)) -> Self { Self::Place(kind, project) } }
pub struct Garbage { pub files: u64, pub bytes: u64 }
pub struct SnapshotTaken { pub path: std::path::PathBuf, pub bytes: u64 }
#[derive(Debug, Clone)]
pub struct FileMeta { pub blob: BlobId, pub file_name: String, pub media_type: String, pub size: u64, pub title: String }
pub struct BlobWriter { }
impl BlobWriter { pub fn write(&mut self, bytes: &[u8]) -> Result<()> { todo!() } pub fn written(&self) -> u64 { todo!() } pub fn finish(self) -> Result<BlobId> { todo!() } }
#[derive(Clone, Default)]
pub struct Progress { pub report: Option<Arc<dyn Fn(BackupProgress) + Send + Sync>> }
#[derive(Debug, Clone, Copy)]
pub struct BackupProgress { pub done_bytes: u64, pub total_bytes: u64 }
#[derive(Debug, Clone)]
pub struct BackupSummary { pub records: u64, pub files: u64, pub bytes: u64 }
#[derive(Debug, Clone, serde::Serialize)]
pub struct Health { pub database_connected: bool, pub schema_version: u32, pub wal_bytes: u64, pub queued_person: usize, pub queued_sync: usize, pub queued_index: usize, pub slow_statements: u64, pub outbox: u64 }
#[derive(Debug, Clone, serde::Serialize)]
pub struct SupportFacts { pub health: Health, pub counts: BTreeMap<String, u64>, pub settings: serde_json::Value }
#[derive(Debug, thiserror::Error)]
pub enum BackupError { #[error("passphrase")] WrongPassphrase }
#[derive(Default)]
pub struct OpenOptions { pub claim_code: Option<String> }
#[derive(Debug, Clone, serde::Serialize)]
pub struct OpenReport { pub findings: Vec<Finding> }
/// One thing that opening found or did, for the page.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Finding { pub severity: Severity, pub text: String, pub advice: String }
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Severity { Note, Repaired, Lost }
#[derive(Clone)]
pub struct Store { }
