//! Conflicts that only a person can settle: who may see them, who may decide, and what a decision does.

use cairn_sync::{
    ChangeId, RecordId, Value,
    record::{Conflict, ConflictKey, RecordState, Wish},
};
use rusqlite::{Connection, OptionalExtension, named_params, params};

use super::{from_json, to_json};
use crate::{
    db::writer::Desk,
    error::{Result, StoreError},
    record::{ChangeKind, MAX_PAGE, Record, SyncState},
    records::{
        access::{Eyes, allowed, readable},
        change::{Change, apply},
        codec::{id, sync_code},
        head::Head,
        lane,
        write::find_for,
    },
    store::Store,
    viewer::{Action, Viewer},
};

/// A conflict, as whoever looks may see it.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenConflict {
    /// Its name.
    pub key: ConflictKey,
    /// The record as it stands.
    pub record: Record,
    /// Both sides and what they started from.
    pub conflict: Conflict,
    /// When this hub learnt of it, in milliseconds since 1970.
    pub opened_at_ms: i64,
    /// When it was settled, where it was.
    pub settled_at_ms: Option<i64>,
    /// Whether whoever looks may decide.
    pub may_settle: bool,
}

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// What the record holds.
    Present,
    /// What came second.
    Incoming,
    /// This value, for example of both.
    Value(Value),
}

