//! What crosses the wire between a hub and a gateway: paths, headers, bodies, limits. No I/O; the hub's client
//! and the gateway's server are both written against it, so that neither can drift from the other.
//!
//! | path | body | answer |
//! |---|---|---|
//! | `POST /v1/enrol` | [`Enrol`] | [`Enrolled`] |
//! | `POST /v1/sync` | [`crate::wire::Request`], packed | [`crate::wire::Reply`], packed |
//! | `GET /v1/events` | none | lines of [`Event`], held open |
//! | `GET /v1/time?nonce=HEX` | none | [`TimeStatement`]; needs no key |
//! | `POST /v1/identity` | [`NewIdentity`], under the old key | [`Enrolled`] |
//! | `POST /v1/key` | [`NewKey`], under the old key | [`KeyChanged`] |
//! | `POST /v1/snapshot` | [`SnapshotRequest`], packed | frames of [`Page`] |
//! | `HEAD/GET/PUT /v1/blobs/BLAKE3` | raw bytes, with `Range` or `Content-Range` | raw bytes |
//! | `POST /v1/report` | [`Report`] | [`ReportReply`] |
//! | `PUT/GET /v1/backups/NAME` | opaque bytes | opaque bytes |
//!
//! Bodies are JSON except where "packed" is said (see [`pack`]). Every request of a hub carries
//! [`AUTHORIZATION`] (a [`Credential`]; not for enrolment and time) and [`PROTOCOL_HEADER`]. Every answer of a gateway
//! carries [`GATEWAY_HEADER`]; what does not is somebody else's, see [`problem::failure`].

pub mod credential;
pub mod pack;
pub mod problem;
pub mod protocol;
pub mod time;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use credential::{ApiToken, Credential, EnrolToken, Secret};
pub use problem::{Code, Problem};
pub use protocol::Speaks;
pub use time::TimeStatement;

use crate::{
    BlobId, HubId,
    checksum::Checksum,
    id::CommunityId,
    record::RecordState,
    wire::{Cursor, MAX_RECORDS, MAX_SCOPES, PROTOCOL, Reply, Request, RequestId, ScopeId},
};

/// A one-time token becomes a hub's own key.
pub const ENROL: &str = "/v1/enrol";
/// A round.
pub const SYNC: &str = "/v1/sync";
/// What is newer, as it happens.
pub const EVENTS: &str = "/v1/events";
/// The time, signed.
pub const TIME: &str = "/v1/time";
/// A copied card takes an identity of its own.
pub const IDENTITY: &str = "/v1/identity";
/// A hub takes a new key.
pub const KEY: &str = "/v1/key";
/// Everything, in one stream.
pub const SNAPSHOT: &str = "/v1/snapshot";
/// Files by content; followed by `/` and the hash.
pub const BLOBS: &str = "/v1/blobs";
/// How a hub is.
pub const REPORT: &str = "/v1/report";
/// Encrypted backups; followed by `/` and a name.
pub const BACKUPS: &str = "/v1/backups";

/// The credential: `Bearer ` and [`Credential`]'s text.
pub const AUTHORIZATION: &str = "authorization";
/// On every answer of a gateway, with its version: what does not carry it is not one.
pub const GATEWAY_HEADER: &str = "cairn-gateway";
/// On every request of a hub (`OLDEST-NEWEST`, see [`Speaks`]) and, with the one number chosen, on every answer.
pub const PROTOCOL_HEADER: &str = "cairn-protocol";
/// How much of a file that is being uploaded the gateway has, in bytes.
pub const UPLOADED_HEADER: &str = "cairn-uploaded";

/// Packed bodies.
pub const CBOR: &str = "application/cbor";
/// Other bodies.
pub const JSON: &str = "application/json";
/// Errors, RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Events, one JSON object a line.
pub const LINES: &str = "application/x-ndjson";
/// Pages of a snapshot, see [`pack::frame`].
pub const FRAMES: &str = "application/vnd.cairn.frames";
/// The `Content-Encoding` of compressed bodies.
pub const ZSTD: &str = "zstd";

/// How long the gateway lets a held stream be silent, in milliseconds. Below the minute after which load balancers and
/// home routers forget connections.
pub const HEARTBEAT_MS: u64 = 45_000;
/// A held stream that was silent for so long is dead, in milliseconds.
pub const SILENCE_MS: u64 = 2 * HEARTBEAT_MS + 10_000;
/// Longest line of a held stream in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// Largest JSON body in bytes.
pub const MAX_JSON: usize = 256 * 1024;
/// Largest frame of a snapshot in bytes, compressed.
pub const MAX_FRAME: usize = crate::wire::MAX_BYTES;
/// Largest file in bytes.
pub const MAX_BLOB: u64 = 512 * 1024 * 1024;
/// Largest backup in bytes.
pub const MAX_BACKUP: u64 = 2 * 1024 * 1024 * 1024;
/// Largest piece of a file in one request, in bytes: what a broken connection can cost is bounded by what the gateway
/// stores as it comes, not by this.
pub const MAX_PIECE: u64 = 64 * 1024 * 1024;
/// Most files that a hub waits for, and that a gateway asks for in one answer.
pub const MAX_WANTED: usize = 64;
/// Longest name of a hub in bytes.
pub const MAX_NAME: usize = 100;
/// Longest version text in bytes.
pub const MAX_VERSION: usize = 64;
/// Most lines of a sync log or of update outcomes in one report.
pub const MAX_LOG: usize = 50;
/// Longest free text in a report in bytes.
pub const MAX_NOTE: usize = 500;

