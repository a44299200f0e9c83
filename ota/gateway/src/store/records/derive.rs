//! What lists and permissions read, derived from the states of records in the transaction that writes them.

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use cairn_sync::{
    CommunityId, FieldType, Hlc, HubId, Kind, RecordId, Value,
    access::{project_role_code, project_role_named, role_code, role_named},
    batch::Step,
    hlc::MAX_DRIFT_MS,
    lookup::lookup_keys,
    record::{RecordState, Stamp},
};
use sqlx_core::row::Row;
use sqlx_postgres::PgConnection;
use uuid::Uuid;

use super::codec::{clock, what_name};
use crate::{
    db::{Db, DbError, big, from_cbor, sql, uuid},
    store::{Refused, round::lock},
};

/// Most records that one call makes up for.
const CATCH_UP: i64 = 2_000;

/// The wall clock in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A clock for lists: one from the far future would stand on top of them for ever.
fn listed(hlc: Hlc) -> Vec<u8> {
    let limit = Hlc::at(wall_ms().saturating_add(MAX_DRIFT_MS), HubId::from_bytes([0xff; 16]));
    hlc.min(limit).to_bytes().to_vec()
}

/// Of a record that nothing is known of.
fn nowhen() -> Vec<u8> {
    Hlc::ZERO.to_bytes().to_vec()
}

/// The columns of a record that say who made and changed it.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    pub(crate) created_hlc: Option<Vec<u8>>,
    pub(crate) created_by: Option<Uuid>,
    pub(crate) changed_hlc: Option<Vec<u8>>,
    pub(crate) changed_by: Option<Uuid>,
}

impl Marks {
    /// From what a batch did to the record, in order; what it does not say stays as it is.
    pub(crate) fn of(steps: &[&Step]) -> Self {
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Self::default() };
        Self::between(first.stamp, last.stamp)
    }

    fn between(first: Stamp, last: Stamp) -> Self {
        let person = |stamp: Stamp| stamp.by.map(|by| uuid(by.as_bytes()));
        Self {
            created_hlc: Some(listed(first.hlc)),
            created_by: person(first),
            changed_hlc: Some(listed(last.hlc)),
            changed_by: person(last),
        }
    }

    /// From the state alone, as far as that says it.
    fn of_state(state: &RecordState) -> Self {
        let tombstone = state.deleted.map(|tombstone| (tombstone.version, tombstone.stamp));
        let stamps = state.fields.values().map(|field| (field.version, field.stamp)).chain(tombstone);
        let first = stamps.clone().map(|(_, stamp)| stamp).min_by_key(|stamp| stamp.hlc);
        let last = stamps.max_by_key(|(version, _)| *version).map(|(_, stamp)| stamp);
        first.zip(last).map_or_else(Self::default, |(first, last)| Self::between(first, last))
    }
}

