//! Synchronisation with the gateway: the engine's session and rounds, driven over HTTPS.
//!
//! The hub dials out and shows its own key; nothing listens. What goes over the wire is said by `cairn_sync::http`, when
//! to talk by `cairn_sync::session`, what a reply does by the store. Here is what connects them to sockets and clocks.

mod client;
mod driver;
mod enrol;
mod events;
mod files;
mod fill;
mod report;
mod rounds;
mod status;
mod time;

use cairn_sync::{
    CommunityId, HubId,
    http::{Credential, Secret},
    session::Way,
};
use serde::{Deserialize, Serialize};

pub use client::{Client, ClientError, GatewayUrl, Transport, UrlError, http_client};
pub use driver::{Running, Sync, Tempo};
pub use enrol::{EnrolError, enrol};
pub use report::About;
pub(crate) use report::shortened;
pub use status::{State, Status};
pub use time::{BestTime, SystemClock};

/// With which gateway a hub is enrolled. Kept by the store; never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Where the gateway is.
    pub url: String,
    /// The community.
    pub community: CommunityId,
    /// Its name, for people.
    pub community_name: String,
    /// Who this hub is to the gateway.
    pub hub: HubId,
    /// Its key.
    pub key: Secret,
    /// The gateway's key for the time: 32 bytes in hex.
    pub time_key: String,
    /// The storage epoch in which this was agreed. In another one (a restored backup) the hub takes a new identity
    /// before anything else, because the gateway has seen things of the old one that the backup does not know.
    pub epoch: HubId,
    /// Plain HTTP to this very machine was asked for at enrolment, by a developer.
    #[serde(default)]
    pub plain_loopback: bool,
}

impl Enrolment {
    /// What may be dialled.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        if self.plain_loopback { Transport::PlainLoopback } else { Transport::Https }
    }

    /// What every request shows.
    #[must_use]
    pub fn credential(&self) -> Credential {
        Credential { community: self.community, hub: self.hub, key: self.key.clone() }
    }
}

/// Where the records live (S3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Only here: the gateway is not talked to.
    Local,
    /// Here and at the gateway.
    #[default]
    Hybrid,
    /// At the gateway, with this hub as a cache: whoever writes here waits for the gateway too, for a moment, and where it
    /// cannot be reached the queue keeps what was written.
    Cloud,
}

/// When the hub talks to its gateway, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ways {
    /// Where the records live.
    pub mode: Mode,
    /// When.
    pub way: Way,
    /// Files up to this size are fetched by themselves, in bytes; larger ones when somebody asks.
    pub fetch_up_to: u64,
}

/// How often a periodic hub talks to its gateway where nobody said otherwise, in milliseconds.
pub const PERIOD_MS: u64 = 15 * 60 * 1000;

impl Default for Ways {
    fn default() -> Self {
        Self { mode: Mode::Hybrid, way: Way::Periodic { every_ms: PERIOD_MS }, fetch_up_to: 4 << 20 }
    }
}

impl Ways {
    /// The way that counts: a cache in front of the gateway is live, whatever is set.
    #[must_use]
    pub const fn in_force(&self) -> Way {
        match self.mode {
            Mode::Cloud => Way::Live,
            Mode::Local | Mode::Hybrid => self.way,
        }
    }
}

/// 16 or 32 random bytes from the system.
fn random<const N: usize>() -> Result<[u8; N], ClientError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| ClientError::Random(error.to_string()))?;
    Ok(bytes)
}
