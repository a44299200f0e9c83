//! The held stream: that there is something newer, and who is there. Never data.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use cairn_sync::{
    HubId,
    http::{Credential, Event, HEARTBEAT_MS, LINES, Neighbour},
};
use sqlx_core::row::Row;
use uuid::Uuid;

use super::{
    Shared,
    answer::{Failed, Shown},
};
use crate::{
    db::{sql, uuid},
    metrics::Metrics,
    store::{Refused, authenticate, newer},
};

/// Most hubs that are named.
const MAX_NEIGHBOURS: i64 = 200;
/// How long after its last beat a hub still counts as there, in milliseconds.
const HELD_MS: i64 = 2 * HEARTBEAT_MS as i64;

pub(super) async fn hold(State(service): State<Shared>, Shown(who): Shown) -> Result<Response, Failed> {
    let place = service.gate.hold().inspect_err(|_| Metrics::add(&service.metrics.busy, 1))?;
    let version = beat(&service, &who, HELD_MS).await?;
    let mut watch = service.live.watch(who.community, version);
    service.live.coming(who.community);
    let lines = async_stream::stream! {
        let _place = place;
        let mut told = None;
        let mut comings = None;
        let mut files = watch.borrow().files;
        let mut beats = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
        beats.reset();
        loop {
            let seen = *watch.borrow_and_update();
            if told != Some(seen.version) {
                told = Some(seen.version);
                yield line(&Event::Newer(seen.version));
            }
            if comings != Some(seen.comings) {
                comings = Some(seen.comings);
                if let Ok(present) = present(&service, &who).await {
                    yield line(&Event::Present(present));
                }
            }
            if files != seen.files {
                files = seen.files;
                yield line(&Event::Files);
            }
            tokio::select! {
                changed = watch.changed() => if changed.is_err() { break },
                () = service.drain.cancelled() => {
                    yield line(&Event::Drain);
                    break;
                }
                _ = beats.tick() => match beat(&service, &who, HELD_MS).await {
                    Ok(_) => yield line(&Event::Beat),
                    Err(Refused::Revoked) => break,
                    // The stream promises nothing that a database that is away would break.
                    Err(_) => yield line(&Event::Beat),
                },
            }
        }
        let _left = beat(&service, &who, 0).await;
        service.live.coming(who.community);
    };
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response())
}

fn line(event: &Event) -> Result<Bytes, Infallible> {
    let mut bytes = serde_json::to_vec(event).unwrap_or_default();
    bytes.push(b'\n');
    Ok(bytes.into())
}

/// Says that the hub is there for so long; gives the community's version.
async fn beat(service: &Shared, who: &Credential, for_ms: i64) -> Result<u64, Refused> {
    let mut tx = service.db.scoped(who.community).await?;
    authenticate(&mut tx, who).await?;
    sql("UPDATE cairn.hub_status SET held_until_ms = cairn.now_ms() + $3 WHERE community_id = $1 AND hub_id = $2")
        .bind(uuid(who.community.as_bytes()))
        .bind(uuid(who.hub.as_bytes()))
        .bind(for_ms)
        .execute(&mut *tx)
        .await?;
    let version = newer::version(&mut tx, who.community).await?;
    tx.commit().await?;
    Ok(version)
}

async fn present(service: &Shared, who: &Credential) -> Result<Vec<Neighbour>, Refused> {
    let mut tx = service.db.scoped(who.community).await?;
    let rows =
        sql("SELECT h.hub_id, h.name FROM cairn.hub_status s JOIN cairn.hub h USING (community_id, hub_id) \
         WHERE s.community_id = $1 AND s.held_until_ms > cairn.now_ms() ORDER BY h.hub_id LIMIT $2")
        .bind(uuid(who.community.as_bytes()))
        .bind(MAX_NEIGHBOURS)
        .fetch_all(&mut *tx)
        .await?;
    let neighbour = |row: &sqlx_postgres::PgRow| {
        Ok(Neighbour {
            hub: HubId::from_bytes(*row.try_get::<Uuid, _>("hub_id")?.as_bytes()),
            name: row.try_get("name")?,
        })
    };
    rows.iter().map(neighbour).collect()
}
