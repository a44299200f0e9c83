//! A round: one transaction that admits the hub, decides on its changes under the community's lock, and reads what is
//! newer.

use std::collections::{BTreeMap, BTreeSet};

use cairn_sync::{
    ChangeId, CommunityId, Kind, RecordId,
    admission::{Admission, Seat},
    authority::{Standing, Trace},
    batch::{Needs, Step, WorkingSet, Written, needs},
    change::{Action, Change},
    http::{Credential, Page},
    record::RecordState,
    value::exact,
    wire::{MAX_CHANGES, MAX_SCOPES, PROTOCOL, Reply, Request, ScopeId},
};
use serde::{Deserialize, Serialize};
use sqlx_core::row::Row;
use sqlx_postgres::PgConnection;
use uuid::Uuid;

use super::{
    Grant, Refused, authenticate, grant, newer,
    records::derive::{self, Marks},
    scope_column,
};
use crate::db::{Db, DbError, big, from_cbor, small, sql, to_cbor, uuid};

/// How often a transaction that clashed with another is tried.
const TRIES: usize = 4;
/// One in so many pushes forgets deletions that every hub has passed.
const COLLECT_EVERY: u64 = 32;

/// What came of a round.
#[derive(Debug)]
pub struct Served {
    /// For the hub.
    pub reply: Reply,
    /// The community's version where this round raised it: others may want to know.
    pub raised: Option<u64>,
}

