//! Which scopes this hub synchronises, and up to where it knows them.

use std::collections::BTreeMap;

use cairn_sync::{
    RecordId,
    checksum::Checksum,
    wire::{Cursor, MAX_SCOPES, ScopeId},
};
use rusqlite::{Connection, OptionalExtension, params, types::Type};

use super::facts::{self, Fact};
use crate::{
    db::writer::Lane,
    error::{Result, StoreError},
    store::Store,
    viewer::Viewer,
};

/// A project and whether it is synchronised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeChoice {
    /// The project.
    pub project: RecordId,
    /// Its name, as this hub knows it.
    pub name: String,
    /// Whether it is synchronised.
    pub chosen: bool,
    /// The gateway does not give it to this hub.
    pub withheld: bool,
}

pub(super) const fn bytes(scope: &ScopeId) -> &[u8] {
    match scope {
        ScopeId::Community => &[],
        ScopeId::Project(project) => project.as_bytes(),
    }
}

fn scope_of(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<ScopeId> {
    let bytes: Vec<u8> = row.get(column)?;
    if bytes.is_empty() {
        return Ok(ScopeId::Community);
    }
    RecordId::from_slice(&bytes)
        .map(ScopeId::Project)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error)))
}

/// Up to where each chosen scope is known: the hub as a whole, and the projects that are chosen and not withheld.
pub(super) fn cursors(connection: &Connection) -> Result<BTreeMap<ScopeId, Cursor>> {
    let all = facts::read::<bool>(connection, Fact::EveryProject)?.unwrap_or(true);
    let mut statement = connection.prepare_cached(
        "SELECT x'' AS scope, coalesce(s.version, 0), coalesce(s.horizon, 0) \
         FROM (SELECT 1) LEFT JOIN scopes s ON s.scope = x'' \
         UNION ALL SELECT p.id, coalesce(s.version, 0), coalesce(s.horizon, 0) \
         FROM projects p LEFT JOIN scopes s ON s.scope = p.id \
         WHERE coalesce(s.chosen, ?1) AND NOT coalesce(s.withheld, 0) LIMIT ?2",
    )?;
    let mut rows = statement.query(params![all, MAX_SCOPES as i64])?;
    let mut cursors = BTreeMap::new();
    while let Some(row) = rows.next()? {
        cursors.insert(scope_of(row, 0)?, Cursor { version: row.get(1)?, horizon: row.get(2)? });
    }
    Ok(cursors)
}

pub(super) fn set_cursor(connection: &Connection, scope: &ScopeId, cursor: Cursor) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO scopes (scope, version, horizon) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET version = excluded.version, horizon = excluded.horizon, withheld = 0",
        )?
        .execute(params![bytes(scope), cursor.version, cursor.horizon])?;
    Ok(())
}

pub(super) fn withhold(connection: &Connection, scope: &ScopeId) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO scopes (scope, withheld) VALUES (?1, 1) ON CONFLICT DO UPDATE SET withheld = 1",
        )?
        .execute([bytes(scope)])?;
    Ok(())
}

pub(super) fn checksum(connection: &Connection, scope: &ScopeId) -> Result<Checksum> {
    let stored: Option<Option<[u8; 32]>> = connection
        .prepare_cached("SELECT checksum FROM scopes WHERE scope = ?1")?
        .query_row([bytes(scope)], |row| row.get(0))
        .optional()?;
    Ok(stored.flatten().map(Checksum::from_bytes).unwrap_or_default())
}

pub(super) fn set_checksum(connection: &Connection, scope: &ScopeId, sum: Checksum) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO scopes (scope, checksum) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET checksum = excluded.checksum",
        )?
        .execute(params![bytes(scope), sum.to_bytes()])?;
    Ok(())
}

pub(super) fn checksums(connection: &Connection) -> Result<BTreeMap<ScopeId, Checksum>> {
    cursors(connection)?.into_keys().map(|scope| Ok((scope, checksum(connection, &scope)?))).collect()
}

pub(super) fn begin_anew(connection: &Connection, scope: ScopeId) -> Result<()> {
    set_cursor(connection, &scope, Cursor::default())?;
    connection.prepare_cached("UPDATE confirmed SET stale = 1 WHERE scope = ?1")?.execute([bytes(&scope)])?;
    Ok(())
}

impl Store {
    /// The projects of this hub and whether each is synchronised. For keepers.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] for everybody else.
    pub async fn sync_scopes(&self, viewer: &Viewer) -> Result<Vec<ScopeChoice>> {
        facts::keepers(viewer)?;
        self.ask(|connection| {
            let all = facts::read::<bool>(connection, Fact::EveryProject)?.unwrap_or(true);
            let mut statement = connection.prepare_cached(
                "SELECT p.id, coalesce((SELECT value FROM fields WHERE record = p.id AND name = 'name'), ''), \
                 coalesce(s.chosen, ?1), coalesce(s.withheld, 0) FROM projects p LEFT JOIN scopes s ON s.scope = p.id \
                 WHERE p.live ORDER BY 2, 1 LIMIT ?2",
            )?;
            let rows = statement.query_map(params![all, MAX_SCOPES as i64], |row| {
                Ok(ScopeChoice {
                    project: crate::records::codec::id(row, 0)?,
                    name: row.get(1)?,
                    chosen: row.get(2)?,
                    withheld: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    /// Chooses whether a project is synchronised, and asks for it again where the gateway withheld it. For keepers.
    ///
    /// # Errors
    /// [`StoreError::Forbidden`] for everybody else, [`StoreError::NotFound`] where there is no such project.
    pub async fn sync_choose(&self, viewer: &Viewer, project: RecordId, chosen: bool) -> Result<()> {
        facts::keepers(viewer)?;
        self.write(Lane::Person, move |desk| {
            let known = desk
                .connection
                .prepare_cached("SELECT 1 FROM projects WHERE id = ?1")?
                .exists([project.as_bytes()])?;
            if !known {
                return Err(StoreError::NotFound("project"));
            }
            desk.connection.execute(
                "INSERT INTO scopes (scope, chosen) VALUES (?1, ?2) \
                 ON CONFLICT DO UPDATE SET chosen = excluded.chosen, withheld = 0",
                params![project.as_bytes(), chosen],
            )?;
            Ok(())
        })
        .await
    }
}
