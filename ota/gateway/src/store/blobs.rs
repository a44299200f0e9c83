//! Files by content, in pieces: a hub's upload that breaks off goes on from its last piece, a download from any byte.

mod arriving;
pub(crate) mod wanted;

use std::io;

use bytes::Bytes;
use cairn_sync::{
    BlobId, CommunityId,
    http::{Credential, MAX_BLOB},
};
use futures::Stream;
use sqlx_core::row::Row;
use sqlx_postgres::PgConnection;

pub use arriving::{Arrived, Arriving};
pub use wanted::want;

use super::{Refused, authenticate};
use crate::db::{Db, big, small, sql, uuid};

/// Length of a piece in bytes.
pub const PIECE: usize = 256 * 1024;
/// Most bytes of files of one community, complete or not.
pub const COMMUNITY_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// How much of a file there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its size in bytes.
    pub size: u64,
    /// How much of it is here.
    pub have: u64,
    /// Whether all of it is here and hashes to its name.
    pub complete: bool,
}

/// How much of a file there is.
///
/// # Errors
/// [`Refused`].
pub async fn stored(db: &Db, who: &Credential, blob: BlobId) -> Result<Option<Stored>, Refused> {
    let mut tx = db.scoped(who.community).await?;
    authenticate(&mut tx, who).await?;
    let stored = look(&mut tx, who.community, blob, false).await?;
    tx.commit().await?;
    Ok(stored)
}

/// How much of a file of this community there is, for whoever may know of it.
///
/// # Errors
/// [`Refused`].
pub async fn stored_in(db: &Db, community: CommunityId, blob: BlobId) -> Result<Option<Stored>, Refused> {
    let mut tx = db.scoped(community).await?;
    let stored = look(&mut tx, community, blob, false).await?;
    tx.commit().await?;
    Ok(stored)
}

pub(super) async fn look(
    tx: &mut PgConnection,
    community: CommunityId,
    blob: BlobId,
    lock: bool,
) -> Result<Option<Stored>, Refused> {
    let text = if lock {
        "SELECT size, have, complete FROM cairn.blob WHERE community_id = $1 AND hash = $2 FOR UPDATE"
    } else {
        "SELECT size, have, complete FROM cairn.blob WHERE community_id = $1 AND hash = $2"
    };
    let row = sql(text)
        .bind(uuid(community.as_bytes()))
        .bind(blob.as_bytes().as_slice())
        .fetch_optional(tx)
        .await?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Stored {
        size: small(row.try_get("size")?),
        have: small(row.try_get("have")?),
        complete: row.try_get("complete")?,
    }))
}

/// Whether `size` more bytes fit beside all files but `blob`.
pub(super) async fn room(
    tx: &mut PgConnection,
    community: CommunityId,
    blob: BlobId,
    size: u64,
) -> Result<(), Refused> {
    let row = sql("SELECT coalesce(sum(size), 0)::bigint AS bytes FROM cairn.blob WHERE community_id = $1 AND hash <> $2")
        .bind(uuid(community.as_bytes()))
        .bind(blob.as_bytes().as_slice())
        .fetch_one(tx)
        .await?;
    if small(row.try_get("bytes")?).saturating_add(size) > COMMUNITY_BYTES {
        return Err(Refused::Quota("this community's space for files is used up"));
    }
    Ok(())
}