/// Writes down which conflicts a record has now and which are over; says where the record stands.
pub(super) fn note(
    desk: &Desk<'_>,
    record: RecordId,
    state: Option<&RecordState>,
    waits: bool,
) -> Result<SyncState> {
    let (connection, now) = (desk.connection, desk.life.wall_ms());
    for (key, conflict) in state.iter().flat_map(|state| &state.conflicts) {
        connection
            .prepare_cached(
                "INSERT INTO conflicts (key, record, body, opened_at) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT DO UPDATE SET body = excluded.body",
            )?
            .execute(params![key.as_str(), record.as_bytes(), to_json(conflict)?, now])?;
    }
    let open: Vec<String> = {
        let mut statement = connection
            .prepare_cached("SELECT key FROM conflicts WHERE record = ?1 AND settled_at IS NULL")?;
        let rows = statement.query_map([record.as_bytes()], |row| row.get(0))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    let mut left = false;
    for key in open {
        if state.is_some_and(|state| state.conflicts.keys().any(|known| known.as_str() == key)) {
            left = true;
            continue;
        }
        connection
            .prepare_cached("UPDATE conflicts SET settled_at = ?2 WHERE key = ?1")?
            .execute(params![key, now])?;
    }
    Ok(match (left, waits) {
        (true, _) => SyncState::Conflict,
        (false, true) => SyncState::Pending,
        (false, false) => SyncState::Synced,
    })
}

fn list(
    connection: &Connection,
    viewer: &Viewer,
    record: Option<RecordId>,
    only: Option<&ConflictKey>,
    after: Option<&ConflictKey>,
    limit: u16,
) -> Result<Vec<OpenConflict>> {
    let eyes = Eyes::of(connection, viewer)?;
    // Of one record, and by name, also those that are over: the side that lost stays readable.
    let sql = format!(
        "SELECT c.key, c.record, c.body, c.opened_at, c.settled_at FROM conflicts c JOIN records r ON r.id = c.record \
         WHERE c.key > :after AND (c.record = :record OR c.key = :only OR \
         (:record IS NULL AND :only IS NULL AND c.settled_at IS NULL)) AND {} \
         ORDER BY c.key LIMIT :limit",
        readable("r")
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(named_params! {
        ":after": after.map_or("", ConflictKey::as_str), ":record": record.map(|id| *id.as_bytes()),
        ":only": only.map(ConflictKey::as_str), ":limit": limit.clamp(1, MAX_PAGE), ":viewer": eyes.viewer(), ":role": eyes.role,
    })?;
    let mut conflicts = Vec::new();
    while let Some(row) = rows.next()? {
        let Some(head) = Head::find(connection, id(row, 1)?)? else { continue };
        conflicts.push(OpenConflict {
            key: key(&row.get::<_, String>(0)?)?,
            record: head.load(connection)?,
            conflict: from_json(&row.get::<_, String>(2)?)?,
            opened_at_ms: row.get(3)?,
            settled_at_ms: row.get(4)?,
            may_settle: allowed(connection, eyes, Action::Update, head.subject())?,
        });
    }
    Ok(conflicts)
}

/// A key from text that came from outside.
fn key(text: &str) -> Result<ConflictKey> {
    from_json(&to_json(&text)?)
}

fn settle(
    desk: &mut Desk<'_>,
    viewer: &Viewer,
    key: &str,
    choice: Choice,
    change: Option<ChangeId>,
) -> Result<Record> {
    let eyes = Eyes::of(desk.connection, viewer)?;
    let found: Option<(RecordId, String)> = desk
        .connection
        .prepare_cached("SELECT record, body FROM conflicts WHERE key = ?1 AND settled_at IS NULL")?
        .query_row([key], |row| Ok((id(row, 0)?, row.get(1)?)))
        .optional()?;
    let (record, body) = found.ok_or(StoreError::NotFound("conflict"))?;
    let mut head = find_for(desk.connection, eyes, record, Action::Update)?;
    let conflict: Conflict = from_json(&body)?;
    let mut fields = head.fields(desk.connection)?;
    let name = key.split_once('/').map_or("", |(_, field)| field);
    let wish = match choice {
        // What the record holds now, which may be newer than the conflict.
        Choice::Present if !name.is_empty() => {
            Wish::Value(fields.get(name).map_or(Value::Null, |field| field.value.clone()))
        }
        Choice::Present => conflict.present.wish,
        Choice::Incoming => conflict.incoming.wish,
        Choice::Value(value) => Wish::Value(value),
    };
    let (what, sets) = match wish {
        Wish::Keep => (ChangeKind::Changed, Vec::new()),
        Wish::Delete => {
            head = find_for(desk.connection, eyes, record, Action::Delete)?;
            (ChangeKind::Deleted, Vec::new())
        }
        Wish::Value(value) => {
            let def = head.kind.def().field(name).ok_or_else(|| {
                StoreError::invalid("This conflict is about the whole record: keep it or delete it.")
            })?;
            def.check(&value)?;
            if def.keeper_only && !eyes.is_keeper() {
                return Err(StoreError::Forbidden { action: "set", what: def.name });
            }
            let same = fields.get(def.name).is_some_and(|field| field.value == value);
            (ChangeKind::Changed, if same { Vec::new() } else { vec![(def, value)] })
        }
    };
    let change = change.unwrap_or_default();
    apply(desk, &mut head, &mut fields, Change { what, id: change, by: eyes.person, sets })?;
    desk.connection
        .prepare_cached("INSERT INTO settles (change, key) VALUES (?1, ?2)")?
        .execute(params![change.as_bytes(), key])?;
    desk.connection
        .prepare_cached("UPDATE conflicts SET settled_at = ?2, settled_by = ?3 WHERE key = ?1")?
        .execute(params![key, desk.life.wall_ms(), change.as_bytes()])?;
    let more = desk
        .connection
        .prepare_cached("SELECT 1 FROM conflicts WHERE record = ?1 AND settled_at IS NULL")?
        .exists([record.as_bytes()])?;
    head.sync = if more { SyncState::Conflict } else { SyncState::Pending };
    desk.connection
        .prepare_cached("UPDATE records SET sync = ?2 WHERE id = ?1")?
        .execute(params![record.as_bytes(), sync_code(head.sync)])?;
    head.load(desk.connection)
}

impl Store {
    /// Conflicts that wait, of the records that `viewer` may read, in the order of their names, after `after`; at most
    /// 200.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn conflicts(
        &self,
        viewer: &Viewer,
        after: Option<ConflictKey>,
        limit: u16,
    ) -> Result<Vec<OpenConflict>> {
        let viewer = viewer.clone();
        self.ask(move |connection| list(connection, &viewer, None, None, after.as_ref(), limit)).await
    }

    /// The conflicts of one record, those included that are over: both sides stay readable.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn conflicts_of(&self, viewer: &Viewer, record: RecordId) -> Result<Vec<OpenConflict>> {
        let viewer = viewer.clone();
        self.ask(move |connection| {
            let eyes = Eyes::of(connection, &viewer)?;
            find_for(connection, eyes, record, Action::Read)?;
            list(connection, &viewer, Some(record), None, None, MAX_PAGE)
        })
        .await
    }

    /// One conflict, also when it is over.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none of this name or its record may not be seen.
    pub async fn conflict(&self, viewer: &Viewer, key: &ConflictKey) -> Result<OpenConflict> {
        let (viewer, key) = (viewer.clone(), key.clone());
        self.ask(move |connection| {
            let found = list(connection, &viewer, None, Some(&key), None, 1)?;
            found.into_iter().next().ok_or(StoreError::NotFound("conflict"))
        })
        .await
    }

    /// How many conflicts wait for a decision on records that `viewer` may read.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn conflicts_waiting(&self, viewer: &Viewer) -> Result<u64> {
        let viewer = viewer.clone();
        self.ask(move |connection| {
            let eyes = Eyes::of(connection, &viewer)?;
            let sql = format!(
                "SELECT count(*) FROM conflicts c JOIN records r ON r.id = c.record WHERE c.settled_at IS NULL AND {}",
                readable("r")
            );
            Ok(connection
                .prepare_cached(&sql)?
                .query_row(named_params! {":viewer": eyes.viewer(), ":role": eyes.role}, |row| row.get(0))?)
        })
        .await
    }

    /// Settles a conflict. The side that loses stays in the record's history and in [`Store::conflicts_of`].
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when it is settled already or may not be seen, [`StoreError::Forbidden`] for whoever may
    /// not change the record, and what the value does not allow.
    pub async fn settle(
        &self,
        viewer: &Viewer,
        key: &ConflictKey,
        choice: Choice,
        change: Option<ChangeId>,
    ) -> Result<Record> {
        let (viewer, key) = (viewer.clone(), key.clone());
        self.write(lane(&viewer), move |desk| settle(desk, &viewer, key.as_str(), choice, change)).await
    }
}
