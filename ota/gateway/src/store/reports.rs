//! How hubs say they are, and what they said of system versions: for the fleet page, and for rollouts that stop when hubs fail.

use std::collections::BTreeMap;

use cairn_sync::{
    CommunityId,
    http::{Credential, MAX_LOG, Report, ReportReply, UpdateOutcome, UpdateResult},
};
use serde::Serialize;
use sqlx_core::row::Row;
use sqlx_postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::{Refused, authenticate, blobs::wanted::wanted};
use crate::db::{Db, DbError, big, sql, uuid};

/// How often a hub reports, in milliseconds.
const REPORT_EVERY_MS: u64 = 15 * 60 * 1000;

/// A hub says how it is.
///
/// # Errors
/// [`Refused`].
pub async fn report(db: &Db, who: &Credential, report: &Report) -> Result<ReportReply, Refused> {
    let json = |what, value: Result<String, serde_json::Error>| {
        value.map_err(|error| DbError::Damaged { what, why: error.to_string() })
    };
    let (here, hub) = (uuid(who.community.as_bytes()), uuid(who.hub.as_bytes()));
    let mut tx = db.scoped(who.community).await?;
    authenticate(&mut tx, who).await?;
    let updates = match report.updates.as_slice() {
        [] => None,
        new => Some(with_outcomes(&mut tx, here, hub, new).await?),
    };
    let row = sql(
        "UPDATE cairn.hub_status SET software = $3, board = $4, queue = $5, conflicts = $6, refused = $7, \
         free_bytes = $8, log = $9, updates = coalesce($10, updates), \
         reported_ms = cairn.now_ms() WHERE community_id = $1 AND hub_id = $2 RETURNING change_key",
    )
    .bind(here)
    .bind(hub)
    .bind(report.version.clone())
    .bind(report.board.clone())
    .bind(big(report.queue))
    .bind(big(report.conflicts))
    .bind(big(report.refused))
    .bind(big(report.free_bytes))
    .bind(json("log", serde_json::to_string(&report.log))?)
    .bind(updates.map(|updates| json("updates", serde_json::to_string(&updates))).transpose()?)
    .fetch_one(&mut *tx)
    .await?;
    sql("UPDATE cairn.hub SET name = $3 WHERE community_id = $1 AND hub_id = $2 AND name <> $3")
        .bind(here)
        .bind(hub)
        .bind(report.name.clone())
        .execute(&mut *tx)
        .await?;
    let wanted = wanted(&mut tx, who.community).await?;
    tx.commit().await?;
    Ok(ReportReply { change_key: row.try_get("change_key")?, next_ms: REPORT_EVERY_MS, wanted })
}

/// What became of a hub's updates with what it says now. What it said before counts once: a hub whose answer got lost says it again.
async fn with_outcomes(
    tx: &mut PgConnection,
    here: Uuid,
    hub: Uuid,
    new: &[UpdateOutcome],
) -> Result<Vec<UpdateOutcome>, Refused> {
    let row = sql("SELECT updates FROM cairn.hub_status WHERE community_id = $1 AND hub_id = $2 FOR UPDATE")
        .bind(here)
        .bind(hub)
        .fetch_one(tx)
        .await?;
    let mut updates = outcomes(row.try_get("updates")?)?;
    for outcome in new {
        if !updates.contains(outcome) {
            updates.push(outcome.clone());
        }
    }
    updates.drain(..updates.len().saturating_sub(MAX_LOG));
    Ok(updates)
}

fn outcomes(text: &str) -> Result<Vec<UpdateOutcome>, DbError> {
    serde_json::from_str(text).map_err(|error| DbError::Damaged { what: "updates", why: error.to_string() })
}

/// How many hubs said what of a system version, as `cairn-publish watch` reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpdateFigures {
    /// The board.
    pub board: String,
    /// The version.
    pub version: String,
    /// Hubs on which it proved itself.
    pub healthy: u64,
    /// Hubs that went back from it, or could not install it.
    pub failed: u64,
}

/// What a community's hubs said of system versions. Each counts once for a version, by what it said last; those that were retired do not.
///
/// # Errors
/// [`DbError`].
pub async fn update_figures(db: &Db, community: CommunityId) -> Result<Vec<UpdateFigures>, DbError> {
    let mut tx = db.scoped(community).await?;
    let rows = sql(
        "SELECT s.board, s.updates FROM cairn.hub_status s JOIN cairn.hub h USING (community_id, hub_id) \
         WHERE s.community_id = $1 AND h.retired_ms IS NULL AND s.updates <> '[]' AND s.board <> ''",
    )
    .bind(uuid(community.as_bytes()))
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let said = |row: &PgRow| -> Result<(String, Vec<UpdateOutcome>), DbError> {
        Ok((row.try_get("board")?, outcomes(row.try_get("updates")?)?))
    };
    Ok(count(rows.iter().map(said).collect::<Result<_, _>>()?))
}

/// What several communities' hubs said, together.
#[must_use]
pub fn together(figures: impl IntoIterator<Item = UpdateFigures>) -> Vec<UpdateFigures> {
    let mut sums = BTreeMap::<(String, String), (u64, u64)>::new();
    for UpdateFigures { board, version, healthy, failed } in figures {
        let sum = sums.entry((board, version)).or_default();
        *sum = (sum.0.saturating_add(healthy), sum.1.saturating_add(failed));
    }
    let line = |((board, version), (healthy, failed))| UpdateFigures { board, version, healthy, failed };
    sums.into_iter().map(line).collect()
}

fn count(hubs: Vec<(String, Vec<UpdateOutcome>)>) -> Vec<UpdateFigures> {
    let each = hubs.into_iter().flat_map(|(board, updates)| {
        // The last word of each version; oldest first.
        let last: BTreeMap<String, UpdateResult> =
            updates.into_iter().map(|outcome| (outcome.version, outcome.result)).collect();
        last.into_iter().map(move |(version, result)| {
            let healthy = u64::from(result == UpdateResult::Healthy);
            UpdateFigures { board: board.clone(), version, healthy, failed: 1 - healthy }
        })
    });
    together(each)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(results: &[(&str, UpdateResult)]) -> Vec<UpdateOutcome> {
        let outcome = |(version, result): &(&str, UpdateResult)| UpdateOutcome {
            at: 0,
            version: (*version).to_owned(),
            result: *result,
            note: String::new(),
        };
        results.iter().map(outcome).collect()
    }

    #[test]
    fn a_hub_counts_once_for_a_version_by_its_last_word() {
        use UpdateResult::{Failed, Healthy, RolledBack};
        let figures = count(vec![
            ("rpi-4".to_owned(), said(&[("1.1.0", RolledBack), ("1.1.0", RolledBack), ("1.2.0", Healthy)])),
            ("rpi-4".to_owned(), said(&[("1.1.0", Failed), ("1.1.0", Healthy)])),
            ("rpi-5".to_owned(), said(&[("1.1.0", Failed)])),
        ]);
        let line = |board: &str, version: &str, healthy, failed| UpdateFigures {
            board: board.to_owned(),
            version: version.to_owned(),
            healthy,
            failed,
        };
        let expected =
            [line("rpi-4", "1.1.0", 1, 1), line("rpi-4", "1.2.0", 1, 0), line("rpi-5", "1.1.0", 0, 1)];
        assert_eq!(figures, expected);
        assert_eq!(together(figures.iter().chain(&figures).cloned())[0], line("rpi-4", "1.1.0", 2, 2));
    }
}
