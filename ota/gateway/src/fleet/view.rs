//! What the fleet page shows, read in one transaction per community.

use cairn_sync::{
    CommunityId, HubId,
    http::{LogLine, UpdateOutcome},
};
use sqlx_core::row::Row;
use sqlx_postgres::PgRow;
use uuid::Uuid;

use crate::{
    db::{Db, DbError, sql, uuid},
    store::{
        Refused,
        reports::{self, UpdateFigures},
    },
};

/// Most hubs on a page.
const PAGE: i64 = 200;

/// A community and its hubs.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) community: CommunityId,
    pub(crate) name: String,
    pub(crate) version: i64,
    pub(crate) records: i64,
    pub(crate) open_tokens: i64,
    pub(crate) hubs: Vec<Hub>,
    /// What hubs said of system versions, newest last; none where one hub was asked for.
    pub(crate) updates: Vec<UpdateFigures>,
}

/// A hub.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) hub: HubId,
    pub(crate) name: String,
    pub(crate) software: String,
    pub(crate) board: String,
    pub(crate) free_bytes: i64,
    pub(crate) every_project: bool,
    pub(crate) queue: i64,
    pub(crate) conflicts: i64,
    pub(crate) refused: i64,
    pub(crate) copies: i32,
    pub(crate) is_copy: bool,
    pub(crate) retired: bool,
    pub(crate) here: bool,
    pub(crate) changes_key: bool,
    pub(crate) keys: i64,
    /// Seconds since the last round or report.
    pub(crate) silent_s: Option<i64>,
    pub(crate) log: Vec<LogLine>,
    pub(crate) updates: Vec<UpdateOutcome>,
}

/// Reads a community's hubs, those that want attention first; `after` goes on behind a page.
pub(crate) async fn fleet(db: &Db, community: CommunityId, only: Option<HubId>) -> Result<Fleet, Refused> {
    let here = uuid(community.as_bytes());
    let mut tx = db.moment(community).await?;
    let about = sql(
        "SELECT name, version, (SELECT count(*) FROM cairn.record r WHERE r.community_id = $1 AND NOT deleted) AS records, \
         (SELECT count(*) FROM cairn.enrol_token t WHERE t.community_id = $1 AND used_by IS NULL \
             AND expires_ms > cairn.now_ms()) AS tokens \
         FROM cairn.community WHERE community_id = $1",
    )
    .bind(here)
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(Refused::Missing("community"))?;
    let rows = sql(
        "SELECT h.hub_id, h.name, h.every_project, h.copies, h.came_from IS NOT NULL AS is_copy, \
             h.retired_ms IS NOT NULL AS retired, \
             (cairn.now_ms() - greatest(h.last_round_ms, s.reported_ms)) / 1000 AS silent_s, \
             s.software, s.board, s.free_bytes, s.queue, s.conflicts, s.refused, s.log, s.updates, s.change_key, \
             s.held_until_ms > cairn.now_ms() AS here, \
             (SELECT count(*) FROM cairn.hub_key k WHERE k.community_id = $1 AND k.hub_id = h.hub_id) AS keys \
         FROM cairn.hub h JOIN cairn.hub_status s USING (community_id, hub_id) \
         WHERE h.community_id = $1 AND ($2::uuid IS NULL OR h.hub_id = $2) \
         ORDER BY retired, s.conflicts > 0 DESC, greatest(h.last_round_ms, s.reported_ms) DESC NULLS FIRST, h.hub_id LIMIT $3",
    )
    .bind(here)
    .bind(only.map(|hub| uuid(hub.as_bytes())))
    .bind(PAGE)
    .fetch_all(&mut *tx)
    .await?;
    let hubs = rows.iter().map(hub).collect::<Result<_, DbError>>()?;
    tx.commit().await?;
    let updates = if only.is_none() { reports::update_figures(db, community).await? } else { Vec::new() };
    Ok(Fleet {
        community,
        name: about.try_get("name")?,
        version: about.try_get("version")?,
        records: about.try_get("records")?,
        open_tokens: about.try_get("tokens")?,
        hubs,
        updates,
    })
}

fn hub(row: &PgRow) -> Result<Hub, DbError> {
    let json = |what, error: serde_json::Error| DbError::Damaged { what, why: error.to_string() };
    Ok(Hub {
        hub: HubId::from_bytes(*row.try_get::<Uuid, _>("hub_id")?.as_bytes()),
        name: row.try_get("name")?,
        software: row.try_get("software")?,
        board: row.try_get("board")?,
        free_bytes: row.try_get("free_bytes")?,
        every_project: row.try_get("every_project")?,
        queue: row.try_get("queue")?,
        conflicts: row.try_get("conflicts")?,
        refused: row.try_get("refused")?,
        copies: row.try_get("copies")?,
        is_copy: row.try_get("is_copy")?,
        retired: row.try_get("retired")?,
        here: row.try_get("here")?,
        changes_key: row.try_get("change_key")?,
        keys: row.try_get("keys")?,
        silent_s: row.try_get("silent_s")?,
        log: serde_json::from_str(row.try_get("log")?).map_err(|error| json("log", error))?,
        updates: serde_json::from_str(row.try_get("updates")?).map_err(|error| json("updates", error))?,
    })
}
