//! How often one address may ask and one account may change something. The device itself is not limited: the
//! supervisor and the command line must get through when strangers keep the hub busy.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{hub::Hub, peer::Peer, session::Identity};

pub(super) async fn by_address(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let peer = Peer::of(request.extensions());
    if !peer.is_loopback()
        && let Err(problem) = hub.shared.limits.request(peer.client())
    {
        return problem.into_response();
    }
    next.run(request).await
}

pub(super) async fn by_account(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let person = request.extensions().get::<Identity>().and_then(|identity| identity.viewer.person());
    if let Some(person) = person
        && !request.method().is_safe()
        && let Err(problem) = hub.shared.limits.change(person)
    {
        return problem.into_response();
    }
    next.run(request).await
}
