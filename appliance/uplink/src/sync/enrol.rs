//! How a hub gets its own key: from a one-time token, and beside a copy of its card from its old key.
//!
//! What is sent is written down first and sent again word for word until it is answered, so that an answer that gets lost
//! costs neither the token nor an identity.

use std::sync::Arc;

use cairn_store::{Fact, Store, StoreError};
use cairn_sync::{
    HubId,
    http::{ENROL, Enrol, EnrolToken, Enrolled, IDENTITY, KEY, KeyChanged, NewIdentity, NewKey, Secret},
};
use serde::{Deserialize, Serialize};

use super::{BestTime, Client, ClientError, Enrolment, GatewayUrl, Transport, UrlError, random};

/// What was begun.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Begun {
    Enrol { url: String, body: Enrol },
    Identity { body: NewIdentity },
}

/// Why a hub was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token cannot be read.
    #[error("this is not an enrolment token")]
    Token,
    /// The address is not one of a gateway.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The gateway did not, or could not be reached. Trying again with the same token is safe.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Turns a one-time token into this hub's own key.
///
/// # Errors
/// [`EnrolError`]; nothing changes then.
pub async fn enrol(
    store: &Store,
    clock: &Arc<BestTime>,
    token: &str,
    url: &str,
    transport: Transport,
    name: &str,
) -> Result<Enrolment, EnrolError> {
    let token: EnrolToken = token.trim().parse().map_err(|_| EnrolError::Token)?;
    let url = GatewayUrl::parse(url, transport)?;
    let body = match store.sync_fact::<Begun>(Fact::Begun).await? {
        Some(Begun::Enrol { url: before, body }) if before == url.text() && body.token == token => body,
        _ => {
            let body = Enrol {
                token,
                // A hub that was enrolled elsewhere starts there under its own name; here under a fresh one.
                hub: HubId::new(),
                key: Secret::from_random(random()?),
                name: name.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            let begun = Begun::Enrol { url: url.text().to_owned(), body: body.clone() };
            store.set_sync_fact(Fact::Begun, Some(&begun)).await?;
            body
        }
    };
    let client = Client::stranger(url.clone(), clock)?;
    let enrolled: Enrolled = client.json(ENROL, &body).await?;
    let enrolment = agreed(store, url.text(), transport, enrolled, body.key);
    store.sync_become(enrolment.hub, &enrolment).await?;
    Ok(enrolment)
}

/// Takes a new identity under the old key: this card is a copy, or a backup was restored. The queue stays.
pub(super) async fn new_identity(
    store: &Store,
    client: &Client,
    old: &Enrolment,
    name: &str,
) -> Result<Enrolment, EnrolError> {
    let body = match store.sync_fact::<Begun>(Fact::Begun).await? {
        Some(Begun::Identity { body }) => body,
        _ => {
            let body = NewIdentity {
                hub: HubId::new(),
                key: Secret::from_random(random()?),
                name: name.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            };
            store.set_sync_fact(Fact::Begun, Some(&Begun::Identity { body: body.clone() })).await?;
            body
        }
    };
    let enrolled: Enrolled = client.json(IDENTITY, &body).await?;
    let enrolment = agreed(store, &old.url, old.transport(), enrolled, body.key);
    store.sync_become(enrolment.hub, &enrolment).await?;
    Ok(enrolment)
}

/// Takes a new key under the old one, which goes on working until the new one is used. The key is written down before it is
/// sent and sent again until it is answered: a lost answer leaves the old one in use and locks nobody out.
pub(super) async fn new_key(store: &Store, client: &Client, old: &Enrolment) -> Result<(), EnrolError> {
    let body = match store.sync_fact::<NewKey>(Fact::NextKey).await? {
        // One that is in use already was answered, and only the note of it outlived a power cut.
        Some(body) if body.key != old.key => body,
        _ => {
            let body = NewKey { key: Secret::from_random(random()?) };
            store.set_sync_fact(Fact::NextKey, Some(&body)).await?;
            body
        }
    };
    let KeyChanged {} = client.json(KEY, &body).await?;
    store.set_sync_fact(Fact::Enrolment, Some(&Enrolment { key: body.key, ..old.clone() })).await?;
    store.set_sync_fact(Fact::NextKey, None::<&NewKey>).await?;
    Ok(())
}

fn agreed(store: &Store, url: &str, transport: Transport, enrolled: Enrolled, key: Secret) -> Enrolment {
    Enrolment {
        url: url.to_owned(),
        community: enrolled.community,
        community_name: enrolled.community_name,
        hub: enrolled.hub,
        key,
        time_key: enrolled.time_key,
        epoch: store.hub_id(),
        plain_loopback: transport == Transport::PlainLoopback,
    }
}
