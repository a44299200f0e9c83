//! One change of one record, written everywhere it belongs within the transaction: the record, its fields, the
//! history, the outbox, what lists search by and what permissions are decided by.

use cairn_sync::{ChangeId, FieldDef, Hlc, Kind, RecordId, Value};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    codec::{
        change_code, kind_code, lookup_keys, project_role_code, project_role_named, role_code, role_named,
        sync_code, to_stored,
    },
    head::{Field, FieldMap, Head},
};
use crate::{
    accounts::keepers,
    db::writer::Desk,
    error::{Result, StoreError},
    record::{ChangeKind, RecordChanged, SyncState},
};

/// A change about to be made.
pub(crate) struct Change {
    pub(crate) what: ChangeKind,
    pub(crate) id: ChangeId,
    pub(crate) by: Option<RecordId>,
    /// The fields that it sets.
    pub(crate) sets: Vec<(&'static FieldDef, Value)>,
}

/// Makes the change. `head` and `fields` are what is there before and come out as what is there after.
pub(crate) fn apply(
    desk: &mut Desk<'_>,
    head: &mut Head,
    fields: &mut FieldMap,
    change: Change,
) -> Result<()> {
    let clock = desk.tick();
    let was_deleted = head.deleted;
    let was_live = !was_deleted && change.what != ChangeKind::Created;
    head.version += 1;
    head.changed_hlc = clock;
    head.changed_by = change.by;
    head.changed_at = desk.life.wall_ms();
    if head.sync == SyncState::Synced {
        head.sync = SyncState::Pending;
    }
    head.deleted = change.what == ChangeKind::Deleted;
    if change.what == ChangeKind::Created {
        head.created_hlc = clock;
        head.created_by = change.by;
        head.created_at = head.changed_at;
        insert_head(desk.connection, head)?;
    } else {
        update_head(desk.connection, head, was_deleted)?;
    }
    let version = Version {
        record: head.id,
        number: head.version,
        change: change.id,
        what: change.what,
        hlc: clock,
        at: head.changed_at,
        by: change.by,
        sets: &change.sets,
    };
    if !version.write_history(desk.connection)? {
        return Err(StoreError::Corrupt(format!("the change {} is in the history already", change.id)));
    }
    version.write_fields(desk.connection)?;
    desk.connection
        .prepare_cached("INSERT INTO outbox (record, version) VALUES (?1, ?2)")?
        .execute(params![head.id.as_bytes(), head.version])?;
    let standing = change.what == ChangeKind::Deleted
        || change.sets.iter().any(|(def, _)| matches!(def.name, "role" | "disabled"));
    if was_live && head.deleted {
        fields.values().try_for_each(|field| unlist(desk.connection, head, field.def, &field.value))?;
    }
    for (def, value) in change.sets {
        if was_live && !head.deleted {
            if let Some(before) = fields.get(def.name) {
                unlist(desk.connection, head, def, &before.value)?;
            }
            enlist(desk.connection, head, def, &value)?;
        }
        fields.insert(def.name, Field { def, value, version: head.version });
    }
    if !was_live && !head.deleted {
        fields.values().try_for_each(|field| enlist(desk.connection, head, field.def, &field.value))?;
    }
    if !standing && keepers::must_stay(desk.connection, head, fields)? {
        // Who stays a keeper against their record goes on being one whatever else of it is changed here.
        rename_login(desk.connection, head, fields)?;
    } else {
        derive(desk.connection, head, fields)?;
    }
    if head.kind == Kind::Person {
        keepers::settle(desk.connection)?;
    }
    desk.tell(RecordChanged {
        id: head.id,
        kind: head.kind,
        project: head.project(),
        version: head.version,
        by: change.by,
        deleted: head.deleted,
    });
    Ok(())
}

pub(crate) fn insert_head(connection: &Connection, head: &Head) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            head.id.as_bytes(),
            kind_code(head.kind),
            head.scope.as_ref().map(RecordId::as_bytes),
            head.version,
            head.created_hlc.to_bytes(),
            head.created_by.as_ref().map(RecordId::as_bytes),
            head.created_at,
            head.changed_hlc.to_bytes(),
            head.changed_by.as_ref().map(RecordId::as_bytes),
            head.changed_at,
            sync_code(head.sync),
            head.gateway_version,
            head.deleted,
        ])?;
    Ok(())
}

