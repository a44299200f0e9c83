//! What the pages and the API need of updates, and cannot know themselves: where they stand, and what a keeper may ask. The binary
//! implements it with the uplink and the supervisor.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Updates of the device's system. The binary implements it.
pub trait Updates: Send + Sync + 'static {
    /// Where they stand. Cheap: it is asked on many pages.
    fn status(&self) -> UpdateStatus;

    /// Asks for something. Returns at once; what comes of it shows in the status.
    ///
    /// # Errors
    /// In words for people.
    fn ask(&self, ask: UpdateAsk) -> Result<(), UpdatesError>;

    /// Where uploaded files of a repository rest: a private folder with the folders `metadata` and `targets`.
    fn incoming(&self) -> PathBuf;

    /// The repository that other hubs may read, while the keeper passes updates on.
    fn mirror(&self) -> Option<PathBuf>;
}

/// What a keeper may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateAsk {
    /// Look at the repository now.
    Look,
    /// Install what is offered, and restart, without waiting.
    Now,
    /// Forget that this version failed.
    TryAgain(String),
    /// From now on do so.
    Wishes(UpdateWishes),
    /// Look at what was uploaded.
    LookAtUpload,
    /// Look at the stick that is plugged in.
    LookAtStick,
    /// Look at what another hub passes on: its address.
    LookAtHub(String),
    /// Fetch a model or a pack for the library, and keep it up to date.
    Choose(UpdatePackName),
    /// Keep it up to date no longer; what is in place stays.
    Leave(UpdatePackName),
}

/// What a pack is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdatePackKind {
    /// A model.
    Model,
    /// For the library.
    Content,
}

/// Which pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdatePackName {
    /// What it is for.
    pub kind: UpdatePackKind,
    /// Its name.
    pub name: String,
}

/// A model or a pack for the library that the repository offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdatePack {
    /// Which.
    pub pack: UpdatePackName,
    /// Grows with each publication.
    pub revision: u64,
    /// For people; may be empty.
    pub title: String,
    /// Memory that it needs to be of use, in MiB; 0 where that does not matter.
    pub memory_mib: u64,
    /// Size of its file, in bytes.
    pub bytes: u64,
    /// Whether it is kept up to date.
    pub chosen: bool,
    /// The revision in place; 0 for none.
    pub installed: u64,
    /// Bytes that have come of the one that is being fetched.
    pub coming: Option<u64>,
    /// Why it is not in place.
    pub trouble: Option<String>,
}

/// What a keeper decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateWishes {
    /// Nothing is looked for, fetched or installed by itself.
    pub paused: bool,
    /// The connection costs money: nothing large is fetched by itself.
    pub metered: bool,
    /// Hour of the day (0–23, UTC) from which the hub may restart by itself.
    #[schema(maximum = 23)]
    pub window_from: u8,
    /// Hour of the day until which it may; the same hour means at any time.
    #[schema(maximum = 23)]
    pub window_until: u8,
    /// What was verified is passed on to other hubs on the local network.
    pub share: bool,
}

/// Where updates stand, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdatePhase {
    /// Nothing newer is known.
    Current,
    /// A newer version is known and waits: for its turn, or for a keeper.
    Offered,
    /// It is being fetched and written.
    Installing,
    /// It is written and checked, and waits for the restart.
    Ready,
    /// The running version has yet to prove itself.
    OnTrial,
    /// The keeper has paused updates.
    Paused,
}

impl UpdatePhase {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Current, Self::Offered, Self::Installing, Self::Ready, Self::OnTrial, Self::Paused];

    /// Its name in figures.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Offered => "offered",
            Self::Installing => "installing",
            Self::Ready => "ready",
            Self::OnTrial => "on_trial",
            Self::Paused => "paused",
        }
    }
}

/// A version that is on offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateOffer {
    /// Which.
    pub version: String,
    /// What is new, in words for people.
    pub notes: String,
    /// Whether it is installed by itself now.
    pub turn: bool,
    /// Whether somebody brought it: a stick, an upload, another hub.
    pub by_hand: bool,
    /// Whether it failed here before.
    pub failed_before: bool,
}

/// A version that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateFailure {
    /// Which.
    pub version: String,
    /// Which part of the new system was unfit, by name; nothing when it never came so far as to say.
    pub part: Option<String>,
    /// Why.
    pub reason: String,
}

/// How far an install is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateProgress {
    /// Bytes to fetch.
    pub to_fetch: u64,
    /// Bytes fetched.
    pub fetched: u64,
    /// Bytes of the new version that were on the card already.
    pub held: u64,
}

/// Whether other hubs can have the newest version from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateSharing {
    /// The keeper has not asked for it.
    Off,
    /// The copy is being made.
    Copying,
    /// They can.
    Ready,
    /// The copy could not be made; why.
    Failed(String),
}

/// Where updates stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct UpdateStatus {
    /// In one word.
    pub phase: UpdatePhase,
    /// The version that runs.
    pub running: String,
    /// The slot that it runs from.
    pub slot: Option<String>,
    /// What is on offer.
    pub offer: Option<UpdateOffer>,
    /// The version that is being written or is ready.
    pub next: Option<String>,
    /// How far it is.
    pub progress: Option<UpdateProgress>,
    /// The version that was last confirmed here.
    pub confirmed: Option<String>,
    /// Whether the last attempt brought the old system back.
    pub came_back: bool,
    /// What failed and is not tried again by itself, newest last.
    pub failed: Vec<UpdateFailure>,
    /// Why the last look or install did not work.
    pub trouble: Option<String>,
    /// Seconds since the repository was last looked at.
    pub looked_s: Option<u64>,
    /// Whether nobody can say that there is nothing newer.
    pub unproven: bool,
    /// Models and packs for the library that the repository offered when it was looked at.
    pub packs: Vec<UpdatePack>,
    /// Whether there is a repository on the network.
    pub network: bool,
    /// Whether a stick can be looked at.
    pub stick: bool,
    /// What the keeper decided.
    pub wishes: UpdateWishes,
    /// Whether other hubs can have the newest version from here.
    pub sharing: UpdateSharing,
}

/// Why something was not done, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UpdatesError(pub String);
