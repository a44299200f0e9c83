//! What a reply does to the store.

use std::collections::BTreeMap;

use cairn_sync::{
    ChangeId, RecordId,
    authority::Outcome,
    change::Change,
    record::RecordState,
    round::{self, Intake, Nonsense, mismatches},
    wire::{Reply, Request, ScopeId},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{Taken, from_json, local, outgoing, refresh, scopes, to_json};
use crate::{db::writer::Desk, error::Result, records::codec::id};

/// Checks a reply, takes it in, and has what does not add up read again.
pub(super) fn reply(desk: &mut Desk<'_>, request: &Request, reply: Reply) -> Result<Result<Taken, Nonsense>> {
    let (more, theirs) = (reply.more, reply.checksums.clone());
    let intake = match round::take_in(request, reply) {
        Ok(intake) => intake,
        Err(nonsense) => return Ok(Err(nonsense)),
    };
    let mut taken = take_in(desk, intake)?;
    let mut ours = BTreeMap::new();
    for scope in theirs.keys() {
        ours.insert(*scope, scopes::checksum(desk.connection, scope)?);
    }
    taken.healed = mismatches(&ours, &theirs);
    for scope in &taken.healed {
        scopes::begin_anew(desk.connection, *scope)?;
    }
    // A project that came with this reply is a scope of its own, to be asked for.
    let new_scope =
        scopes::cursors(desk.connection)?.keys().any(|scope| !request.cursors.contains_key(scope));
    taken.behind = more || new_scope;
    taken.more = taken.behind || waits(desk.connection)?;
    Ok(Ok(taken))
}

/// Whether changes of a chosen scope wait.
fn waits(connection: &Connection) -> Result<bool> {
    Ok(super::log::queue(connection)? > 0)
}

/// The whole of an [`Intake`].
pub(super) fn take_in(desk: &mut Desk<'_>, intake: Intake) -> Result<Taken> {
    let connection = desk.connection;
    let mut taken =
        Taken { answered: intake.answered.len(), records: intake.records.len(), ..Taken::default() };
    for scope in &intake.reread {
        scopes::begin_anew(connection, *scope)?;
    }
    // Nothing joins the queue meanwhile: this is the one thread that writes.
    let quiet = !connection.prepare_cached("SELECT 1 FROM outbox")?.exists([])?;
    let mut touched: Touched = intake.records.iter().map(|record| (record.id, None)).collect();
    if !quiet {
        // Before anything newer is known, so that the words say what was seen.
        for record in touched.keys() {
            outgoing::prepare(connection, *record)?;
        }
    }
    for (change, outcome) in intake.answered {
        if let Some(record) = answered(desk, change, &outcome)? {
            taken.refused += usize::from(matches!(outcome, Outcome::Refused(_)));
            touched.entry(record).or_default();
        }
    }
    let mut sums = Sums::default();
    for record in intake.records {
        for field in record.fields.values() {
            desk.observe(field.stamp.hlc);
        }
        confirm(connection, &mut sums, &record)?;
        touched.insert(record.id, Some(record));
    }
    for (scope, horizon) in &intake.horizons {
        forget(
            connection,
            &mut sums,
            scope,
            "SELECT record, state FROM confirmed WHERE scope = ?1 AND deleted = 1 AND version <= ?2",
            *horizon,
            &mut touched,
        )?;
    }
    for (scope, cursor) in &intake.cursors {
        scopes::set_cursor(connection, scope, *cursor)?;
    }
    for scope in &intake.complete {
        forget(
            connection,
            &mut sums,
            scope,
            "SELECT record, state FROM confirmed WHERE scope = ?1 AND stale = 1 AND ?2 = 0",
            0,
            &mut touched,
        )?;
    }
    for scope in &intake.withheld {
        scopes::withhold(connection, scope)?;
    }
    sums.write(connection)?;
    local::answered(connection, intake.ticket)?;
    for (record, came) in touched {
        let waiting = if quiet { Vec::new() } else { outgoing::prepare(connection, record)? };
        let state = match came {
            Some(state) => Some(state),
            None => outgoing::confirmed(connection, record)?,
        };
        refresh::record(desk, record, state.as_ref(), &waiting)?;
    }
    Ok(taken)
}

/// Records to be brought up to date, with what has just been confirmed of them; where that is not at hand it is looked up.
type Touched = BTreeMap<RecordId, Option<RecordState>>;

/// A change was answered: it leaves the queue, and lies aside where it was refused. Gives its record, where it waited.
fn answered(desk: &Desk<'_>, change: ChangeId, outcome: &Outcome) -> Result<Option<RecordId>> {
    let connection = desk.connection;
    let row = connection
        .prepare_cached(
            "SELECT o.seq, o.record FROM history h JOIN outbox o ON o.record = h.record AND o.version = h.version \
             WHERE h.change = ?1",
        )?
        .query_row([change.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, id(row, 1)?)))
        .optional()?;
    let Some((seq, record)) = row else { return Ok(None) };
    // Later ones that wait say what they stand on while it is still there.
    outgoing::prepare(connection, record)?;
    if let Outcome::Refused(refusal) = outcome {
        let body: String = connection
            .prepare_cached("SELECT body FROM prepared WHERE seq = ?1")?
            .query_row([seq], |row| row.get(0))?;
        let settled: Change = from_json(&body)?;
        for key in settled.settles {
            connection
                .prepare_cached("UPDATE conflicts SET settled_at = NULL, settled_by = NULL WHERE key = ?1")?
                .execute([key.as_str()])?;
        }
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO refused (change, record, body, reason, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                change.as_bytes(),
                record.as_bytes(),
                body,
                refusal.to_string(),
                desk.life.wall_ms()
            ])?;
    }
    connection.prepare_cached("DELETE FROM outbox WHERE seq = ?1")?.execute([seq])?;
    connection.prepare_cached("DELETE FROM prepared WHERE seq = ?1")?.execute([seq])?;
    Ok(Some(record))
}

