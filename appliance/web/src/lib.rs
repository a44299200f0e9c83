//! The hub's pages and HTTP API on the local network: whoever holds a browser or speaks HTTP comes through here.
//!
//! Stands on `library`, `inference` and `store`; the binary `cairn` may depend on it. It decides nothing about
//! permissions (the store does) and knows the process around it only through [`Host`].

#![forbid(unsafe_code)]

mod api;
mod assets;
mod events;
mod forms;
mod host;
mod hub;
mod i18n;
mod limits;
mod metrics;
mod middleware;
mod pages;
mod peer;
mod problem;
mod session;
mod updates;
mod uplink;

use axum::Router;

pub use api::openapi;
pub use host::{
    Captive, CardFacts, Confined, Connectivity, DeviceAct, DeviceFacts, Host, HostError, HostFacts, HostRole,
    Usage,
};
pub use hub::Hub;
pub use peer::Peer;
pub use problem::{FieldError, Problem, ProblemKind};
pub use updates::{
    UpdateAsk, UpdateFailure, UpdateOffer, UpdatePack, UpdatePackKind, UpdatePackName, UpdatePhase,
    UpdateProgress, UpdateSharing, UpdateStatus, UpdateWishes, Updates, UpdatesError,
};
pub use uplink::{Uplink, UplinkError, UplinkMode, UplinkState, UplinkStatus};

/// Everything that the hub serves.
///
/// Serve it with `into_make_service_with_connect_info::<Peer>()`: limits and cookies depend on who is at the
/// other end.
pub fn router(hub: Hub) -> Router {
    let routes = Router::new()
        .merge(api::routes())
        .merge(pages::routes())
        .merge(assets::routes())
        .fallback(api::nothing_here)
        .method_not_allowed_fallback(api::wrong_method)
        .with_state(hub.clone());
    middleware::around(routes, &hub)
}
