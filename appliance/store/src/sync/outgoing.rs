//! From the history to the changes that are sent: what was done, and what its maker had seen.
//!
//! A change is put into words before anything newer is taken in, so that "seen" is what the record's confirmed state
//! was when the person looked. The words are kept, because a request is repeated word for word.

use std::collections::{BTreeMap, BTreeSet};

use cairn_sync::{
    ChangeId, FieldDef, FieldType, Hlc, RecordId, Strategy, Value,
    change::{Action, Base, Change, Edit, FieldEdit, MAX_NAMED, Seen},
    record::{ConflictKey, RecordState},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{from_json, to_json};
use crate::{
    error::{Result, StoreError},
    record::ChangeKind,
    records::{
        codec::{change_of, hlc, id_or_none},
        head::{Head, value_at},
    },
};

/// A row of the outbox with what the history says of it.
struct Waiting {
    seq: i64,
    version: u64,
    change: ChangeId,
    what: ChangeKind,
    hlc: Hlc,
    by: Option<RecordId>,
    fields: Vec<&'static FieldDef>,
    prepared: Option<String>,
}

impl Waiting {
    fn touches(&self, def: &FieldDef) -> bool {
        self.fields.iter().any(|field| field.name == def.name)
    }
}

/// The confirmed state of a record.
pub(super) fn confirmed(connection: &Connection, record: RecordId) -> Result<Option<RecordState>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT state FROM confirmed WHERE record = ?1")?
        .query_row([record.as_bytes()], |row| row.get(0))
        .optional()?;
    text.map(|text| from_json(&text)).transpose()
}

/// Puts every change of a record that waits into words, and gives them all, oldest first.
pub(super) fn prepare(connection: &Connection, record: RecordId) -> Result<Vec<Change>> {
    let waits =
        connection.prepare_cached("SELECT 1 FROM outbox WHERE record = ?1")?.exists([record.as_bytes()])?;
    if !waits {
        return Ok(Vec::new());
    }
    let head = Head::find(connection, record)?
        .ok_or_else(|| StoreError::Corrupt("a waiting change of no record".to_owned()))?;
    let rows = rows(connection, &head)?;
    let state =
        if rows.iter().any(|row| row.prepared.is_none()) { confirmed(connection, record)? } else { None };
    let mut changes = Vec::with_capacity(rows.len());
    for (at, row) in rows.iter().enumerate() {
        if let Some(body) = &row.prepared {
            changes.push(from_json(body)?);
            continue;
        }
        let earlier = rows.get(..at).unwrap_or_default();
        let change = build(connection, &head, state.as_ref(), earlier, row)?;
        connection
            .prepare_cached("INSERT INTO prepared (seq, body) VALUES (?1, ?2)")?
            .execute(params![row.seq, to_json(&change)?])?;
        changes.push(change);
    }
    Ok(changes)
}

fn rows(connection: &Connection, head: &Head) -> Result<Vec<Waiting>> {
    let mut statement = connection.prepare_cached(
        "SELECT o.seq, o.version, h.change, h.kind, h.hlc, h.author, h.fields, p.body FROM outbox o \
         JOIN history h ON h.record = o.record AND h.version = o.version LEFT JOIN prepared p ON p.seq = o.seq \
         WHERE o.record = ?1 ORDER BY o.seq",
    )?;
    let mut rows = statement.query([head.id.as_bytes()])?;
    let mut waiting = Vec::new();
    while let Some(row) = rows.next()? {
        let names: String = row.get(6)?;
        waiting.push(Waiting {
            seq: row.get(0)?,
            version: row.get(1)?,
            change: ChangeId::from_bytes(row.get(2)?),
            what: change_of(row.get(3)?),
            hlc: hlc(row, 4)?,
            by: id_or_none(row, 5)?,
            fields: names.split(',').filter_map(|name| head.kind.def().field(name)).collect(),
            prepared: row.get(7)?,
        });
    }
    Ok(waiting)
}