/// A key in the index of values.
type Found = (&'static str, String, Vec<u8>);

fn found(state: Option<&RecordState>) -> BTreeSet<Found> {
    let mut keys = BTreeSet::new();
    let Some(state) = state.filter(|state| state.deleted.is_none()) else { return keys };
    for def in state.kind.def().fields {
        let Some(field) = state.fields.get(def.name) else { continue };
        let exact = match (&field.value, def.ty) {
            (Value::Text(text), FieldType::Line) => exact(text),
            _ => Vec::new(),
        };
        keys.extend(lookup_keys(def, &field.value).into_iter().map(|key| (def.name, key, exact.clone())));
    }
    keys
}

/// What tells a line from others with the same key.
pub(crate) fn exact(line: &str) -> Vec<u8> {
    blake3::hash(line.as_bytes()).as_bytes().iter().take(16).copied().collect()
}

/// Derives from records as they were and are. Their rows are written already.
pub(crate) async fn derive(
    tx: &mut PgConnection,
    community: CommunityId,
    became: impl Iterator<Item = (Option<&RecordState>, &RecordState)>,
) -> Result<(), DbError> {
    let (mut gone, mut new) = (Keys::default(), Keys::default());
    for (before, after) in became {
        let (was, is) = (found(before), found(Some(after)));
        was.difference(&is).for_each(|key| gone.push(after, key));
        is.difference(&was).for_each(|key| new.push(after, key));
        match after.kind {
            Kind::Project => project(tx, community, after).await?,
            Kind::Membership => member(tx, community, after).await?,
            Kind::Person => person(tx, community, after).await?,
            _ => {}
        }
    }
    if !gone.ids.is_empty() {
        sql("DELETE FROM cairn.lookup l \
             USING unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) AS k(record_id, kind, name, value), cairn.record r \
             WHERE r.community_id = $1 AND r.record_id = k.record_id AND l.community_id = $1 AND l.kind = k.kind \
             AND l.name = k.name AND l.value = k.value AND l.created_hlc = r.created_hlc AND l.record_id = k.record_id")
        .bind(uuid(community.as_bytes()))
        .bind(gone.ids)
        .bind(gone.kinds)
        .bind(gone.names)
        .bind(gone.values)
        .execute(&mut *tx)
        .await?;
    }
    if !new.ids.is_empty() {
        // A row of before has no clock yet; it is made up for as a whole.
        sql("INSERT INTO cairn.lookup (community_id, kind, name, value, created_hlc, record_id, exact) \
             SELECT $1, k.kind, k.name, k.value, r.created_hlc, r.record_id, k.exact \
             FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[]) AS k(record_id, kind, name, value, exact) \
             JOIN cairn.record r ON r.community_id = $1 AND r.record_id = k.record_id WHERE r.created_hlc IS NOT NULL \
             ON CONFLICT (community_id, kind, name, value, created_hlc, record_id) DO UPDATE SET exact = excluded.exact")
        .bind(uuid(community.as_bytes()))
        .bind(new.ids)
        .bind(new.kinds)
        .bind(new.names)
        .bind(new.values)
        .bind(new.exacts)
        .execute(tx)
        .await?;
    }
    Ok(())
}

/// Keys of many records, by column.
#[derive(Default)]
struct Keys {
    ids: Vec<Uuid>,
    kinds: Vec<String>,
    names: Vec<String>,
    values: Vec<String>,
    exacts: Vec<Vec<u8>>,
}

impl Keys {
    fn push(&mut self, record: &RecordState, (name, value, exact): &Found) {
        self.ids.push(uuid(record.id.as_bytes()));
        self.kinds.push(record.kind.name().to_owned());
        self.names.push((*name).to_owned());
        self.values.push(value.clone());
        self.exacts.push(exact.clone());
    }
}

fn text<'a>(state: &'a RecordState, field: &str) -> &'a str {
    state.fields.get(field).and_then(|field| field.value.as_text()).unwrap_or_default()
}

fn flag(state: &RecordState, field: &str) -> bool {
    state.fields.get(field).and_then(|field| field.value.as_bool()).unwrap_or_default()
}

async fn project(tx: &mut PgConnection, community: CommunityId, state: &RecordState) -> Result<(), DbError> {
    sql("INSERT INTO cairn.project (community_id, id, open, live) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (community_id, id) DO UPDATE SET open = excluded.open, live = excluded.live")
    .bind(uuid(community.as_bytes()))
    .bind(uuid(state.id.as_bytes()))
    .bind(flag(state, "open"))
    .bind(state.deleted.is_none())
    .execute(tx)
    .await?;
    Ok(())
}

async fn member(tx: &mut PgConnection, community: CommunityId, state: &RecordState) -> Result<(), DbError> {
    let person = text(state, "person").parse::<RecordId>().ok();
    let (Some(person), Some(project), None) = (person, state.project, state.deleted) else {
        sql("DELETE FROM cairn.member WHERE community_id = $1 AND record = $2")
            .bind(uuid(community.as_bytes()))
            .bind(uuid(state.id.as_bytes()))
            .execute(tx)
            .await?;
        return Ok(());
    };
    sql(
        "INSERT INTO cairn.member (community_id, record, person, project, role) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (community_id, record) DO UPDATE SET person = excluded.person, role = excluded.role",
    )
    .bind(uuid(community.as_bytes()))
    .bind(uuid(state.id.as_bytes()))
    .bind(uuid(person.as_bytes()))
    .bind(uuid(project.as_bytes()))
    .bind(project_role_code(project_role_named(text(state, "role"))))
    .execute(tx)
    .await?;
    Ok(())
}

