//! What the pages need of synchronisation, and cannot know themselves: where it stands, and the few things that a
//! keeper may ask of it. The binary implements it with the uplink; records and conflicts come from the store.

use cairn_store::{Secret, SyncFigures};
use cairn_sync::session::Way;
use futures::future::BoxFuture;

/// Synchronisation with a gateway. The binary implements it.
///
/// Futures are `'static` so that a request that is cancelled does not stop half an enrolment.
pub trait Uplink: Send + Sync + 'static {
    /// Where it stands. Cheap: it is asked on every page.
    fn status(&self) -> UplinkStatus;

    /// Asks for a round. Returns at once.
    fn now(&self);

    /// Waits for a moment until the gateway has what was just written here. It gives up soon where the gateway cannot be
    /// reached: what was written is safe and follows by itself.
    fn through(&self) -> BoxFuture<'static, ()>;

    /// Sets where the records live, when they are exchanged, and up to which size files come and go by themselves, in bytes.
    fn set_ways(
        &self,
        mode: UplinkMode,
        way: Way,
        files_up_to: u64,
    ) -> BoxFuture<'static, Result<(), UplinkError>>;

    /// Turns a one-time token into this hub's own key at the gateway of this address.
    fn enrol(&self, url: String, token: Secret) -> BoxFuture<'static, Result<(), UplinkError>>;
}

/// Where the records live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UplinkMode {
    /// Only here: the gateway is not talked to.
    Local,
    /// Here and at the gateway.
    #[default]
    Hybrid,
    /// At the gateway, with this hub as a cache.
    Cloud,
}

/// What synchronisation is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UplinkState {
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
pub struct UplinkStatus {
    /// What it does.
    pub state: UplinkState,
    /// The gateway's address, where the hub is enrolled.
    pub gateway: Option<String>,
    /// The community's name.
    pub community: Option<String>,
    /// Where the records live.
    pub mode: UplinkMode,
    /// When they are exchanged.
    pub way: Way,
    /// Files up to this size come and go by themselves, in bytes.
    pub files_up_to: u64,
    /// What is left.
    pub figures: SyncFigures,
    /// When the last round worked, in milliseconds since 1970.
    pub last_success_ms: Option<i64>,
    /// Why the last round failed, where it did.
    pub trouble: Option<String>,
    /// Whether a held connection stands.
    pub live: bool,
    /// Hubs that hold one too, by name.
    pub present: Vec<String>,
}

impl UplinkStatus {
    /// A hub that nothing was told of a gateway.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            state: UplinkState::NotEnrolled,
            gateway: None,
            community: None,
            mode: UplinkMode::default(),
            way: Way::OnDemand,
            files_up_to: 0,
            figures: SyncFigures::default(),
            last_success_ms: None,
            trouble: None,
            live: false,
            present: Vec::new(),
        }
    }

    /// Whether the hub is enrolled with a gateway.
    #[must_use]
    pub const fn enrolled(&self) -> bool {
        self.gateway.is_some()
    }
}

/// Why something was not done, in words for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UplinkError(pub String);
