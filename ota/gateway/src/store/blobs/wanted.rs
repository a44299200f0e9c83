//! Files that somebody waits for: remembered until one of the hubs has brought them.

use cairn_sync::{BlobId, CommunityId, http::MAX_WANTED};
use sqlx_core::row::Row;
use sqlx_postgres::PgConnection;

use crate::{
    db::{Db, DbError, sql, uuid},
    store::Refused,
};

/// Most files that a community waits for.
const MAX_OF_COMMUNITY: i64 = 1_000;
/// How long one is waited for after it was last asked for, in milliseconds.
const FOR_MS: i64 = 30 * 24 * 60 * 60 * 1000;

/// Remembers that somebody waits for a file, where a living document names it. Says whether that is news to the hubs.
///
/// # Errors
/// [`Refused`].
pub async fn want(db: &Db, community: CommunityId, blob: BlobId) -> Result<bool, Refused> {
    let mut tx = db.scoped(community).await?;
    sql("DELETE FROM cairn.blob_wanted WHERE community_id = $1 AND since_ms < cairn.now_ms() - $2")
        .bind(uuid(community.as_bytes()))
        .bind(FOR_MS)
        .execute(&mut *tx)
        .await?;
    // A row that was just made has not been replaced by anybody: that is what `xmax = 0` says.
    let row = sql("INSERT INTO cairn.blob_wanted (community_id, hash) SELECT $1, $2 \
         WHERE (SELECT count(*) FROM cairn.blob_wanted WHERE community_id = $1) < $4 \
         AND EXISTS (SELECT 1 FROM cairn.lookup WHERE community_id = $1 AND kind = 'document' AND name = 'file' AND value = $3) \
         ON CONFLICT (community_id, hash) DO UPDATE SET since_ms = excluded.since_ms RETURNING xmax = 0 AS new")
    .bind(uuid(community.as_bytes()))
    .bind(blob.as_bytes().as_slice())
    .bind(blob.to_string())
    .bind(MAX_OF_COMMUNITY)
    .fetch_optional(&mut *tx)
    .await?;
    let new = row.map_or(Ok(false), |row| row.try_get("new"))?;
    tx.commit().await?;
    Ok(new)
}

/// The file is here: nobody waits for it any more. Says whether anybody did.
pub(super) async fn came(
    tx: &mut PgConnection,
    community: CommunityId,
    blob: BlobId,
) -> Result<bool, DbError> {
    let done = sql("DELETE FROM cairn.blob_wanted WHERE community_id = $1 AND hash = $2")
        .bind(uuid(community.as_bytes()))
        .bind(blob.as_bytes().as_slice())
        .execute(tx)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// What is waited for, the longest first.
pub(crate) async fn wanted(tx: &mut PgConnection, community: CommunityId) -> Result<Vec<BlobId>, DbError> {
    let rows =
        sql("SELECT hash FROM cairn.blob_wanted WHERE community_id = $1 ORDER BY since_ms, hash LIMIT $2")
            .bind(uuid(community.as_bytes()))
            .bind(i64::try_from(MAX_WANTED).unwrap_or(i64::MAX))
            .fetch_all(tx)
            .await?;
    let mut blobs = Vec::new();
    for row in &rows {
        let hash: Vec<u8> = row.try_get("hash")?;
        let hash = <[u8; 32]>::try_from(hash)
            .map_err(|_| DbError::Damaged { what: "hash", why: "has another length".to_owned() })?;
        blobs.push(BlobId::from_bytes(hash));
    }
    Ok(blobs)
}