/// Writes a head that a change made. What stays as it is is not named: SQLite writes every index of every column that is.
pub(crate) fn update_head(connection: &Connection, head: &Head, was_deleted: bool) -> Result<()> {
    let sql = if was_deleted == head.deleted {
        "UPDATE records SET version = ?2, changed_hlc = ?3, changed_by = ?4, changed_at = ?5, sync = ?6, \
         gateway_version = ?7 WHERE id = ?1 AND deleted = ?8"
    } else {
        "UPDATE records SET version = ?2, changed_hlc = ?3, changed_by = ?4, changed_at = ?5, sync = ?6, \
         gateway_version = ?7, deleted = ?8 WHERE id = ?1"
    };
    connection.prepare_cached(sql)?.execute(params![
        head.id.as_bytes(),
        head.version,
        head.changed_hlc.to_bytes(),
        head.changed_by.as_ref().map(RecordId::as_bytes),
        head.changed_at,
        sync_code(head.sync),
        head.gateway_version,
        head.deleted,
    ])?;
    Ok(())
}

/// Writes how a record stands with its gateway, where nothing else of it changed.
pub(crate) fn update_standing(connection: &Connection, head: &Head) -> Result<()> {
    connection
        .prepare_cached("UPDATE records SET sync = ?2, gateway_version = ?3 WHERE id = ?1")?
        .execute(params![head.id.as_bytes(), sync_code(head.sync), head.gateway_version])?;
    Ok(())
}

/// What a change made of a record: a row of its history, and the fields that it set.
pub(crate) struct Version<'a> {
    pub(crate) record: RecordId,
    pub(crate) number: u64,
    pub(crate) change: ChangeId,
    pub(crate) what: ChangeKind,
    pub(crate) hlc: Hlc,
    pub(crate) at: i64,
    pub(crate) by: Option<RecordId>,
    pub(crate) sets: &'a [(&'static FieldDef, Value)],
}

impl Version<'_> {
    /// False where the change stands in a history already, and nothing was written.
    pub(crate) fn write_history(&self, connection: &Connection) -> Result<bool> {
        let names: Vec<&str> = self.sets.iter().map(|(def, _)| def.name).collect();
        let written = connection
            .prepare_cached(
                "INSERT INTO history (record, version, change, kind, hlc, at, author, fields) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (change) DO NOTHING",
            )?
            .execute(params![
                self.record.as_bytes(),
                self.number,
                self.change.as_bytes(),
                change_code(self.what),
                self.hlc.to_bytes(),
                self.at,
                self.by.as_ref().map(RecordId::as_bytes),
                names.join(","),
            ])?;
        Ok(written == 1)
    }

    /// The fields, as they are now and in the history.
    pub(crate) fn write_fields(&self, connection: &Connection) -> Result<()> {
        let mut now = connection.prepare_cached(
            "INSERT INTO fields (record, name, value, version, hlc, author) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT DO UPDATE SET value = excluded.value, version = excluded.version, hlc = excluded.hlc, \
             author = excluded.author",
        )?;
        let mut then = connection.prepare_cached(
            "INSERT INTO history_values (record, field, version, value) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let (record, author) = (self.record.as_bytes(), self.by.as_ref().map(RecordId::as_bytes));
        for (def, value) in self.sets {
            let value = to_stored(value)?;
            now.execute(params![record, def.name, value, self.number, self.hlc.to_bytes(), author])?;
            then.execute(params![record, def.name, self.number, value])?;
        }
        Ok(())
    }
}

