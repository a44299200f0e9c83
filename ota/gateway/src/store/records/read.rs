//! One record, its history, and how many there are.

use std::collections::BTreeMap;

use cairn_sync::{
    ChangeId, Kind, RecordId, Value,
    access::Action,
    listing::{before_version, page_len, read_version},
    shown::{Cursor, FieldChange, HistoryEntry, Page, Record},
};
use sqlx_core::row::Row;
use sqlx_postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::{
    Eyes, NAMES, RecordError, Records,
    codec::{Stored, Subject, clock, person, what_named, when},
    dynamic, find_for,
    list::scope_of,
    stored,
};
use crate::{
    db::{DbError, big, from_cbor, small, sql, uuid},
    store::round::Held,
};

impl Records {
    /// One record; a tombstone for those who may bring it back.
    ///
    /// # Errors
    /// [`RecordError`]; there is no such record also where it may not be read.
    pub async fn get(&self, id: RecordId) -> Result<Record, RecordError> {
        let mut tx = self.db.moment(self.asker.community).await?;
        let eyes = Eyes::of(&mut tx, self.asker).await?;
        let found = find_for(&mut tx, &eyes, id, Action::Read).await?;
        tx.commit().await?;
        Ok(found.record())
    }

    /// Whether documents may be added there.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn may_add_document(&self, project: Option<RecordId>) -> Result<bool, RecordError> {
        let mut tx = self.db.moment(self.asker.community).await?;
        let eyes = Eyes::of(&mut tx, self.asker).await?;
        let created_by = eyes.person;
        let place = Subject { id: None, kind: Kind::Document, scope: project, created_by, deleted: false };
        let may = eyes.may(&mut tx, Action::Create, place).await?;
        tx.commit().await?;
        Ok(may)
    }

    /// Whether this record may be changed.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn may_update(&self, id: RecordId) -> Result<bool, RecordError> {
        let mut tx = self.db.moment(self.asker.community).await?;
        let eyes = Eyes::of(&mut tx, self.asker).await?;
        let Some(found) = stored(&mut tx, self.asker.community, id).await? else { return Ok(false) };
        let may = eyes.may(&mut tx, Action::Update, found.subject()).await?;
        tx.commit().await?;
        Ok(may)
    }

    /// One page of a record's changes, newest first.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub async fn history(
        &self,
        id: RecordId,
        after: Option<&Cursor>,
        limit: u16,
    ) -> Result<Page<HistoryEntry>, RecordError> {
        let before = read_version(after)?;
        let limit = page_len(limit);
        let mut tx = self.db.moment(self.asker.community).await?;
        let eyes = Eyes::of(&mut tx, self.asker).await?;
        let kind = find_for(&mut tx, &eyes, id, Action::Read).await?.state.kind;
        let rows = sql(
            "SELECT h.version, h.change_id, h.what, h.hlc, h.author, f.name, \
                 (SELECT v.body FROM cairn.value v WHERE v.community_id = $1 AND v.record_id = $2 AND v.field = f.name \
                     AND v.version = h.version) AS after, \
                 (SELECT v.body FROM cairn.value v WHERE v.community_id = $1 AND v.record_id = $2 AND v.field = f.name \
                     AND v.version < h.version ORDER BY v.version DESC LIMIT 1) AS before \
             FROM (SELECT * FROM cairn.history WHERE community_id = $1 AND record_id = $2 AND version < $3 \
                   ORDER BY version DESC LIMIT $4) h LEFT JOIN LATERAL unnest(h.fields) AS f(name) ON true \
             ORDER BY h.version DESC, f.name",
        )
        .bind(uuid(eyes.community.as_bytes()))
        .bind(uuid(id.as_bytes()))
        .bind(big(before))
        .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let mut items: Vec<HistoryEntry> = Vec::new();
        for row in &rows {
            let version = small(row.try_get("version")?);
            if items.last().is_none_or(|entry| entry.version != version) {
                items.push(entry(row, version)?);
            }
            let name: Option<String> = row.try_get("name")?;
            // A field of a later release is not shown.
            let def = name.as_deref().and_then(|name| kind.def().field(name));
            if let (Some(def), Some(entry)) = (def, items.last_mut()) {
                let (before, after) = (value(row, "before")?, value(row, "after")?);
                entry.changes.push(FieldChange { field: def.name.to_owned(), before, after });
            }
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|entry| before_version(entry.version));
        Ok(Page { items, next })
    }

    /// How many living records of each kind there are.
    ///
    /// # Errors
    /// [`RecordError`].
    pub async fn counts(&self) -> Result<BTreeMap<Kind, u64>, RecordError> {
        let mut tx = self.db.moment(self.asker.community).await?;
        let eyes = Eyes::of(&mut tx, self.asker).await?;
        let each = Kind::ALL.map(|kind| {
            let (rule, scope, name) = (NAMES.rule(kind, Action::Read, false), scope_of(kind), kind.name());
            format!(
                "SELECT '{name}' AS kind, count(*) AS number FROM (SELECT record_id AS id, {scope} AS scope, created_by \
                 FROM cairn.record WHERE community_id = $1 AND kind = '{name}' AND NOT deleted) r WHERE {rule}"
            )
        });
        let rows = dynamic(each.join(" UNION ALL "))
            .bind(uuid(eyes.community.as_bytes()))
            .bind(eyes.viewer())
            .bind(eyes.role)
            .fetch_all(&mut *tx)
            .await?;
        tx.commit().await?;
        let mut counts: BTreeMap<Kind, u64> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        for row in rows {
            if let Ok(kind) = row.try_get::<String, _>("kind")?.parse() {
                counts.insert(kind, small(row.try_get("number")?));
            }
        }
        Ok(counts)
    }
}

