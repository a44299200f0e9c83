//! A record's row and its fields, as they lie in the database.

use std::collections::BTreeMap;

use cairn_sync::{FieldDef, Fields, Hlc, Kind, RecordId, Value};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    access::Subject,
    codec::{from_stored, hlc, id, id_or_none, kind_of, sync_of},
};
use crate::{
    error::{Result, StoreError},
    record::{Record, SyncState},
};

/// The columns of [`Head`], in order, of the alias "r".
pub(crate) const COLUMNS: &str = "r.id, r.kind, r.scope, r.version, r.created_hlc, r.created_by, r.created_at, \
     r.changed_hlc, r.changed_by, r.changed_at, r.sync, r.gateway_version, r.deleted";

/// A record without its fields.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) id: RecordId,
    pub(crate) kind: Kind,
    pub(crate) scope: Option<RecordId>,
    pub(crate) version: u64,
    pub(crate) created_hlc: Hlc,
    pub(crate) created_by: Option<RecordId>,
    pub(crate) created_at: i64,
    pub(crate) changed_hlc: Hlc,
    pub(crate) changed_by: Option<RecordId>,
    pub(crate) changed_at: i64,
    pub(crate) sync: SyncState,
    pub(crate) gateway_version: Option<u64>,
    pub(crate) deleted: bool,
}

/// A field with the change that set it.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) def: &'static FieldDef,
    pub(crate) value: Value,
    pub(crate) version: u64,
}

pub(crate) type FieldMap = BTreeMap<&'static str, Field>;

impl Head {
    /// `None` for a kind that a later release added.
    pub(crate) fn of(row: &Row<'_>) -> rusqlite::Result<Option<Self>> {
        let Some(kind) = kind_of(row.get(1)?) else { return Ok(None) };
        Ok(Some(Self {
            id: id(row, 0)?,
            kind,
            scope: id_or_none(row, 2)?,
            version: row.get(3)?,
            created_hlc: hlc(row, 4)?,
            created_by: id_or_none(row, 5)?,
            created_at: row.get(6)?,
            changed_hlc: hlc(row, 7)?,
            changed_by: id_or_none(row, 8)?,
            changed_at: row.get(9)?,
            sync: sync_of(row.get(10)?),
            gateway_version: row.get(11)?,
            deleted: row.get(12)?,
        }))
    }

    pub(crate) fn find(connection: &Connection, id: RecordId) -> Result<Option<Self>> {
        let sql = const_format_sql();
        let found = connection.prepare_cached(sql)?.query_row([id.as_bytes()], Self::of).optional()?;
        Ok(found.flatten())
    }

    pub(crate) const fn subject(&self) -> Subject {
        Subject {
            id: Some(self.id),
            kind: self.kind,
            scope: self.scope,
            created_by: self.created_by,
            deleted: self.deleted,
        }
    }

    /// The project a record belongs to; a project belongs to none.
    pub(crate) fn project(&self) -> Option<RecordId> {
        if self.kind == Kind::Project { None } else { self.scope }
    }

    pub(crate) fn with(&self, fields: Fields) -> Record {
        Record {
            id: self.id,
            kind: self.kind,
            project: self.project(),
            fields,
            version: self.version,
            created_by: self.created_by,
            created_at_ms: self.created_at,
            changed_by: self.changed_by,
            changed_at_ms: self.changed_at,
            sync: self.sync,
            gateway_version: self.gateway_version,
            deleted: self.deleted,
        }
    }

    /// The record as it stands.
    pub(crate) fn load(&self, connection: &Connection) -> Result<Record> {
        let mut statement = connection.prepare_cached("SELECT name, value FROM fields WHERE record = ?1")?;
        let mut rows = statement.query([self.id.as_bytes()])?;
        let mut fields = Fields::new();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().map_err(|_| strange_name())?;
            // A field of a later release stays where it is and is not shown.
            let Some(def) = self.kind.def().field(name) else { continue };
            match from_stored(def, row.get_ref(1)?)? {
                Value::Null => {}
                value => drop(fields.insert(def.name.to_owned(), value)),
            }
        }
        Ok(self.with(fields))
    }

    /// The record's fields with the versions that set them.
    pub(crate) fn fields(&self, connection: &Connection) -> Result<FieldMap> {
        let sql = "SELECT name, value, version FROM fields WHERE record = ?1";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([self.id.as_bytes()])?;
        let mut fields = FieldMap::new();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str().map_err(|_| strange_name())?;
            let Some(def) = self.kind.def().field(name) else { continue };
            let value = from_stored(def, row.get_ref(1)?)?;
            fields.insert(def.name, Field { def, value, version: row.get(2)? });
        }
        Ok(fields)
    }

    /// The record as it stood after the change that made `version`.
    pub(crate) fn load_at(&self, connection: &Connection, version: u64) -> Result<Record> {
        if version == self.version {
            return self.load(connection);
        }
        let mut fields = Fields::new();
        for def in self.kind.def().fields {
            match value_at(connection, self.id, def, version)? {
                Value::Null => {}
                value => drop(fields.insert(def.name.to_owned(), value)),
            }
        }
        let sql = "SELECT kind, at, author FROM history WHERE record = ?1 AND version = ?2";
        let mut record = self.with(fields);
        connection.prepare_cached(sql)?.query_row((self.id.as_bytes(), version), |row| {
            record.deleted = row.get::<_, i64>(0)? == 2;
            record.changed_at_ms = row.get(1)?;
            record.changed_by = id_or_none(row, 2)?;
            Ok(())
        })?;
        record.version = version;
        Ok(record)
    }
}

/// What a field held after the change that made `version`.
pub(crate) fn value_at(
    connection: &Connection,
    record: RecordId,
    def: &'static FieldDef,
    version: u64,
) -> Result<Value> {
    let sql = "SELECT value FROM history_values WHERE record = ?1 AND field = ?2 AND version <= ?3 \
               ORDER BY version DESC LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((record.as_bytes(), def.name, version))?;
    match rows.next()? {
        Some(row) => from_stored(def, row.get_ref(0)?),
        None => Ok(Value::Null),
    }
}

fn const_format_sql() -> &'static str {
    static SQL: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    SQL.get_or_init(|| format!("SELECT {COLUMNS} FROM records r WHERE r.id = ?1"))
}

fn strange_name() -> StoreError {
    StoreError::Corrupt("a field whose name is no text".to_owned())
}