/// Begins, or goes on with, an upload of `size` bytes in all at byte `start`.
///
/// # Errors
/// [`Refused::Order`] names the byte to go on from, where it is another.
pub async fn begin(
    db: &Db,
    who: &Credential,
    blob: BlobId,
    start: u64,
    size: u64,
) -> Result<Stored, Refused> {
    if size == 0 || size > MAX_BLOB {
        return Err(Refused::Quota("files must be between 1 byte and 512 MiB"));
    }
    let mut tx = db.scoped(who.community).await?;
    authenticate(&mut tx, who).await?;
    room(&mut tx, who.community, blob, size).await?;
    sql("INSERT INTO cairn.blob (community_id, hash, size) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
        .bind(uuid(who.community.as_bytes()))
        .bind(blob.as_bytes().as_slice())
        .bind(big(size))
        .execute(&mut *tx)
        .await?;
    let stored = look(&mut tx, who.community, blob, true).await?.ok_or(Refused::Missing("file"))?;
    tx.commit().await?;
    if stored.size != size || (!stored.complete && stored.have != start) {
        return Err(Refused::Order(format!("go on from byte {} of {}", stored.have, stored.size)));
    }
    Ok(stored)
}

/// Stores the next piece. Every piece but the last is [`PIECE`] long. Says also whether the file is whole now and somebody
/// waited for it.
///
/// # Errors
/// [`Refused::Order`] where somebody else stored it meanwhile, or where the whole is not what its name says: then all
/// of it is forgotten.
pub async fn append(
    db: &Db,
    who: &Credential,
    blob: BlobId,
    start: u64,
    piece: Vec<u8>,
) -> Result<(Stored, bool), Refused> {
    let length = piece.len() as u64;
    let mut tx = db.scoped(who.community).await?;
    let stored = look(&mut tx, who.community, blob, true).await?.ok_or(Refused::Missing("file"))?;
    let end = start.saturating_add(length);
    if stored.complete || stored.have != start || end > stored.size {
        return Err(Refused::Order(format!("go on from byte {} of {}", stored.have, stored.size)));
    }
    sql("INSERT INTO cairn.blob_piece (community_id, hash, start, body) VALUES ($1, $2, $3, $4)")
        .bind(uuid(who.community.as_bytes()))
        .bind(blob.as_bytes().as_slice())
        .bind(big(start))
        .bind(piece)
        .execute(&mut *tx)
        .await?;
    let complete = end == stored.size;
    if complete && !hashes_to_its_name(&mut tx, who, blob, stored.size).await? {
        sql("DELETE FROM cairn.blob WHERE community_id = $1 AND hash = $2")
            .bind(uuid(who.community.as_bytes()))
            .bind(blob.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        return Err(Refused::Order("the file is not what its name says: begin anew from byte 0".to_owned()));
    }
    sql("UPDATE cairn.blob SET have = $3, complete = $4 WHERE community_id = $1 AND hash = $2")
        .bind(uuid(who.community.as_bytes()))
        .bind(blob.as_bytes().as_slice())
        .bind(big(end))
        .bind(complete)
        .execute(&mut *tx)
        .await?;
    let was_wanted = complete && wanted::came(&mut tx, who.community, blob).await?;
    tx.commit().await?;
    Ok((Stored { have: end, complete, ..stored }, was_wanted))
}

async fn hashes_to_its_name(
    tx: &mut PgConnection,
    who: &Credential,
    blob: BlobId,
    size: u64,
) -> Result<bool, Refused> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < size {
        let Some(piece) = piece(tx, who.community, blob, at).await? else { return Ok(false) };
        if piece.is_empty() {
            return Ok(false);
        }
        hasher.update(&piece);
        at += piece.len() as u64;
    }
    Ok(*hasher.finalize().as_bytes() == *blob.as_bytes())
}

async fn piece(
    tx: &mut PgConnection,
    community: CommunityId,
    blob: BlobId,
    start: u64,
) -> Result<Option<Vec<u8>>, Refused> {
    let row = sql("SELECT body FROM cairn.blob_piece WHERE community_id = $1 AND hash = $2 AND start = $3")
        .bind(uuid(community.as_bytes()))
        .bind(blob.as_bytes().as_slice())
        .bind(big(start))
        .fetch_optional(tx)
        .await?;
    Ok(match row {
        Some(row) => Some(row.try_get("body")?),
        None => None,
    })
}

/// So many bytes from one on, as they come from the database. The file is complete.
pub fn stream(
    db: Db,
    community: CommunityId,
    blob: BlobId,
    first: u64,
    length: u64,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    async_stream::try_stream! {
        let (mut at, end) = (first, first.saturating_add(length));
        while at < end {
            let mut piece = read(&db, community, blob, at)
                .await
                .map_err(|error| io::Error::other(error.to_string()))?;
            piece.truncate(usize::try_from(end - at).unwrap_or(usize::MAX));
            if piece.is_empty() {
                Err(io::Error::other("the file ends early"))?;
            }
            at += piece.len() as u64;
            yield Bytes::from(piece);
        }
    }
}

/// What follows from byte `at` to the end of its piece.
///
/// # Errors
/// [`Refused`].
pub async fn read(db: &Db, community: CommunityId, blob: BlobId, at: u64) -> Result<Vec<u8>, Refused> {
    let start = at - at % PIECE as u64;
    let mut tx = db.scoped(community).await?;
    let mut piece = piece(&mut tx, community, blob, start).await?.ok_or(Refused::Missing("file"))?;
    tx.commit().await?;
    let skip = usize::try_from(at - start).unwrap_or(usize::MAX).min(piece.len());
    Ok(piece.split_off(skip))
}
