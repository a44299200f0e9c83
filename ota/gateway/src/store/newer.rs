//! What is newer than a hub's cursors, and what its scopes add up to.

use std::collections::BTreeMap;

use cairn_sync::{
    CommunityId,
    checksum::Checksum,
    http::{Credential, Page},
    record::RecordState,
    wire::{Cursor, MAX_BYTES, MAX_RECORDS, ScopeId},
};
use sqlx_core::row::Row;
use sqlx_postgres::PgConnection;
use uuid::Uuid;

use super::{Grant, Refused, authenticate, grant, scope_column, scope_of};
use crate::db::{Db, DbError, big, from_cbor, small, sql, uuid};

/// Most bytes of stored records in one page. Below the wire's limit, since outcomes and cursors come on top.
const PAGE_BYTES: i64 = MAX_BYTES as i64 / 2;

/// What a scope adds up to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) checksum: Checksum,
    pub(crate) horizon: u64,
}

/// What these scopes add up to; those of which nothing is kept are left out.
pub(crate) async fn sums(
    tx: &mut PgConnection,
    community: CommunityId,
    scopes: &[Uuid],
) -> Result<BTreeMap<ScopeId, Sum>, DbError> {
    let rows = sql(
        "SELECT scope, checksum, horizon FROM cairn.scope_sum WHERE community_id = $1 AND scope = ANY($2)",
    )
    .bind(uuid(community.as_bytes()))
    .bind(scopes)
    .fetch_all(tx)
    .await?;
    let mut sums = BTreeMap::new();
    for row in rows {
        let bytes: Vec<u8> = row.try_get("checksum")?;
        let bytes: [u8; 32] = bytes
            .try_into()
            .map_err(|_| DbError::Damaged { what: "checksum", why: "it is not 32 bytes long".to_owned() })?;
        let checksum = Checksum::from_bytes(bytes);
        sums.insert(
            scope_of(row.try_get("scope")?),
            Sum { checksum, horizon: small(row.try_get("horizon")?) },
        );
    }
    Ok(sums)
}

/// Records beyond the cursors. The caller's transaction sees one moment, in which the community is at `version`.
pub(crate) async fn newer(
    tx: &mut PgConnection,
    community: CommunityId,
    granted: &Grant,
    asked: &BTreeMap<ScopeId, Cursor>,
    limit: u32,
    version: u64,
) -> Result<Page, DbError> {
    let (granted, withheld): (Vec<_>, Vec<_>) =
        asked.iter().map(|(scope, cursor)| (*scope, *cursor)).partition(|(scope, _)| granted.covers(*scope));
    let columns: Vec<Uuid> = granted.iter().map(|(scope, _)| scope_column(*scope)).collect();
    let sums = sums(tx, community, &columns).await?;
    let sum = |scope: &ScopeId| sums.get(scope).copied().unwrap_or_default();

    let mut from = BTreeMap::new();
    let mut reread = Vec::new();
    for (scope, cursor) in granted {
        let horizon = sum(&scope).horizon;
        if cursor.must_begin_anew(horizon) {
            reread.push(scope);
            from.insert(scope, Cursor { version: 0, horizon });
        } else {
            from.insert(scope, cursor);
        }
    }
    let limit = limit.clamp(1, MAX_RECORDS);
    let (records, more) = read(tx, community, &from, limit).await?;
    let up_to = if more { records.last().map_or(0, |record| record.version) } else { version };
    let cursors: BTreeMap<_, _> = from
        .iter()
        .map(|(scope, cursor)| (*scope, Cursor { version: cursor.version.max(up_to), ..*cursor }))
        .collect();
    let checksums = if more {
        BTreeMap::new()
    } else {
        cursors.keys().map(|scope| (*scope, sum(scope).checksum)).collect()
    };
    let horizons =
        cursors.keys().map(|scope| (*scope, sum(scope).horizon)).filter(|(_, at)| *at > 0).collect();
    let withheld = withheld.into_iter().map(|(scope, _)| scope).collect();
    Ok(Page { records, cursors, horizons, reread, withheld, more, checksums })
}

/// At most `limit` records in the order of their versions, and whether there are more.
async fn read(
    tx: &mut PgConnection,
    community: CommunityId,
    from: &BTreeMap<ScopeId, Cursor>,
    limit: u32,
) -> Result<(Vec<RecordState>, bool), DbError> {
    let scopes: Vec<Uuid> = from.keys().map(|scope| scope_column(*scope)).collect();
    let after: Vec<i64> = from.values().map(|cursor| big(cursor.version)).collect();
    // One more than wanted, so as to know whether there is more; and never more bytes than a reply may have, except
    // that one record always goes.
    let rows = sql("SELECT state, found FROM ( \
             SELECT state, version, row_number() OVER (ORDER BY version) AS place, \
                    count(*) OVER () AS found, \
                    sum(octet_length(state)) OVER (ORDER BY version) AS bytes \
             FROM ( \
                 SELECT r.state, r.version FROM unnest($2::uuid[], $3::bigint[]) AS c(scope, after) \
                 CROSS JOIN LATERAL ( \
                     SELECT state, version FROM cairn.record \
                     WHERE community_id = $1 AND record.scope = c.scope AND version > c.after \
                     ORDER BY version LIMIT $4) r \
                 ORDER BY r.version LIMIT $4) page) counted \
         WHERE bytes <= $5 OR place = 1 ORDER BY version")
    .bind(uuid(community.as_bytes()))
    .bind(scopes)
    .bind(after)
    .bind(i64::from(limit) + 1)
    .bind(PAGE_BYTES)
    .fetch_all(tx)
    .await?;
    let mut records = Vec::with_capacity(rows.len());
    let mut found = 0;
    for row in rows.iter().take(limit as usize) {
        found = row.try_get::<i64, _>("found")?;
        records.push(from_cbor("record", row.try_get("state")?)?);
    }
    let more = big(records.len() as u64) < found;
    Ok((records, more))
}

/// The next page for a hub that is filled in one stream.
///
/// # Errors
/// [`Refused`].
pub async fn page(db: &Db, who: &Credential, asked: &BTreeMap<ScopeId, Cursor>) -> Result<Page, Refused> {
    let mut tx = db.moment(who.community).await?;
    authenticate(&mut tx, who).await?;
    let granted = grant(&mut tx, who).await?;
    let version = version(&mut tx, who.community).await?;
    let page = newer(&mut tx, who.community, &granted, asked, MAX_RECORDS, version).await?;
    tx.commit().await?;
    Ok(page)
}

/// The community's version.
pub(crate) async fn version(tx: &mut PgConnection, community: CommunityId) -> Result<u64, Refused> {
    let row = sql("SELECT version FROM cairn.community WHERE community_id = $1")
        .bind(uuid(community.as_bytes()))
        .fetch_optional(tx)
        .await?
        .ok_or(Refused::Revoked)?;
    Ok(small(row.try_get("version")?))
}
