//! Makes a record what it has to look like: the confirmed state with the waiting changes on top.
//!
//! What differs becomes versions in the record's history under the names of those who made the changes, so that what was
//! here before, and lost, can be read there.

use std::collections::BTreeMap;

use cairn_sync::{
    ChangeId, FieldDef, Kind, RecordId, Value,
    record::{RecordState, Stamp},
    replica::visible,
};
use rusqlite::{Connection, params};

use super::{conflicts, outgoing};
use crate::{
    accounts::keepers,
    db::writer::Desk,
    error::{Result, StoreError},
    record::{ChangeKind, RecordChanged, SyncState},
    records::{
        change::{derive, enlist, insert_head, unlist},
        codec::{change_code, sync_code, to_stored},
        head::{Field, FieldMap, Head},
    },
};

/// What one of the gateway's changes did here.
struct Step {
    stamp: Option<Stamp>,
    what: ChangeKind,
    sets: Vec<(&'static FieldDef, Value)>,
}

/// Brings one record up to date.
pub(super) fn record(desk: &mut Desk<'_>, id: RecordId) -> Result<()> {
    let connection = desk.connection;
    let state = outgoing::confirmed(connection, id)?;
    let waiting = outgoing::prepare(connection, id)?;
    let found = Head::find(connection, id)?;
    let Some(mut head) = found.or_else(|| state.as_ref().map(blank)) else { return Ok(()) };
    let is_new = head.version == 0;
    let mut fields = if is_new { FieldMap::new() } else { head.fields(connection)? };
    let was_live = !is_new && !head.deleted;

    let steps = match &state {
        Some(state) => steps(state, &visible(Some(state), &waiting), &fields, is_new, head.deleted),
        // Gone at the gateway: it stays to be read as a tombstone.
        None if waiting.is_empty() && !head.deleted => {
            vec![Step { stamp: None, what: ChangeKind::Deleted, sets: Vec::new() }]
        }
        None => Vec::new(),
    };
    if is_new {
        begin(desk, &mut head, state.as_ref())?;
    }
    let changed = !steps.is_empty();
    if changed && was_live {
        for field in fields.values() {
            unlist(connection, &head, field.def, &field.value)?;
        }
    }
    for step in steps {
        make(desk, &mut head, &mut fields, step)?;
    }
    head.sync = conflicts::note(desk, id, state.as_ref(), !waiting.is_empty())?;
    head.gateway_version = state.map(|state| state.version);
    write_head(connection, &head)?;
    if !changed {
        return Ok(());
    }
    if !head.deleted {
        for field in fields.values() {
            enlist(connection, &head, field.def, &field.value)?;
        }
    }
    if keepers::must_stay(connection, &head, &fields)? {
        tracing::warn!(person = %head.id, "the last keeper of this hub stays one until another can sign in");
    } else {
        match derive(connection, &head, &fields) {
            Err(StoreError::LoginTaken(login)) => {
                tracing::warn!(%login, "two people have this login; whoever had it here keeps it");
            }
            Err(StoreError::Invalid(error)) => {
                tracing::warn!(%error, "a synchronised person cannot sign in here")
            }
            other => other?,
        }
    }
    if head.kind == Kind::Person {
        keepers::settle(connection)?;
    }
    desk.tell(RecordChanged {
        id: head.id,
        kind: head.kind,
        project: head.project(),
        version: head.version,
        by: head.changed_by,
        deleted: head.deleted,
    });
    Ok(())
}

fn blank(state: &RecordState) -> Head {
    Head {
        id: state.id,
        kind: state.kind,
        scope: if state.kind == Kind::Project { Some(state.id) } else { state.project },
        version: 0,
        created_hlc: cairn_sync::Hlc::ZERO,
        created_by: None,
        created_at: 0,
        changed_hlc: cairn_sync::Hlc::ZERO,
        changed_by: None,
        changed_at: 0,
        sync: SyncState::Synced,
        gateway_version: Some(state.version),
        deleted: false,
    }
}

/// The head of a record that was not here before.
fn begin(desk: &mut Desk<'_>, head: &mut Head, state: Option<&RecordState>) -> Result<()> {
    let first =
        state.and_then(|state| state.fields.values().map(|field| field.stamp).min_by_key(|stamp| stamp.hlc));
    if let Some(stamp) = first {
        head.created_hlc = stamp.hlc.min(desk.observe(stamp.hlc));
        head.created_by = stamp.by;
        head.created_at = when(stamp);
    }
    if let Some(project) = head.scope.filter(|scope| *scope != head.id)
        && Head::find(desk.connection, project)?.is_none()
    {
        // Its project comes later in the stream; until then nobody enters it.
        let mut place = Head { id: project, kind: Kind::Project, scope: Some(project), ..head.clone() };
        (place.version, place.deleted, place.gateway_version) = (1, true, None);
        insert_head(desk.connection, &place)?;
    }
    insert_head(desk.connection, head)
}

/// The way from what is here to what has to be seen, in the order in which it was done.
fn steps(
    state: &RecordState,
    seen: &cairn_sync::replica::Visible,
    fields: &FieldMap,
    is_new: bool,
    was_deleted: bool,
) -> Vec<Step> {
    let mut by_change: BTreeMap<(cairn_sync::Hlc, ChangeId), Step> = BTreeMap::new();
    for (name, value) in &seen.fields {
        let Some(def) = state.kind.def().field(name) else { continue };
        let held = fields.get(def.name).map_or(&Value::Null, |field| &field.value);
        if held == value {
            continue;
        }
        if let Err(error) = def.check(value) {
            tracing::warn!(%error, record = %state.id, "a value from the gateway does not fit");
            continue;
        }
        let stamp = state.fields.get(name).map(|field| field.stamp);
        let key = stamp.map_or((cairn_sync::Hlc::ZERO, ChangeId::from_bytes([0; 16])), |s| (s.hlc, s.change));
        let step = by_change.entry(key);
        let step = step.or_insert_with(|| Step { stamp, what: ChangeKind::Changed, sets: Vec::new() });
        step.sets.push((def, value.clone()));
    }
    let mut steps: Vec<Step> = by_change.into_values().collect();
    if is_new {
        match steps.first_mut() {
            Some(first) => first.what = ChangeKind::Created,
            None => {
                let stamp = state.deleted.map(|tombstone| tombstone.stamp);
                steps.push(Step { stamp, what: ChangeKind::Created, sets: Vec::new() });
            }
        }
    }
    let deleted_before = !is_new && was_deleted;
    if seen.deleted && !deleted_before {
        let stamp = state.deleted.map(|tombstone| tombstone.stamp);
        steps.push(Step { stamp, what: ChangeKind::Deleted, sets: Vec::new() });
    } else if !seen.deleted && deleted_before {
        let stamp = state.fields.values().map(|field| field.stamp).max_by_key(|stamp| stamp.hlc);
        steps.insert(0, Step { stamp, what: ChangeKind::Restored, sets: Vec::new() });
    }
    steps
}

fn when(stamp: Stamp) -> i64 {
    i64::try_from(stamp.hlc.millis()).unwrap_or(i64::MAX)
}

/// One step: a version of the record, in its history under the change's own name where that is free.
fn make(desk: &mut Desk<'_>, head: &mut Head, fields: &mut FieldMap, step: Step) -> Result<()> {
    let connection = desk.connection;
    head.version += 1;
    match step.stamp {
        Some(stamp) => {
            // A clock from the far future is kept in the history, and does not become ours or the list's.
            head.changed_hlc = stamp.hlc.min(desk.observe(stamp.hlc));
            head.changed_by = stamp.by;
            head.changed_at = when(stamp);
        }
        None => {
            head.changed_hlc = desk.tick();
            head.changed_by = None;
            head.changed_at = desk.life.wall_ms();
        }
    }
    match step.what {
        ChangeKind::Deleted => head.deleted = true,
        ChangeKind::Created | ChangeKind::Restored => head.deleted = false,
        ChangeKind::Changed => {}
    }
    let hlc = step.stamp.map_or(head.changed_hlc, |stamp| stamp.hlc);
    let mut change = step.stamp.map_or_else(ChangeId::new, |stamp| stamp.change);
    if connection.prepare_cached("SELECT 1 FROM history WHERE change = ?1")?.exists([change.as_bytes()])? {
        change = ChangeId::new();
    }
    let author = head.changed_by.as_ref().map(RecordId::as_bytes);
    let names: Vec<&str> = step.sets.iter().map(|(def, _)| def.name).collect();
    connection
        .prepare_cached(
            "INSERT INTO history (record, version, change, kind, hlc, at, author, fields) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            head.id.as_bytes(),
            head.version,
            change.as_bytes(),
            change_code(step.what),
            hlc.to_bytes(),
            head.changed_at,
            author,
            names.join(","),
        ])?;
    for (def, value) in step.sets {
        connection
            .prepare_cached(
                "INSERT INTO fields (record, name, value, version, hlc, author) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT DO UPDATE SET value = excluded.value, version = excluded.version, hlc = excluded.hlc, \
                 author = excluded.author",
            )?
            .execute(params![
                head.id.as_bytes(),
                def.name,
                to_stored(&value)?,
                head.version,
                hlc.to_bytes(),
                author
            ])?;
        connection
            .prepare_cached(
                "INSERT INTO history_values (record, field, version, value) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![head.id.as_bytes(), def.name, head.version, to_stored(&value)?])?;
        fields.insert(def.name, Field { def, value, version: head.version });
    }
    Ok(())
}

fn write_head(connection: &Connection, head: &Head) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE records SET version = ?2, changed_hlc = ?3, changed_by = ?4, changed_at = ?5, sync = ?6, \
             deleted = ?7, gateway_version = ?8 WHERE id = ?1",
        )?
        .execute(params![
            head.id.as_bytes(),
            head.version,
            head.changed_hlc.to_bytes(),
            head.changed_by.as_ref().map(RecordId::as_bytes),
            head.changed_at,
            sync_code(head.sync),
            head.deleted,
            head.gateway_version,
        ])?;
    Ok(())
}