/// A value as it is stored.
#[derive(Serialize, Deserialize)]
pub(crate) struct Held(#[serde(with = "exact")] pub(crate) cairn_sync::Value);

/// Serves a request. `fresh` is random.
///
/// # Errors
/// [`Refused`]; nothing of the request has taken effect then.
pub async fn serve(db: &Db, who: &Credential, request: &Request, fresh: u64) -> Result<Served, Refused> {
    if request.hub != who.hub {
        return Err(Refused::Order("the request is of another hub than the key".to_owned()));
    }
    if request.changes.len() > MAX_CHANGES || request.cursors.len() > MAX_SCOPES {
        return Err(Refused::Quota("more changes or scopes than one request may hold"));
    }
    let mut tries = 0;
    loop {
        tries += 1;
        match once(db, who, request, fresh).await {
            Err(Refused::Db(error)) if error.is_clash() && tries < TRIES => {}
            served => return served,
        }
    }
}

async fn once(db: &Db, who: &Credential, request: &Request, fresh: u64) -> Result<Served, Refused> {
    let community = who.community;
    // Under the community's lock everything stands still by itself. Without it, the reading has to see one moment.
    let pushes = !request.changes.is_empty();
    let mut tx = if pushes { db.scoped(community).await? } else { db.moment(community).await? };
    authenticate(&mut tx, who).await?;
    let ticket = admit(&mut tx, who, request, fresh).await?;
    let ticket = match ticket {
        Some(ticket) => ticket,
        None => {
            sql("UPDATE cairn.hub SET copies = copies + 1 WHERE community_id = $1 AND hub_id = $2")
                .bind(uuid(community.as_bytes()))
                .bind(uuid(who.hub.as_bytes()))
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            return Err(Refused::Copy);
        }
    };
    let mut granted = grant(&mut tx, who).await?;
    let (outcomes, version, raised) = if pushes {
        let before = lock(&mut tx, community).await?;
        let written = push(&mut tx, who, &mut granted, &request.changes, before).await?;
        let raised = (written.version > before).then_some(written.version);
        if fresh.is_multiple_of(COLLECT_EVERY) {
            for scope in request.cursors.keys().filter(|scope| granted.covers(**scope)) {
                collect(&mut tx, community, *scope).await?;
            }
        }
        (written.outcomes, written.version, raised)
    } else {
        (Vec::new(), newer::version(&mut tx, community).await?, None)
    };
    let page = newer::newer(&mut tx, community, &granted, &request.cursors, request.limit, version).await?;
    tx.commit().await?;
    let Page { records, cursors, horizons, reread, withheld, more, checksums } = page;
    let reply = Reply {
        protocol: PROTOCOL,
        request: request.request,
        ticket,
        outcomes,
        records,
        cursors,
        horizons,
        reread,
        withheld,
        more,
        checksums,
    };
    Ok(Served { reply, raised })
}

/// The ticket for the next request; none where the sender is a copy.
async fn admit(
    tx: &mut PgConnection,
    who: &Credential,
    request: &Request,
    fresh: u64,
) -> Result<Option<u64>, Refused> {
    let row = sql("SELECT seat FROM cairn.hub WHERE community_id = $1 AND hub_id = $2 FOR UPDATE")
        .bind(uuid(who.community.as_bytes()))
        .bind(uuid(who.hub.as_bytes()))
        .fetch_one(&mut *tx)
        .await?;
    let seat: Seat = serde_json::from_str(row.try_get("seat")?)
        .map_err(|error| DbError::Damaged { what: "seat", why: error.to_string() })?;
    if seat.admit(request) == Admission::Copy {
        return Ok(None);
    }
    let seat = seat.served(request, fresh);
    let text = serde_json::to_string(&seat)
        .map_err(|error| DbError::Damaged { what: "seat", why: error.to_string() })?;
    sql("UPDATE cairn.hub SET seat = $3, floor = $4, last_round_ms = cairn.now_ms() \
         WHERE community_id = $1 AND hub_id = $2")
    .bind(uuid(who.community.as_bytes()))
    .bind(uuid(who.hub.as_bytes()))
    .bind(text)
    .bind(big(request.floor))
    .execute(tx)
    .await?;
    Ok(Some(seat.ticket))
}

/// Takes the community's lock: from here to the commit nobody else gives versions, so that the order of versions is the
/// order in which they become visible. Gives the newest version.
pub(crate) async fn lock(tx: &mut PgConnection, community: CommunityId) -> Result<u64, Refused> {
    let row = sql("SELECT version FROM cairn.community WHERE community_id = $1 FOR UPDATE")
        .bind(uuid(community.as_bytes()))
        .fetch_optional(tx)
        .await?
        .ok_or(Refused::Revoked)?;
    Ok(small(row.try_get("version")?))
}

async fn push(
    tx: &mut PgConnection,
    who: &Credential,
    granted: &mut Grant,
    changes: &[Change],
    before: u64,
) -> Result<Written, Refused> {
    let mut set = load(tx, who.community, &needs(changes), before).await?;
    // A hub may write into a project that it is just making.
    let made: BTreeSet<RecordId> = changes
        .iter()
        .filter(|change| change.kind == Kind::Project && matches!(change.action, Action::Put(_)))
        .map(|change| change.record)
        .filter(|project| !set.records.contains_key(project))
        .collect();
    let written = set.apply(changes, |project| {
        granted.covers(ScopeId::from(project)) || project.is_some_and(|project| made.contains(&project))
    });
    if let Grant::Projects(projects) = granted {
        let made: Vec<_> = made.into_iter().filter(|project| written.records.contains_key(project)).collect();
        let columns: Vec<Uuid> = made.iter().map(|project| uuid(project.as_bytes())).collect();
        sql("INSERT INTO cairn.hub_project (community_id, hub_id, project_id) \
             SELECT $1, $2, unnest($3::uuid[]) ON CONFLICT DO NOTHING")
        .bind(uuid(who.community.as_bytes()))
        .bind(uuid(who.hub.as_bytes()))
        .bind(columns)
        .execute(&mut *tx)
        .await?;
        projects.extend(made);
    }
    store(tx, who.community, &written, before).await?;
    Ok(written)
}

/// Loads what has to be known to decide.
pub(crate) async fn load(
    tx: &mut PgConnection,
    community: CommunityId,
    needs: &Needs,
    version: u64,
) -> Result<WorkingSet, DbError> {
    let here = uuid(community.as_bytes());
    let mut set = WorkingSet { version, ..WorkingSet::default() };
    let changes: Vec<Uuid> = needs.changes.iter().map(|id| uuid(id.as_bytes())).collect();
    let rows =
        sql("SELECT change_id, outcome FROM cairn.answer WHERE community_id = $1 AND change_id = ANY($2)")
            .bind(here)
            .bind(changes)
            .fetch_all(&mut *tx)
            .await?;
    for row in rows {
        let id = ChangeId::from_bytes(*row.try_get::<Uuid, _>("change_id")?.as_bytes());
        set.answered.insert(id, from_cbor("answer", row.try_get("outcome")?)?);
    }
    let records: Vec<Uuid> = needs.records.iter().map(|id| uuid(id.as_bytes())).collect();
    let rows = sql("SELECT state FROM cairn.record WHERE community_id = $1 AND record_id = ANY($2)")
        .bind(here)
        .bind(records)
        .fetch_all(&mut *tx)
        .await?;
    for row in rows {
        let record: RecordState = from_cbor("record", row.try_get("state")?)?;
        set.records.insert(record.id, record);
    }
    if !needs.traces.is_empty() {
        let (mut ids, mut fields, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        for (record, field, change) in &needs.traces {
            ids.push(uuid(record.as_bytes()));
            fields.push(field.clone());
            changes.push(uuid(change.as_bytes()));
        }
        let rows = sql(
            "SELECT t.record_id, t.field, t.change_id, t.body FROM unnest($2::uuid[], $3::text[], $4::uuid[]) \
             AS n(record_id, field, change_id) JOIN cairn.trace t USING (record_id, field, change_id) \
             WHERE t.community_id = $1",
        )
        .bind(here)
        .bind(ids)
        .bind(fields)
        .bind(changes)
        .fetch_all(&mut *tx)
        .await?;
        for row in rows {
            let record = RecordId::from_bytes(*row.try_get::<Uuid, _>("record_id")?.as_bytes());
            let change = ChangeId::from_bytes(*row.try_get::<Uuid, _>("change_id")?.as_bytes());
            let trace: Trace = from_cbor("trace", row.try_get("body")?)?;
            set.traces.insert((record, row.try_get("field")?, change), trace);
        }
    }
    if !needs.values.is_empty() {
        let (mut ids, mut fields, mut versions) = (Vec::new(), Vec::new(), Vec::new());
        for (record, field, version) in &needs.values {
            ids.push(uuid(record.as_bytes()));
            fields.push(field.clone());
            versions.push(big(*version));
        }
        let rows = sql(
            "SELECT v.record_id, v.field, v.version, v.body FROM unnest($2::uuid[], $3::text[], $4::bigint[]) \
             AS n(record_id, field, version) JOIN cairn.value v USING (record_id, field, version) \
             WHERE v.community_id = $1",
        )
        .bind(here)
        .bind(ids)
        .bind(fields)
        .bind(versions)
        .fetch_all(&mut *tx)
        .await?;
        for row in rows {
            let record = RecordId::from_bytes(*row.try_get::<Uuid, _>("record_id")?.as_bytes());
            let Held(value) = from_cbor("value", row.try_get("body")?)?;
            set.values.insert((record, row.try_get("field")?, small(row.try_get("version")?)), value);
        }
    }
    Ok(set)
}

/// Writes what was decided.
pub(crate) async fn store(
    tx: &mut PgConnection,
    community: CommunityId,
    written: &Written,
    before: u64,
) -> Result<(), DbError> {
    let here = uuid(community.as_bytes());
    let (mut ids, mut outcomes) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for (id, outcome) in written.outcomes.iter().filter(|(id, _)| written.answered.contains(id)) {
        if seen.insert(*id) {
            ids.push(uuid(id.as_bytes()));
            outcomes.push(to_cbor(outcome)?);
        }
    }
    sql("INSERT INTO cairn.answer (community_id, change_id, outcome) \
         SELECT $1, * FROM unnest($2::uuid[], $3::bytea[])")
    .bind(here)
    .bind(ids)
    .bind(outcomes)
    .execute(&mut *tx)
    .await?;
    if written.version == before && written.traces.is_empty() {
        return Ok(());
    }
    records(tx, community, written).await?;
    let (mut ids, mut fields, mut changes, mut bodies) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut held_ids, mut held_fields, mut versions, mut values) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (record, change, trace) in &written.traces {
        ids.push(uuid(record.as_bytes()));
        fields.push(trace.field.clone());
        changes.push(uuid(change.as_bytes()));
        bodies.push(to_cbor(trace)?);
        if let Some(Standing { value, version }) = &trace.became {
            held_ids.push(uuid(record.as_bytes()));
            held_fields.push(trace.field.clone());
            versions.push(big(*version));
            values.push(to_cbor(&Held(value.clone()))?);
        }
    }
    sql("INSERT INTO cairn.trace (community_id, record_id, field, change_id, body) \
         SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::uuid[], $5::bytea[])")
    .bind(here)
    .bind(ids)
    .bind(fields)
    .bind(changes)
    .bind(bodies)
    .execute(&mut *tx)
    .await?;
    sql("INSERT INTO cairn.value (community_id, record_id, field, version, body) \
         SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::bigint[], $5::bytea[])")
    .bind(here)
    .bind(held_ids)
    .bind(held_fields)
    .bind(versions)
    .bind(values)
    .execute(&mut *tx)
    .await?;
    sql("UPDATE cairn.community SET version = $2 WHERE community_id = $1")
        .bind(here)
        .bind(big(written.version))
        .execute(tx)
        .await?;
    Ok(())
}

/// Writes records and what their scopes add up to.
async fn records(tx: &mut PgConnection, community: CommunityId, written: &Written) -> Result<(), DbError> {
    let (mut ids, mut scopes, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    let (mut versions, mut deleted, mut states) = (Vec::new(), Vec::new(), Vec::new());
    let (mut created, mut creators) = (Vec::new(), Vec::new());
    let (mut changed, mut changers) = (Vec::new(), Vec::new());
    let mut steps: BTreeMap<RecordId, Vec<&Step>> = BTreeMap::new();
    for step in &written.steps {
        steps.entry(step.record).or_default().push(step);
    }
    for (id, became) in &written.records {
        let record = &became.after;
        ids.push(uuid(id.as_bytes()));
        scopes.push(scope_column(ScopeId::from(record.project)));
        kinds.push(record.kind.name().to_owned());
        versions.push(big(record.version));
        deleted.push(record.deleted.is_some());
        states.push(to_cbor(record)?);
        let marks = Marks::of(steps.get(id).map(Vec::as_slice).unwrap_or_default());
        created.push(marks.created_hlc);
        creators.push(marks.created_by);
        changed.push(marks.changed_hlc);
        changers.push(marks.changed_by);
    }
    let mut sums = newer::sums(tx, community, &scopes).await?;
    for became in written.records.values() {
        let sum = sums.entry(ScopeId::from(became.after.project)).or_default();
        if let Some(before) = &became.before {
            sum.checksum.remove(before);
        }
        sum.checksum.add(&became.after);
    }
    // Who created it stays; who changed it last stays where nothing but a conflict came of the batch. A row that another
    // release left underived stays so until it is made up for as a whole.
    sql(
        "INSERT INTO cairn.record (community_id, record_id, scope, kind, version, deleted, state, created_hlc, created_by, \
         changed_hlc, changed_by, derived) \
         SELECT $1, r.*, r.version FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::boolean[], \
             $7::bytea[], $8::bytea[], $9::uuid[], $10::bytea[], $11::uuid[]) \
             AS r(record_id, scope, kind, version, deleted, state, created_hlc, created_by, changed_hlc, changed_by) \
         ON CONFLICT (community_id, record_id) DO UPDATE SET version = excluded.version, \
         deleted = excluded.deleted, state = excluded.state, \
         changed_by = CASE WHEN excluded.changed_hlc IS NULL THEN record.changed_by ELSE excluded.changed_by END, \
         changed_hlc = coalesce(excluded.changed_hlc, record.changed_hlc), \
         derived = CASE WHEN record.derived = record.version THEN excluded.version ELSE record.derived END",
    )
    .bind(uuid(community.as_bytes()))
    .bind(ids)
    .bind(scopes)
    .bind(kinds)
    .bind(versions)
    .bind(deleted)
    .bind(states)
    .bind(created)
    .bind(creators)
    .bind(changed)
    .bind(changers)
    .execute(&mut *tx)
    .await?;
    let became = written.records.values().map(|became| (became.before.as_ref(), &became.after));
    derive::derive(tx, community, became).await?;
    derive::history(tx, community, &written.steps).await?;
    write_sums(tx, community, &sums).await
}

async fn write_sums(
    tx: &mut PgConnection,
    community: CommunityId,
    sums: &BTreeMap<ScopeId, newer::Sum>,
) -> Result<(), DbError> {
    let (mut scopes, mut checksums, mut horizons) = (Vec::new(), Vec::new(), Vec::new());
    for (scope, sum) in sums {
        scopes.push(scope_column(*scope));
        checksums.push(sum.checksum.to_bytes().to_vec());
        horizons.push(big(sum.horizon));
    }
    sql("INSERT INTO cairn.scope_sum (community_id, scope, checksum, horizon) \
         SELECT $1, * FROM unnest($2::uuid[], $3::bytea[], $4::bigint[]) \
         ON CONFLICT (community_id, scope) DO UPDATE SET checksum = excluded.checksum, horizon = excluded.horizon")
    .bind(uuid(community.as_bytes()))
    .bind(scopes)
    .bind(checksums)
    .bind(horizons)
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets deletions that every hub of the scope has passed. The caller holds the community's lock.
pub(crate) async fn collect(
    tx: &mut PgConnection,
    community: CommunityId,
    scope: ScopeId,
) -> Result<(), DbError> {
    let (here, column) = (uuid(community.as_bytes()), scope_column(scope));
    let row = sql(
        "SELECT coalesce(min(floor), 0) AS floor FROM cairn.hub h WHERE community_id = $1 AND retired_ms IS NULL \
         AND (every_project OR $3 OR EXISTS (SELECT 1 FROM cairn.hub_project p \
              WHERE p.community_id = $1 AND p.hub_id = h.hub_id AND p.project_id = $2))",
    )
    .bind(here)
    .bind(column)
    .bind(scope == ScopeId::Community)
    .fetch_one(&mut *tx)
    .await?;
    let floor = small(row.try_get("floor")?);
    let mut sums = newer::sums(tx, community, &[column]).await?;
    let sum = sums.entry(scope).or_default();
    if floor <= sum.horizon {
        return Ok(());
    }
    let gone = sql(
        "DELETE FROM cairn.record WHERE community_id = $1 AND scope = $2 AND deleted AND version <= $3 RETURNING state",
    )
    .bind(here)
    .bind(column)
    .bind(big(floor))
    .fetch_all(&mut *tx)
    .await?;
    // Where nothing was deleted there is nothing to forget, and no reason to write.
    if gone.is_empty() {
        return Ok(());
    }
    sum.horizon = floor;
    for row in &gone {
        sum.checksum.remove(&from_cbor("record", row.try_get("state")?)?);
    }
    write_sums(tx, community, &sums).await
}
