//! Signed statements of the time (A9).

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use cairn_sync::http::time::{NONCE, TimeStatement, hex, signed};
use sqlx_core::row::Row;

use crate::db::{Db, DbError, sql};

/// The setting that holds the key, so that every instance signs with the same.
pub(crate) const TIME_KEY: &str = "time_key";

/// The key that hubs pin at enrolment.
#[derive(Debug)]
pub struct TimeKey(Ed25519KeyPair);

impl TimeKey {
    /// From the database, where the migration put it.
    ///
    /// # Errors
    /// [`DbError`].
    pub async fn load(db: &Db) -> Result<Self, DbError> {
        let row = sql("SELECT value FROM cairn.setting WHERE name = $1")
            .bind(TIME_KEY)
            .fetch_one(db.pool())
            .await?;
        let pkcs8: Vec<u8> = row.try_get("value")?;
        Ed25519KeyPair::from_pkcs8(&pkcs8)
            .map(Self)
            .map_err(|error| DbError::Damaged { what: "time key", why: error.to_string() })
    }

    /// The public half, in hex.
    #[must_use]
    pub fn public(&self) -> String {
        hex(self.0.public_key().as_ref())
    }

    /// What time it is, for whoever chose `nonce`.
    #[must_use]
    pub fn state(&self, nonce: &[u8; NONCE]) -> TimeStatement {
        let unix_ms = now_ms();
        let signature = self.0.sign(&signed(nonce, unix_ms));
        TimeStatement { nonce: hex(nonce), unix_ms, signature: hex(signature.as_ref()) }
    }
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