/// Checksums that changed, written once at the end.
#[derive(Default)]
struct Sums(BTreeMap<ScopeId, cairn_sync::checksum::Checksum>);

impl Sums {
    fn of(&mut self, connection: &Connection, scope: ScopeId) -> Result<&mut cairn_sync::checksum::Checksum> {
        use std::collections::btree_map::Entry;
        Ok(match self.0.entry(scope) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(scopes::checksum(connection, &scope)?),
        })
    }

    fn write(self, connection: &Connection) -> Result<()> {
        self.0.into_iter().try_for_each(|(scope, sum)| scopes::set_checksum(connection, &scope, sum))
    }
}

fn confirm(connection: &Connection, sums: &mut Sums, record: &RecordState) -> Result<()> {
    let scope = ScopeId::from(record.project);
    let before = outgoing::confirmed(connection, record.id)?;
    let sum = sums.of(connection, scope)?;
    sum.add(record);
    if let Some(before) = before {
        sum.remove(&before);
    }
    connection
        .prepare_cached(
            "INSERT INTO confirmed (record, scope, version, deleted, stale, state) VALUES (?1, ?2, ?3, ?4, 0, ?5) \
             ON CONFLICT DO UPDATE SET version = excluded.version, deleted = excluded.deleted, stale = 0, \
             state = excluded.state",
        )?
        .execute(params![
            record.id.as_bytes(),
            scopes::bytes(&scope),
            record.version,
            record.deleted.is_some(),
            to_json(record)?
        ])?;
    Ok(())
}

/// Takes confirmed records away: deletions that everybody has passed, and what did not come again.
fn forget(
    connection: &Connection,
    sums: &mut Sums,
    scope: &ScopeId,
    which: &'static str,
    up_to: u64,
    touched: &mut Touched,
) -> Result<()> {
    let gone: Vec<(RecordId, String)> = {
        let mut statement = connection.prepare_cached(which)?;
        let rows = statement
            .query_map(params![scopes::bytes(scope), up_to], |row| Ok((id(row, 0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    for (record, state) in gone {
        // What waits on it says what it had seen while that is still known.
        outgoing::prepare(connection, record)?;
        sums.of(connection, *scope)?.remove(&from_json(&state)?);
        connection.prepare_cached("DELETE FROM confirmed WHERE record = ?1")?.execute([record.as_bytes()])?;
        touched.insert(record, None);
    }
    Ok(())
}