async fn person(tx: &mut PgConnection, community: CommunityId, state: &RecordState) -> Result<(), DbError> {
    sql("INSERT INTO cairn.person (community_id, id, role, closed, login) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (community_id, id) DO UPDATE SET role = excluded.role, closed = excluded.closed, \
         login = excluded.login")
    .bind(uuid(community.as_bytes()))
    .bind(uuid(state.id.as_bytes()))
    .bind(role_code(role_named(text(state, "role"))))
    .bind(state.deleted.is_some() || flag(state, "disabled"))
    .bind(text(state, "login").to_owned())
    .execute(tx)
    .await?;
    Ok(())
}

/// Writes what changes did to records.
pub(crate) async fn history(
    tx: &mut PgConnection,
    community: CommunityId,
    steps: &[Step],
) -> Result<(), DbError> {
    let (mut ids, mut versions, mut changes, mut whats) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut clocks, mut authors, mut fields) = (Vec::new(), Vec::new(), Vec::new());
    for step in steps {
        ids.push(uuid(step.record.as_bytes()));
        versions.push(big(step.version));
        changes.push(uuid(step.stamp.change.as_bytes()));
        whats.push(what_name(step.what).to_owned());
        clocks.push(step.stamp.hlc.to_bytes().to_vec());
        authors.push(step.stamp.by.map(|by| uuid(by.as_bytes())));
        // Arrays of arrays must be rectangular: the names, which hold no commas, go as one text each.
        fields.push(step.fields.join(","));
    }
    sql("INSERT INTO cairn.history (community_id, record_id, version, change_id, what, hlc, author, fields) \
         SELECT $1, s.record_id, s.version, s.change_id, s.what, s.hlc, s.author, string_to_array(s.fields, ',') \
         FROM unnest($2::uuid[], $3::bigint[], $4::uuid[], $5::text[], $6::bytea[], $7::uuid[], $8::text[]) \
         AS s(record_id, version, change_id, what, hlc, author, fields)")
    .bind(uuid(community.as_bytes()))
    .bind(ids)
    .bind(versions)
    .bind(changes)
    .bind(whats)
    .bind(clocks)
    .bind(authors)
    .bind(fields)
    .execute(tx)
    .await?;
    Ok(())
}

/// Makes up for rows that were written by a release which derived nothing. False where there are more than one call does.
///
/// # Errors
/// [`Refused`].
pub(crate) async fn catch_up(db: &Db, community: CommunityId) -> Result<bool, Refused> {
    let here = uuid(community.as_bytes());
    let mut tx = db.scoped(community).await?;
    lock(&mut tx, community).await?;
    let rows = sql("SELECT state, created_hlc FROM cairn.record \
         WHERE community_id = $1 AND underived ORDER BY version LIMIT $2")
    .bind(here)
    .bind(CATCH_UP)
    .fetch_all(&mut *tx)
    .await?;
    for row in &rows {
        let state: RecordState = from_cbor("record", row.try_get("state")?)?;
        let mut marks = Marks::of_state(&state);
        if let Some(bytes) = row.try_get::<Option<Vec<u8>>, _>("created_hlc")? {
            // It had keys, under the clock that it keeps.
            marks.created_hlc = Some(clock(&bytes)?.to_bytes().to_vec());
            sql("DELETE FROM cairn.lookup WHERE community_id = $1 AND kind = $2 AND record_id = $3")
                .bind(here)
                .bind(state.kind.name())
                .bind(uuid(state.id.as_bytes()))
                .execute(&mut *tx)
                .await?;
        }
        sql("UPDATE cairn.record SET created_hlc = $3, created_by = coalesce(created_by, $4), \
             changed_hlc = $5, changed_by = $6, derived = version \
             WHERE community_id = $1 AND record_id = $2")
        .bind(here)
        .bind(uuid(state.id.as_bytes()))
        .bind(marks.created_hlc.unwrap_or_else(nowhen))
        .bind(marks.created_by)
        .bind(marks.changed_hlc.unwrap_or_else(nowhen))
        .bind(marks.changed_by)
        .execute(&mut *tx)
        .await?;
        derive(&mut tx, community, std::iter::once((None, &state))).await?;
    }
    tx.commit().await?;
    Ok(big(rows.len() as u64) < CATCH_UP)
}
