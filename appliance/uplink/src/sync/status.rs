//! What is told of synchronisation, for pages and commands.

use cairn_store::SyncFigures;

use super::Ways;

/// What synchronisation is doing, for pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The hub is not enrolled with a gateway.
    NotEnrolled,
    /// It is enrolled, and its keeper wants to work without the gateway.
    Local,
    /// Nothing to do until the next event.
    Idle,
    /// A round is under way.
    Busy,
    /// The last round failed; another one follows by itself.
    Waiting,
    /// It stopped until a person does something; why, in words.
    Stopped(String),
}

/// Where synchronisation stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// The gateway's address, where the hub is enrolled.
    pub gateway: Option<String>,
    /// The community's name.
    pub community: Option<String>,
    /// When and how.
    pub ways: Ways,
    /// What is left.
    pub figures: SyncFigures,
    /// When the last round worked, by the best known time, in milliseconds since 1970.
    pub last_success_ms: Option<u64>,
    /// Why the last round failed, where it did.
    pub trouble: Option<String>,
    /// Whether a held stream stands.
    pub live: bool,
    /// Hubs that hold a stream too, by name.
    pub present: Vec<String>,
}
