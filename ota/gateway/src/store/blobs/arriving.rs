//! A file whose name is known only when all of it has come: a client sends bytes, not a hash. Until then its pieces lie under a
//! name that no content has, so that nobody meets half a file.

use cairn_sync::{BlobId, CommunityId, http::MAX_BLOB};

use super::{PIECE, look, room, wanted::came};
use crate::{
    db::{Db, DbError, big, random, sql, uuid},
    store::Refused,
};

/// Names of unfinished files begin with so many zero bytes; no hash does.
const MARK: usize = 16;
/// What was not finished after so long never will be, in milliseconds. Longer than a request may take.
const FORGOTTEN_MS: i64 = 6 * 60 * 60 * 1000;

/// A file that is on its way.
#[derive(Debug)]
pub struct Arriving {
    db: Db,
    community: CommunityId,
    name: BlobId,
    hasher: blake3::Hasher,
    piece: Vec<u8>,
    stored: u64,
}

/// A file that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// Its name.
    pub blob: BlobId,
    /// Its size in bytes.
    pub size: u64,
    /// Whether somebody waited for it.
    pub was_wanted: bool,
}

impl Arriving {
    /// Begins with a file of this length, where one was announced.
    ///
    /// # Errors
    /// [`Refused::Quota`] where there is no room for it.
    pub async fn begin(db: Db, community: CommunityId, announced: Option<u64>) -> Result<Self, Refused> {
        let mut name = [0; 32];
        let (_, rest) = name.split_at_mut(MARK);
        rest.copy_from_slice(&random::<MARK>()?);
        let name = BlobId::from_bytes(name);
        let mut tx = db.scoped(community).await?;
        sql("DELETE FROM cairn.blob WHERE community_id = $1 AND NOT complete AND substring(hash FROM 1 FOR 16) = $2 \
             AND created_ms < cairn.now_ms() - $3")
        .bind(uuid(community.as_bytes()))
        .bind([0_u8; MARK].as_slice())
        .bind(FORGOTTEN_MS)
        .execute(&mut *tx)
        .await?;
        room(&mut tx, community, name, announced.unwrap_or(0)).await?;
        sql("INSERT INTO cairn.blob (community_id, hash, size) VALUES ($1, $2, 0)")
            .bind(uuid(community.as_bytes()))
            .bind(name.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        let (hasher, piece) = (blake3::Hasher::new(), Vec::with_capacity(PIECE));
        Ok(Self { db, community, name, hasher, piece, stored: 0 })
    }

    /// How much has come.
    #[must_use]
    pub fn have(&self) -> u64 {
        self.stored + self.piece.len() as u64
    }

    /// Takes the next bytes. The caller keeps to [`MAX_BLOB`].
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn take(&mut self, mut bytes: &[u8]) -> Result<(), Refused> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() == PIECE {
                self.store().await?;
            }
        }
        Ok(())
    }

    async fn store(&mut self) -> Result<(), Refused> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        self.hasher.update(&piece);
        let (here, end) = (uuid(self.community.as_bytes()), self.stored + piece.len() as u64);
        if end > MAX_BLOB {
            return Err(Refused::Quota("files must be between 1 byte and 512 MiB"));
        }
        let mut tx = self.db.scoped(self.community).await?;
        sql("INSERT INTO cairn.blob_piece (community_id, hash, start, body) VALUES ($1, $2, $3, $4)")
            .bind(here)
            .bind(self.name.as_bytes().as_slice())
            .bind(big(self.stored))
            .bind(piece)
            .execute(&mut *tx)
            .await?;
        sql("UPDATE cairn.blob SET size = $3, have = $3 WHERE community_id = $1 AND hash = $2")
            .bind(here)
            .bind(self.name.as_bytes().as_slice())
            .bind(big(end))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.stored = end;
        Ok(())
    }

    /// All of it has come: it gets the name of its content.
    ///
    /// # Errors
    /// [`Refused::Quota`] of an empty file and where there is no room for it.
    pub async fn finish(mut self) -> Result<Arrived, Refused> {
        if !self.piece.is_empty() {
            self.store().await?;
        }
        if self.stored == 0 {
            return Err(Refused::Quota("the file is empty"));
        }
        let blob = BlobId::from_bytes(*self.hasher.finalize().as_bytes());
        let (here, size) = (uuid(self.community.as_bytes()), self.stored);
        let mut tx = self.db.scoped(self.community).await?;
        sql("INSERT INTO cairn.blob (community_id, hash, size) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(here)
            .bind(blob.as_bytes().as_slice())
            .bind(big(size))
            .execute(&mut *tx)
            .await?;
        // A hub may be bringing the same file: whoever has the row first finishes, and the other finds it complete.
        let there = look(&mut tx, self.community, blob, true).await?.ok_or(Refused::Missing("file"))?;
        if !there.complete {
            room(&mut tx, self.community, self.name, 0).await?;
            for text in [
                "DELETE FROM cairn.blob_piece WHERE community_id = $1 AND hash = $2 AND $3::bytea IS NOT NULL",
                "UPDATE cairn.blob_piece SET hash = $2 WHERE community_id = $1 AND hash = $3",
            ] {
                sql(text)
                    .bind(here)
                    .bind(blob.as_bytes().as_slice())
                    .bind(self.name.as_bytes().as_slice())
                    .execute(&mut *tx)
                    .await?;
            }
            sql("UPDATE cairn.blob SET size = $3, have = $3, complete = true WHERE community_id = $1 AND hash = $2")
                .bind(here)
                .bind(blob.as_bytes().as_slice())
                .bind(big(size))
                .execute(&mut *tx)
                .await?;
        }
        self.forget(&mut tx).await?;
        let was_wanted = came(&mut tx, self.community, blob).await?;
        tx.commit().await?;
        Ok(Arrived { blob, size, was_wanted })
    }

    /// It will not come: what is here of it goes.
    ///
    /// # Errors
    /// [`Refused`]; then it goes later.
    pub async fn give_up(self) -> Result<(), Refused> {
        let mut tx = self.db.scoped(self.community).await?;
        self.forget(&mut tx).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn forget(&self, tx: &mut sqlx_postgres::PgConnection) -> Result<(), DbError> {
        sql("DELETE FROM cairn.blob WHERE community_id = $1 AND hash = $2")
            .bind(uuid(self.community.as_bytes()))
            .bind(self.name.as_bytes().as_slice())
            .execute(tx)
            .await?;
        Ok(())
    }
}
