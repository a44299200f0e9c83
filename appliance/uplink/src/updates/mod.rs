//! Updates, as far as the network-facing process takes part: look, wait for its turn, fetch into the slot that it was given, and ask
//! for the restart at a good time.
//!
//! [`policy`] decides purely; [`fetch`] brings bytes, from HTTPS, a stick or an upload; [`install`] writes a system through them;
//! [`files`] brings whole files and [`packs`] the models and content packs among them, [`mirror`] keeps what is passed on to the next hub, [`outcomes`] what the gateway is to hear; [`service`] is the loop. Whom to
//! believe is said by a [`Repository`] ([`repository`] is the one over TUF), what needs privileges is done by [`Privileged`]: the supervisor,
//! which checks again what was written here.

pub mod fetch;
pub mod files;
pub mod install;
pub mod mirror;
pub mod outcomes;
pub mod packs;
pub mod policy;
pub mod repository;
pub mod service;
mod sharing;

use std::{path::PathBuf, sync::Arc, time::Duration};

use cairn_bundle::{Listing, Version};
use cairn_slots::{FileDevice, SlotPair, record::Record};
use futures::future::BoxFuture;

use fetch::Transport;

/// Where a hub serves what it passes on.
pub const HUB_MIRROR: &str = "/updates/mirror";
/// How long an address may take to answer a probe.
const PROBE_WITHIN: Duration = Duration::from_secs(30);

/// Asks addresses whether they answer, for the proof of a new system.
#[derive(Debug, Clone)]
pub struct Probing(pub reqwest::Client);

impl Probing {
    /// Whether `address` answers with success.
    ///
    /// # Errors
    /// What it does instead, in words.
    pub async fn answers(&self, address: &str) -> Result<(), String> {
        let sent = tokio::time::timeout(PROBE_WITHIN, self.0.get(address).send()).await;
        let answer = sent.map_err(|_| format!("{address} does not answer"))?.map_err(|error| {
            format!("{address} does not answer: {}", repository::deepest(&error.without_url()))
        })?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(format!("{address} answers {}", answer.status()))
        }
    }
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Where the image says.
    Network,
    /// In a folder: what was uploaded, or a stick.
    Folder(PathBuf),
    /// At another hub that passes on what it has verified: the address below which the files are.
    Hub(String),
}

impl Origin {
    /// The hub at `address`, as a person writes it.
    #[must_use]
    pub fn hub(address: &str) -> Option<Self> {
        let address = address.trim();
        let address = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let url = reqwest::Url::parse(&address).ok()?;
        let plain =
            matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none();
        let url = url.join(HUB_MIRROR).ok().filter(|url| plain && url.has_host())?;
        Some(Self::Hub(url.into()))
    }

    /// Whether somebody brought it, and with it wants what it holds.
    #[must_use]
    pub const fn by_hand(&self) -> bool {
        !matches!(self, Self::Network)
    }
}

/// A published system that this hub may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What was signed of it; deltas are named by where they are in the repository.
    pub listing: Listing,
    /// Where the bundle is in the repository.
    pub target: String,
    /// What is new, in words for people.
    pub notes: String,
    /// Whether this hub's turn in the rollout had come when it was looked at.
    pub turn: Turn,
}

/// Whether a rollout has come to this hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It has.
    Come,
    /// Not yet.
    NotYet,
    /// It comes at this time, in seconds since 1970.
    At(u64),
    /// The rollout is paused or stopped.
    Held,
}

impl Turn {
    /// What it is at `now`, in seconds since 1970.
    #[must_use]
    pub fn at(self, now: u64) -> Self {
        match self {
            Self::At(time) if time <= now => Self::Come,
            Self::At(_) => Self::NotYet,
            other => other,
        }
    }
}

/// What a look at a repository brought.
#[derive(Clone)]
pub struct Found {
    /// A system that is newer than what runs.
    pub offer: Option<Offer>,
    /// The newest system for this board, whatever runs here: what can be passed on.
    pub newest: Option<files::Wanted>,
    /// Systems that nobody is to take, or not yet.
    pub withdrawn: Vec<Version>,
    /// Models and content packs: of each name the newest revision.
    pub packs: Vec<packs::Offered>,
    /// How to get its files.
    pub transport: Arc<dyn Transport>,
    /// Whether nobody can say that there is nothing newer: it came by hand, or the time is not known.
    pub unproven: bool,
}

/// What was signed, by whom this hub believes.
pub trait Repository: Send + Sync {
    /// Looks for something newer than `running`.
    fn check(&self, running: Version, origin: Origin) -> BoxFuture<'_, Result<Found, String>>;

    /// Whether there is a [`Origin::Network`] at all.
    fn has_network(&self) -> bool {
        true
    }
}

/// What the supervisor does for updates.
pub trait Privileged: Send + Sync {
    /// Handles: to read the running slot, and to write the other one, which is on trial no longer.
    fn open(&self) -> BoxFuture<'_, Result<SlotPair<FileDevice, FileDevice>, String>>;

    /// Reads the written slot back, compares it with what was signed, and makes the next start try it. `evidence` is the
    /// folder with the signed metadata and the bundle's manifest.
    fn try_new(&self, evidence: PathBuf) -> BoxFuture<'_, Result<(), String>>;

    /// Restarts into what was made ready.
    fn restart(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Forgets that a version failed.
    fn try_again(&self, version: Version) -> BoxFuture<'_, Result<(), String>>;

    /// What is remembered of earlier updates.
    fn record(&self) -> Record;

    /// Whether the running system is known and has nothing left to prove.
    fn settled(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_is_named_by_an_address_and_nothing_else() {
        let found = |text: &str| match Origin::hub(text) {
            Some(Origin::Hub(url)) => url,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(found(" 192.168.1.20 "), "http://192.168.1.20/updates/mirror");
        assert_eq!(found("http://cairn.local:8080/settings"), "http://cairn.local:8080/updates/mirror");
        for odd in ["", "ftp://x", "file:///etc/passwd", "http://a:b@c", "http://"] {
            assert_eq!(Origin::hub(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_turn_comes_with_time() {
        assert_eq!(Turn::At(10).at(9), Turn::NotYet);
        assert_eq!(Turn::At(10).at(10), Turn::Come);
        assert_eq!(Turn::Held.at(10), Turn::Held);
    }
}