fn entry(row: &PgRow, version: u64) -> Result<HistoryEntry, DbError> {
    let hlc = clock(&row.try_get::<Vec<u8>, _>("hlc")?)?;
    Ok(HistoryEntry {
        version,
        change: ChangeId::from_bytes(*row.try_get::<Uuid, _>("change_id")?.as_bytes()),
        at_ms: when(hlc),
        hlc,
        by: person(row.try_get("author")?),
        kind: what_named(&row.try_get::<String, _>("what")?),
        changes: Vec::new(),
    })
}

fn value(row: &PgRow, column: &str) -> Result<Value, DbError> {
    let body: Option<Vec<u8>> = row.try_get(column)?;
    body.map_or(Ok(Value::Null), |body| from_cbor::<Held>("value", &body).map(|Held(value)| value))
}

/// The record as it stood after the change that made `version`.
pub(super) async fn record_at(
    tx: &mut PgConnection,
    eyes: &Eyes,
    found: &Stored,
    version: u64,
) -> Result<Record, RecordError> {
    let mut record = found.record();
    if record.version == version {
        return Ok(record);
    }
    let (here, id) = (uuid(eyes.community.as_bytes()), uuid(record.id.as_bytes()));
    let rows = sql("SELECT DISTINCT ON (field) field, body FROM cairn.value \
         WHERE community_id = $1 AND record_id = $2 AND version <= $3 ORDER BY field, version DESC")
    .bind(here)
    .bind(id)
    .bind(big(version))
    .fetch_all(&mut *tx)
    .await?;
    record.fields.clear();
    for row in &rows {
        let name: String = row.try_get("field")?;
        match value(row, "body")? {
            Value::Null => {}
            value if record.kind.def().field(&name).is_some() => drop(record.fields.insert(name, value)),
            _ => {}
        }
    }
    let row = sql("SELECT version, change_id, what, hlc, author FROM cairn.history \
         WHERE community_id = $1 AND record_id = $2 AND version = $3")
    .bind(here)
    .bind(id)
    .bind(big(version))
    .fetch_one(tx)
    .await?;
    let entry = entry(&row, version)?;
    record.deleted = entry.kind == cairn_sync::shown::ChangeKind::Deleted;
    (record.version, record.changed_by, record.changed_at_ms) = (version, entry.by, entry.at_ms);
    Ok(record)
}