pub(crate) fn enlist(connection: &Connection, head: &Head, def: &FieldDef, value: &Value) -> Result<()> {
    for key in lookup_keys(def, value) {
        connection.prepare_cached("INSERT OR IGNORE INTO lookup VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(
            params![kind_code(head.kind), def.name, key, head.created_hlc.to_bytes(), head.id.as_bytes()],
        )?;
    }
    Ok(())
}

pub(crate) fn unlist(connection: &Connection, head: &Head, def: &FieldDef, value: &Value) -> Result<()> {
    for key in lookup_keys(def, value) {
        connection
            .prepare_cached(
                "DELETE FROM lookup WHERE kind = ?1 AND name = ?2 AND value = ?3 AND created_hlc = ?4 AND record = ?5",
            )?
            .execute(params![
                kind_code(head.kind),
                def.name,
                key,
                head.created_hlc.to_bytes(),
                head.id.as_bytes()
            ])?;
    }
    Ok(())
}

/// Keeps what permissions are decided by equal to what the records say.
pub(crate) fn derive(connection: &Connection, head: &Head, fields: &FieldMap) -> Result<()> {
    let text = |name: &str| fields.get(name).and_then(|field| field.value.as_text()).unwrap_or_default();
    let flag = |name: &str| fields.get(name).and_then(|field| field.value.as_bool()).unwrap_or_default();
    let id = head.id.as_bytes();
    match head.kind {
        Kind::Project => {
            connection
                .prepare_cached("INSERT OR REPLACE INTO projects (id, open, live) VALUES (?1, ?2, ?3)")?
                .execute(params![id, flag("open"), !head.deleted])?;
        }
        Kind::Membership => {
            connection.prepare_cached("DELETE FROM members WHERE record = ?1")?.execute([id])?;
            if let (false, Some(project)) = (head.deleted, head.scope) {
                let person: RecordId = text("person")
                    .parse()
                    .map_err(|_| StoreError::Corrupt("a membership without a person".to_owned()))?;
                let role = project_role_named(text("role"));
                connection
                    .prepare_cached(
                        "INSERT INTO members (person, project, record, role) VALUES (?1, ?2, ?3, ?4)",
                    )?
                    .execute(params![person.as_bytes(), project.as_bytes(), id, project_role_code(role)])?;
            }
        }
        Kind::Person => {
            let closed = head.deleted || flag("disabled");
            connection
                .prepare_cached("INSERT OR REPLACE INTO people (id, role, disabled) VALUES (?1, ?2, ?3)")?
                .execute(params![id, role_code(role_named(text("role"))), closed])?;
            if closed {
                connection.prepare_cached("DELETE FROM sessions WHERE person = ?1")?.execute([id])?;
            }
            if head.deleted {
                connection.prepare_cached("DELETE FROM api_tokens WHERE person = ?1")?.execute([id])?;
                connection.prepare_cached("DELETE FROM credentials WHERE person = ?1")?.execute([id])?;
            }
            // Last: where somebody else of that login is here already, everything else about the person holds.
            rename_login(connection, head, fields)?;
        }
        _ => {}
    }
    Ok(())
}

/// A person signs in by the login that the record states.
fn rename_login(connection: &Connection, head: &Head, fields: &FieldMap) -> Result<()> {
    let login = fields.get("login").and_then(|field| field.value.as_text()).unwrap_or_default();
    let id = head.id.as_bytes();
    let kept: Option<String> = connection
        .prepare_cached("SELECT login FROM credentials WHERE person = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    if kept.is_none_or(|kept| kept == login) {
        return Ok(());
    }
    let login = crate::accounts::login(login)?;
    let taken: bool = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM credentials WHERE login = ?1 AND person <> ?2)")?
        .query_row(params![login, id], |row| row.get(0))?;
    if taken {
        return Err(StoreError::LoginTaken(login));
    }
    connection
        .prepare_cached("UPDATE credentials SET login = ?2 WHERE person = ?1")?
        .execute(params![id, login])?;
    Ok(())
}
