//! Makes a record what it has to look like: the confirmed state with the waiting changes on top.
//!
//! What differs becomes versions in the record's history under the names of those who made the changes, so that what was
//! here before, and lost, can be read there.

use std::collections::BTreeMap;

use cairn_sync::{
    ChangeId, FieldDef, Hlc, Kind, RecordId, Value,
    change::Change,
    record::{RecordState, Stamp},
    replica::visible,
};
use rusqlite::Connection;

use super::conflicts;
use crate::{
    accounts::keepers,
    db::writer::Desk,
    error::{Result, StoreError},
    record::{ChangeKind, RecordChanged, SyncState},
    records::{
        change::{Version, derive, enlist, insert_head, unlist, update_head, update_standing},
        head::{Field, FieldMap, Head},
    },
};

/// What one of the gateway's changes did here.
struct Step {
    stamp: Option<Stamp>,
    what: ChangeKind,
    sets: Vec<(&'static FieldDef, Value)>,
}

/// Brings one record up to date with what is confirmed of it and what waits.
pub(super) fn record(
    desk: &mut Desk<'_>,
    id: RecordId,
    state: Option<&RecordState>,
    waiting: &[Change],
) -> Result<()> {
    let connection = desk.connection;
    let found = Head::find(connection, id)?;
    let Some(mut head) = found.or_else(|| state.map(blank)) else { return Ok(()) };
    let (is_new, was_deleted) = (head.version == 0, head.deleted);
    let mut fields = if is_new { FieldMap::new() } else { head.fields(connection)? };

    let steps = match state {
        Some(state) => steps(state, &visible(Some(state), waiting), &fields, is_new, was_deleted),
        // Gone at the gateway: it stays to be read as a tombstone.
        None if waiting.is_empty() && !was_deleted => {
            vec![Step { stamp: None, what: ChangeKind::Deleted, sets: Vec::new() }]
        }
        None => Vec::new(),
    };
    if is_new {
        begin(desk, &mut head, state)?;
    }
    let made: Vec<Made> = steps.into_iter().map(|step| make(desk, &mut head, step)).collect();
    head.sync = conflicts::note(desk, id, state, !waiting.is_empty())?;
    head.gateway_version = state.map(|state| state.version);
    if is_new {
        insert_head(connection, &head)?;
    } else if made.is_empty() {
        return update_standing(connection, &head);
    } else {
        update_head(connection, &head, was_deleted)?;
        if !was_deleted {
            for field in fields.values() {
                unlist(connection, &head, field.def, &field.value)?;
            }
        }
    }
    for step in made {
        step.write(connection, &head, &mut fields)?;
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
        created_hlc: Hlc::ZERO,
        created_by: None,
        created_at: 0,
        changed_hlc: Hlc::ZERO,
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
    Ok(())
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
        let key = stamp.map_or((Hlc::ZERO, ChangeId::from_bytes([0; 16])), |s| (s.hlc, s.change));
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

/// A step that has become a version of the record and is not written yet.
struct Made {
    number: u64,
    change: ChangeId,
    what: ChangeKind,
    hlc: Hlc,
    at: i64,
    by: Option<RecordId>,
    sets: Vec<(&'static FieldDef, Value)>,
}

/// Makes a step the next version of the record.
fn make(desk: &mut Desk<'_>, head: &mut Head, step: Step) -> Made {
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
    Made {
        number: head.version,
        change: step.stamp.map_or_else(ChangeId::new, |stamp| stamp.change),
        what: step.what,
        hlc: step.stamp.map_or(head.changed_hlc, |stamp| stamp.hlc),
        at: head.changed_at,
        by: head.changed_by,
        sets: step.sets,
    }
}

impl Made {
    /// Under the change's own name, where that is free.
    fn write(self, connection: &Connection, head: &Head, fields: &mut FieldMap) -> Result<()> {
        let Self { number, change, what, hlc, at, by, sets } = self;
        let mut version = Version { record: head.id, number, change, what, hlc, at, by, sets: &sets };
        if !version.write_history(connection)? {
            version.change = ChangeId::new();
            version.write_history(connection)?;
        }
        version.write_fields(connection)?;
        for (def, value) in sets {
            fields.insert(def.name, Field { def, value, version: number });
        }
        Ok(())
    }
}