// A reply's worst case has to be sent by somebody: limits that contradict each other do not compile.
const _: () = assert!(MAX_RECORDS as usize >= 1 && MAX_SCOPES >= 1);
const _: () = assert!(MAX_JSON > MAX_LOG * 2 * MAX_NOTE);
const _: () = assert!(MAX_PIECE <= MAX_BLOB && MAX_BLOB <= MAX_BACKUP);
const _: () = assert!(SILENCE_MS > HEARTBEAT_MS);

/// A field of a body that is not as it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {wrong}")]
pub struct Invalid {
    field: &'static str,
    wrong: &'static str,
}

/// What checks itself beyond what its types say.
pub trait Checked {
    /// Whether limits are kept.
    ///
    /// # Errors
    /// [`Invalid`] names the first field that does not.
    fn check(&self) -> Result<(), Invalid>;
}

fn line(field: &'static str, text: &str, limit: usize) -> Result<(), Invalid> {
    let invalid = |wrong| Err(Invalid { field, wrong });
    if text.trim().is_empty() {
        invalid("is empty")
    } else if text.len() > limit {
        invalid("is too long")
    } else if text.chars().any(char::is_control) {
        invalid("holds characters that cannot be shown")
    } else {
        Ok(())
    }
}

/// A hub asks to be enrolled. Written down with its key before it is sent and sent again, word for word, until it is
/// answered: the same token with the same hub and key gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrol {
    /// From the maintainer; works for one hub.
    pub token: EnrolToken,
    /// The hub, as it calls itself.
    pub hub: HubId,
    /// The key that it has made and will show from now on.
    pub key: Secret,
    /// For people.
    pub name: String,
    /// Of its software.
    pub version: String,
}

impl Checked for Enrol {
    fn check(&self) -> Result<(), Invalid> {
        line("name", &self.name, MAX_NAME)?;
        line("version", &self.version, MAX_VERSION)
    }
}

/// A hub is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The community that it belongs to; the first part of its credential.
    pub community: CommunityId,
    /// The community's name, for people.
    pub community_name: String,
    /// The hub, as the gateway calls it.
    pub hub: HubId,
    /// The Ed25519 public key by which the gateway signs the time: 32 bytes in hex. Pinned from here on.
    pub time_key: String,
}

/// A card that turned out to be a copy asks for an identity of its own, under the old one's credential. Like enrolment,
/// it is repeated word for word until it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewIdentity {
    /// The new identity.
    pub hub: HubId,
    /// Its key.
    pub key: Secret,
    /// For people.
    pub name: String,
    /// Of its software.
    pub version: String,
}

impl Checked for NewIdentity {
    fn check(&self) -> Result<(), Invalid> {
        line("name", &self.name, MAX_NAME)?;
        line("version", &self.version, MAX_VERSION)
    }
}

/// A hub changes its key, under the old one. The old one works until the new one is used for the first time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// The key that it will show from now on.
    pub key: Secret,
}

impl Checked for NewKey {
    fn check(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

/// The key was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChanged {}

/// A line of the held stream. It never carries data: whoever loses it has lost nothing but time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The community is at this version: whoever knows less may ask.
    Newer(u64),
    /// Hubs that hold a stream now, all of them.
    Present(Vec<Neighbour>),
    /// Somebody waits for a file that the gateway has not got, or one that was waited for is there now: report, and look.
    Files,
    /// Nothing; so that silence means that the connection is dead.
    Beat,
    /// The gateway goes away in an orderly way: connect again, to another instance.
    Drain,
}

/// A hub that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The hub.
    pub hub: HubId,
    /// Its name.
    pub name: String,
}

/// Asks for everything beyond the cursors in one stream. A broken stream goes on from the cursors of the last page that
/// was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRequest {
    /// Up to where each chosen scope is known.
    pub cursors: BTreeMap<ScopeId, Cursor>,
}

impl Checked for SnapshotRequest {
    fn check(&self) -> Result<(), Invalid> {
        let field = "cursors";
        match self.cursors.len() {
            0 => Err(Invalid { field, wrong: "names no scope" }),
            len if len > MAX_SCOPES => Err(Invalid { field, wrong: "names too many scopes" }),
            _ => Ok(()),
        }
    }
}