fn build(
    connection: &Connection,
    head: &Head,
    confirmed: Option<&RecordState>,
    earlier: &[Waiting],
    row: &Waiting,
) -> Result<Change> {
    // Whoever brings back what the gateway has forgotten brings all of it.
    let begun = earlier.iter().any(|row| matches!(row.what, ChangeKind::Created | ChangeKind::Restored));
    let whole = row.what == ChangeKind::Restored && confirmed.is_none() && !begun;
    let action = match row.what {
        ChangeKind::Deleted => Action::Delete,
        ChangeKind::Restored if whole => {
            let mut edits = BTreeMap::new();
            for def in head.kind.def().fields {
                let value = value_at(connection, head.id, def, row.version)?;
                if value != Value::Null {
                    let edit = edit(def, &Value::Null, value);
                    edits.insert(def.name.to_owned(), FieldEdit { edit, base: Base::Version(0) });
                }
            }
            Action::Put(edits)
        }
        ChangeKind::Created | ChangeKind::Changed | ChangeKind::Restored => {
            let mut edits = BTreeMap::new();
            for def in &row.fields {
                let before = value_at(connection, head.id, def, row.version.saturating_sub(1))?;
                let value = value_at(connection, head.id, def, row.version)?;
                let own = earlier.iter().rev().find(|row| row.touches(def));
                let known =
                    confirmed.and_then(|state| state.fields.get(def.name)).map_or(0, |field| field.version);
                let base = own.map_or(Base::Version(known), |row| Base::Change(row.change));
                edits.insert(def.name.to_owned(), FieldEdit { edit: edit(def, &before, value), base });
            }
            Action::Put(edits)
        }
    };
    Ok(Change {
        id: row.change,
        record: head.id,
        kind: head.kind,
        project: head.project(),
        by: row.by,
        hlc: row.hlc,
        seen: Seen { version: confirmed.map_or(0, |state| state.version), own: own(earlier) },
        settles: settles(connection, row.change)?,
        action,
    })
}

/// What was done to a field that held `before` and holds `value`.
fn edit(def: &FieldDef, before: &Value, value: Value) -> Edit {
    match (def.ty, def.strategy) {
        (FieldType::Counter, _) => {
            let (before, now) = (before.as_int().unwrap_or(0), value.as_int().unwrap_or(0));
            Edit::Add(now.saturating_sub(before))
        }
        (FieldType::Set, Strategy::Merge) => {
            let none = BTreeSet::new();
            let (before, now) = (before.as_set().unwrap_or(&none), value.as_set().unwrap_or(&none));
            Edit::Elements {
                add: now.difference(before).cloned().collect(),
                remove: before.difference(now).cloned().collect(),
            }
        }
        _ => Edit::Set(value),
    }
}

/// The changes of one's own that a change was made on top of: all, or where they are more than can be named, for each
/// field the last one, which decides, and the last that took the record away or brought it back.
fn own(earlier: &[Waiting]) -> BTreeSet<ChangeId> {
    if earlier.len() <= MAX_NAMED {
        return earlier.iter().map(|row| row.change).collect();
    }
    let mut last: BTreeMap<&str, ChangeId> = BTreeMap::new();
    for row in earlier {
        for def in &row.fields {
            last.insert(def.name, row.change);
        }
        if matches!(row.what, ChangeKind::Deleted | ChangeKind::Restored) {
            last.insert("", row.change);
        }
    }
    last.into_values().take(MAX_NAMED).collect()
}

fn settles(connection: &Connection, change: ChangeId) -> Result<BTreeSet<ConflictKey>> {
    let mut statement = connection.prepare_cached("SELECT key FROM settles WHERE change = ?1")?;
    let rows = statement.query_map([change.as_bytes()], |row| row.get::<_, String>(0))?;
    rows.take(MAX_NAMED).map(|key| from_json(&to_json(&key?)?)).collect()
}
