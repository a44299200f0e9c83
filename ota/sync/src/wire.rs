//! One round trip: changes go up, what is newer comes down.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::{
    ChangeId, HubId, RecordId, authority::Outcome, change::Change, checksum::Checksum, id::IdError,
    record::RecordState,
};

/// The protocol that this code speaks.
pub const PROTOCOL: u16 = 1;
/// The oldest protocol that it can serve.
pub const OLDEST_PROTOCOL: u16 = 1;
/// Most changes in one request.
pub const MAX_CHANGES: usize = 500;
/// Most records in one reply.
pub const MAX_RECORDS: u32 = 1_000;
/// Most scopes in one request.
pub const MAX_SCOPES: usize = 1_000;
/// Largest request or reply in bytes, uncompressed.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What is synchronised as one: the hub as a whole, or one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ScopeId {
    /// Everything that belongs to no project.
    Community,
    /// One project's records.
    Project(RecordId),
}

impl From<Option<RecordId>> for ScopeId {
    fn from(project: Option<RecordId>) -> Self {
        project.map_or(Self::Community, Self::Project)
    }
}

impl fmt::Display for ScopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Community => f.write_str("community"),
            Self::Project(project) => project.fmt(f),
        }
    }
}

impl FromStr for ScopeId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text == "community" { Ok(Self::Community) } else { text.parse().map(Self::Project) }
    }
}

impl Serialize for ScopeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScopeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Names a request, so that sending it again is told apart from another party under the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Uuid);

impl RequestId {
    /// From 16 random bytes.
    #[must_use]
    pub const fn from_random(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

/// Up to where a hub knows a scope.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Every change up to this version is known; 0 where nothing is.
    pub version: u64,
    /// What the gateway had forgotten when this reading of the scope began. Where it has forgotten more since,
    /// a hub that is not past that has to begin anew, or it would keep what was deleted meanwhile.
    pub horizon: u64,
}

impl Cursor {
    /// Whether a scope has to be read from the beginning by a hub that stands here.
    #[must_use]
    pub const fn must_begin_anew(self, horizon: u64) -> bool {
        self.version == 0 || (self.version < horizon && self.horizon != horizon)
    }
}

/// From a hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The newest protocol that the hub speaks.
    pub protocol: u16,
    /// The hub.
    pub hub: HubId,
    /// Written down before it is sent; the same again until it is answered.
    pub request: RequestId,
    /// From the last reply that the hub took in; 0 at first. Two cards that are copies of each other part here.
    pub ticket: u64,
    /// Changes, oldest first.
    pub changes: Vec<Change>,
    /// Up to where each chosen scope is known.
    pub cursors: BTreeMap<ScopeId, Cursor>,
    /// No change that this hub will still send was made by somebody who knew less than this version.
    pub floor: u64,
    /// Most records wanted.
    pub limit: u32,
}

/// From the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The protocol of this reply.
    pub protocol: u16,
    /// Which request it answers.
    pub request: RequestId,
    /// For the next request.
    pub ticket: u64,
    /// Answers to the changes, in their order.
    pub outcomes: Vec<(ChangeId, Outcome)>,
    /// Newer records, in the order of their versions.
    pub records: Vec<RecordState>,
    /// Up to where each scope is known with them.
    pub cursors: BTreeMap<ScopeId, Cursor>,
    /// Deletions up to these versions are forgotten: hub and gateway drop what is left of them.
    #[serde(default)]
    pub horizons: BTreeMap<ScopeId, u64>,
    /// Scopes that are sent from the beginning. What the hub holds of them and is not sent again is gone.
    #[serde(default)]
    pub reread: Vec<ScopeId>,
    /// Scopes that the hub may not have.
    #[serde(default)]
    pub withheld: Vec<ScopeId>,
    /// There is more to fetch.
    pub more: bool,
    /// What each scope adds up to at its cursor; only where there is no more to fetch.
    #[serde(default)]
    pub checksums: BTreeMap<ScopeId, Checksum>,
}