/// A page of a snapshot, to be taken in as the reply to a request with these cursors and no changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// In the order of their versions.
    pub records: Vec<RecordState>,
    /// Up to where each scope is known with them.
    pub cursors: BTreeMap<ScopeId, Cursor>,
    /// Deletions up to these versions are forgotten.
    #[serde(default)]
    pub horizons: BTreeMap<ScopeId, u64>,
    /// Scopes that are sent from the beginning.
    #[serde(default)]
    pub reread: Vec<ScopeId>,
    /// Scopes that the hub may not have.
    #[serde(default)]
    pub withheld: Vec<ScopeId>,
    /// More pages follow.
    pub more: bool,
    /// What each scope adds up to; only on the last page.
    #[serde(default)]
    pub checksums: BTreeMap<ScopeId, Checksum>,
}

impl Page {
    /// The request that a page with `cursors` asked for answers, so that [`crate::round::take_in`] can judge it. It is
    /// never sent and uses up no ticket.
    #[must_use]
    pub fn asked(hub: HubId, cursors: BTreeMap<ScopeId, Cursor>, ticket: u64) -> Request {
        Request {
            protocol: PROTOCOL,
            hub,
            request: RequestId::from_random([0; 16]),
            ticket,
            changes: Vec::new(),
            cursors,
            floor: 0,
            limit: MAX_RECORDS,
        }
    }

    /// The page as a reply to [`Page::asked`]; the ticket stays what it was.
    #[must_use]
    pub fn into_reply(self, asked: &Request) -> Reply {
        Reply {
            protocol: asked.protocol,
            request: asked.request,
            ticket: asked.ticket,
            outcomes: Vec::new(),
            records: self.records,
            cursors: self.cursors,
            horizons: self.horizons,
            reread: self.reread,
            withheld: self.withheld,
            more: self.more,
            checksums: self.checksums,
        }
    }
}

/// How a hub is: for the fleet page and for rollouts that stop by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// Of its software.
    pub version: String,
    /// The board, as in `hardware/`.
    #[serde(default)]
    pub board: String,
    /// Changes that wait to be sent.
    pub queue: u64,
    /// Conflicts that wait for a person.
    pub conflicts: u64,
    /// Changes that the gateway refused and that are kept aside.
    #[serde(default)]
    pub refused: u64,
    /// Free space for its data, in bytes.
    #[serde(default)]
    pub free_bytes: u64,
    /// The last rounds, oldest first.
    #[serde(default)]
    pub log: Vec<LogLine>,
    /// Updates that were tried since the last report that was answered, oldest first.
    #[serde(default)]
    pub updates: Vec<UpdateOutcome>,
}

impl Checked for Report {
    fn check(&self) -> Result<(), Invalid> {
        line("name", &self.name, MAX_NAME)?;
        line("version", &self.version, MAX_VERSION)?;
        if !self.board.is_empty() {
            line("board", &self.board, MAX_NAME)?;
        }
        if self.log.len() > MAX_LOG || self.updates.len() > MAX_LOG {
            return Err(Invalid { field: "log", wrong: "has too many lines" });
        }
        for text in self.log.iter().map(|line| &line.note).chain(self.updates.iter().map(|line| &line.note)) {
            if text.len() > MAX_NOTE {
                return Err(Invalid { field: "note", wrong: "is too long" });
            }
        }
        for update in &self.updates {
            line("version", &update.version, MAX_VERSION)?;
        }
        Ok(())
    }
}

/// A round in a hub's sync log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it ended, by the hub's clock, in milliseconds since 1970; for people.
    pub at: i64,
    /// Changes sent.
    pub up: u32,
    /// Records received.
    pub down: u32,
    /// How long it took, in milliseconds.
    pub took_ms: u32,
    /// Whether it worked.
    pub worked: bool,
    /// Why not, or what was noticed, for example a scope that did not add up and was read again.
    #[serde(default)]
    pub note: String,
}

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateOutcome {
    /// By the hub's clock, in milliseconds since 1970; for people.
    pub at: i64,
    /// The version that was tried.
    pub version: String,
    /// What became of it.
    pub result: UpdateResult,
    /// Why.
    #[serde(default)]
    pub note: String,
}

/// What can become of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateResult {
    /// Runs, found healthy.
    Healthy,
    /// Was tried and went back by itself.
    RolledBack,
    /// Did not get as far as being tried.
    Failed,
}

/// What the gateway asks of the hub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportReply {
    /// A maintainer wants the hub to change its key (see [`NewKey`]).
    #[serde(default)]
    pub change_key: bool,
    /// Milliseconds until the next report is wanted.
    pub next_ms: u64,
    /// Files that somebody in the community waits for and that the gateway has not got, at most [`MAX_WANTED`]: a hub that has
    /// one of a document that it shares brings it, whatever its size.
    #[serde(default)]
    pub wanted: Vec<BlobId>,
}
