//! Files that documents name and that are not here: records travel first, their files when somebody wants them.

use cairn_sync::{BlobId, Kind};
use rusqlite::params;

use crate::{error::Result, records::codec::kind_code, store::Store};

/// Documents that are looked at, the last changed first.
const LOOKED_AT: i64 = 2_000;

impl Store {
    /// Files of synchronised documents that are not here, up to `largest` bytes each, of the last changed documents first;
    /// at most `limit`, with their sizes.
    ///
    /// # Errors
    /// When the database or the folder cannot be read.
    pub async fn sync_missing_files(&self, largest: u64, limit: usize) -> Result<Vec<(BlobId, u64)>> {
        let files = self.inner.files.clone();
        self.ask(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT f.value, s.value FROM (SELECT id FROM records WHERE kind = ?1 AND deleted = 0 AND \
                 gateway_version IS NOT NULL ORDER BY changed_hlc DESC LIMIT ?2) r \
                 JOIN fields f ON f.record = r.id AND f.name = 'file' JOIN fields s ON s.record = r.id AND s.name = 'size'",
            )?;
            let mut rows = statement.query(params![kind_code(Kind::Document), LOOKED_AT])?;
            let mut missing = Vec::new();
            while let Some(row) = rows.next()? {
                let (blob, size): (Option<String>, Option<u64>) = (row.get(0)?, row.get(1)?);
                let Some((Ok(blob), size)) = blob.map(|blob| blob.parse::<BlobId>()).zip(size) else { continue };
                if size <= largest && files.size(&blob)?.is_none() {
                    missing.push((blob, size));
                }
                if missing.len() >= limit {
                    break;
                }
            }
            Ok(missing)
        })
        .await
    }
}
