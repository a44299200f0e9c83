//! One record, its history, and how many there are.

use std::collections::BTreeMap;

use cairn_sync::{
    ChangeId, Kind, ProjectRole, RecordId,
    listing::{before_version, page_len, read_version},
};
use rusqlite::{Connection, named_params, params};

use super::{
    access::{Eyes, allowed, readable},
    codec::{change_of, hlc, id_or_none, kind_of},
    head::{Head, value_at},
    write::find_for,
};
use crate::{
    error::{Result, StoreError},
    record::{Cursor, FieldChange, HistoryEntry, Page, Record, RecordChanged},
    viewer::{Action, Viewer},
};

pub(crate) fn get(connection: &Connection, viewer: &Viewer, id: RecordId) -> Result<Record> {
    let eyes = Eyes::of(connection, viewer)?;
    find_for(connection, eyes, id, Action::Read)?.load(connection)
}

/// Those that exist and may be read, in the order asked.
pub(crate) fn get_many(connection: &Connection, viewer: &Viewer, ids: &[RecordId]) -> Result<Vec<Record>> {
    let eyes = Eyes::of(connection, viewer)?;
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        match find_for(connection, eyes, *id, Action::Read) {
            Ok(head) => records.push(head.load(connection)?),
            Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

/// Changes of a record, newest first.
pub(crate) fn history(
    connection: &Connection,
    viewer: &Viewer,
    id: RecordId,
    after: Option<&Cursor>,
    limit: u16,
) -> Result<Page<HistoryEntry>> {
    let eyes = Eyes::of(connection, viewer)?;
    let head = find_for(connection, eyes, id, Action::Read)?;
    let before = read_version(after)?;
    let limit = page_len(limit);
    let sql = "SELECT version, change, hlc, at, author, kind, fields FROM history \
               WHERE record = ?1 AND version < ?2 ORDER BY version DESC LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![id.as_bytes(), before, limit + 1])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let version: u64 = row.get(0)?;
        let names: String = row.get(6)?;
        let mut changes = Vec::new();
        for def in names.split(',').filter_map(|name| head.kind.def().field(name)) {
            let after = value_at(connection, id, def, version)?;
            let before = value_at(connection, id, def, version.saturating_sub(1))?;
            changes.push(FieldChange { field: def.name.to_owned(), before, after });
        }
        items.push(HistoryEntry {
            version,
            change: ChangeId::from_bytes(row.get(1)?),
            hlc: hlc(row, 2)?,
            at_ms: row.get(3)?,
            by: id_or_none(row, 4)?,
            kind: change_of(row.get(5)?),
            changes,
        });
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next = if more { items.last().map(|entry| before_version(entry.version)) } else { None };
    Ok(Page { items, next })
}

/// How many records of each kind `viewer` may read.
pub(crate) fn counts(connection: &Connection, viewer: &Viewer) -> Result<BTreeMap<Kind, u64>> {
    let eyes = Eyes::of(connection, viewer)?;
    let sql = format!(
        "SELECT r.kind, sum(r.live) FROM (SELECT kind, nullif(scope, x'') AS scope, nullif(author, x'') AS created_by, \
         live, NULL AS id FROM tallies) r WHERE {} GROUP BY r.kind",
        readable("r")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(named_params! {":viewer": eyes.viewer(), ":role": eyes.role})?;
    let mut counts: BTreeMap<Kind, u64> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    while let Some(row) = rows.next()? {
        if let Some(kind) = kind_of(row.get(0)?) {
            counts.insert(kind, row.get(1)?);
        }
    }
    Ok(counts)
}

/// Whether `viewer` may know of a change. That a record is gone is told to those who could read it.
pub(crate) fn visible(connection: &Connection, viewer: &Viewer, change: &RecordChanged) -> Result<bool> {
    let eyes = Eyes::of(connection, viewer)?;
    let Some(head) = Head::find(connection, change.id)? else { return Ok(false) };
    let mut subject = head.subject();
    subject.deleted = false;
    allowed(connection, eyes, Action::Read, subject)
}

/// The strongest role of `viewer` in a project that they may read.
pub(crate) fn project_role(
    connection: &Connection,
    viewer: &Viewer,
    project: RecordId,
) -> Result<Option<ProjectRole>> {
    let eyes = Eyes::of(connection, viewer)?;
    find_for(connection, eyes, project, Action::Read)?;
    let role: Option<i64> = connection
        .prepare_cached("SELECT max(role) FROM members WHERE person = ?1 AND project = ?2")?
        .query_row(params![eyes.viewer(), project.as_bytes()], |row| row.get(0))?;
    Ok(role.map(|role| match role {
        2 => ProjectRole::Owner,
        1 => ProjectRole::Editor,
        _ => ProjectRole::Viewer,
    }))
}
